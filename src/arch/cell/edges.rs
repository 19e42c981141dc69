//! NAS-Bench-201: a complete graph of four nodes with an operation on each of its six edges.

use serde::{Deserialize, Serialize};

use crate::space::{Arch, ArchError};

/// Nodes of a cell, the input among them.
const NODES: usize = 4;

/// Edges of a cell.
const EDGES: usize = 6;

/// What stands on an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Edge {
    /// Nothing gets through: zeros.
    None,
    /// The identity.
    Skip,
    /// ReLU, 1x1 convolution, batch normalisation.
    Conv1x1,
    /// ReLU, 3x3 convolution, batch normalisation.
    Conv3x3,
    /// 3x3 average pooling with stride 1; the padding does not count.
    AvgPool3x3,
}

impl Edge {
    /// In the order of the benchmark's digits 0 to 4.
    pub const ALL: [Edge; 5] = [Edge::None, Edge::Skip, Edge::Conv1x1, Edge::Conv3x3, Edge::AvgPool3x3];

    /// The benchmark's own name, such as `nor_conv_3x3`.
    pub fn name(self) -> &'static str {
        match self {
            Edge::None => "none",
            Edge::Skip => "skip_connect",
            Edge::Conv1x1 => "nor_conv_1x1",
            Edge::Conv3x3 => "nor_conv_3x3",
            Edge::AvgPool3x3 => "avg_pool_3x3",
        }
    }

    /// The name in genes: `none`, `skip`, `c1`, `c3`, `ap`.
    pub fn short(self) -> &'static str {
        match self {
            Edge::None => "none",
            Edge::Skip => "skip",
            Edge::Conv1x1 => "c1",
            Edge::Conv3x3 => "c3",
            Edge::AvgPool3x3 => "ap",
        }
    }

    /// By the name in genes.
    pub fn from_short(short: &str) -> Option<Edge> {
        Edge::ALL.into_iter().find(|op| op.short() == short)
    }
}

/// A cell of NAS-Bench-201: its edges in the order 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2, where node 0 is the input and node
/// 3 the output. A node is the sum over its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell201 {
    pub ops: [Edge; EDGES],
}

impl Cell201 {
    /// Source and target of each edge, in order.
    pub const EDGES: [(usize, usize); EDGES] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];

    /// Reads the benchmark's notation, such as
    /// `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|`.
    ///
    /// # Errors
    /// Another number of nodes or edges, an edge from elsewhere than in order, an unknown operation.
    pub fn from_text(text: &str) -> Result<Cell201, ArchError> {
        let wrong = |said: String| ArchError(format!("`{text}` is no cell of NAS-Bench-201: {said}"));
        let nodes: Vec<&str> = text.trim().split('+').collect();
        if nodes.len() != NODES - 1 {
            return Err(wrong(format!("it has {} parts between `+`, not {}", nodes.len(), NODES - 1)));
        }
        let mut ops = Vec::with_capacity(EDGES);
        for (i, node) in nodes.iter().enumerate() {
            let inner = node.strip_prefix('|').and_then(|n| n.strip_suffix('|'));
            let edges: Vec<&str> = inner.unwrap_or_default().split('|').collect();
            if edges.len() != i + 1 {
                return Err(wrong(format!("part {} is `{node}`; expected {} edges between bars", i + 1, i + 1)));
            }
            for (j, edge) in edges.into_iter().enumerate() {
                let (name, from) = edge.split_once('~').unwrap_or((edge, ""));
                if from != j.to_string() {
                    return Err(wrong(format!("`{edge}` should be an operation and `~{j}`")));
                }
                let op = Edge::ALL.into_iter().find(|op| op.name() == name).ok_or_else(|| {
                    let names = Edge::ALL.map(Edge::name).join(", ");
                    wrong(format!("there is no operation `{name}`; there are {names}"))
                })?;
                ops.push(op);
            }
        }
        let ops = ops.try_into().map_err(|_| wrong(format!("it has not {EDGES} edges")))?;
        Ok(Cell201 { ops })
    }

    /// The benchmark's notation.
    pub fn text(&self) -> String {
        let node = |target: usize| {
            let edges = Cell201::EDGES.iter().zip(&self.ops).filter(|((_, to), _)| *to == target);
            edges.fold("|".to_owned(), |text, ((from, _), op)| format!("{text}{}~{from}|", op.name()))
        };
        (1..NODES).map(node).collect::<Vec<_>>().join("+")
    }

    /// Six genes, one an edge.
    pub fn genes(&self) -> Vec<String> {
        self.ops.iter().map(|op| op.short().to_owned()).collect()
    }

    /// The cell of six genes.
    ///
    /// # Errors
    /// Another number of genes, or one that is no operation.
    pub fn from_genes(genes: &[String]) -> Result<Cell201, ArchError> {
        let op = |gene: &String| {
            Edge::from_short(gene).ok_or_else(|| {
                ArchError(format!("`{gene}` is no operation; there are {}", Edge::ALL.map(Edge::short).join(", ")))
            })
        };
        let ops: Vec<Edge> = genes.iter().map(op).collect::<Result<_, _>>()?;
        let ops = ops
            .try_into()
            .map_err(|_| ArchError(format!("a cell of NAS-Bench-201 has {EDGES} genes, not {}", genes.len())))?;
        Ok(Cell201 { ops })
    }

    /// The architecture of the space `nas-bench-201` that this cell is.
    pub fn arch(&self) -> Arch {
        Arch { space: "nas-bench-201".into(), genes: self.genes() }
    }

    /// The text by which the benchmark tells cells apart: identities replaced by what they pass on, the terms of a sum
    /// sorted, zeros written `#`. The 15,625 cells have 6,466 such texts, the published number of distinct cells.
    ///
    /// A sum keeps its zero terms here, so some cells of different texts still compute the same: [`Cell201::function`].
    pub fn canonical(&self) -> String {
        let mut nodes: Vec<String> = vec!["0".into()];
        for target in 1..NODES {
            let mut terms: Vec<String> = self
                .into(target)
                .map(|(from, op)| match (op, nodes[from].as_str()) {
                    (Edge::None, _) | (_, "#") => "#".into(),
                    (Edge::Skip, source) => source.into(),
                    (op, source) => format!("({source})@{}", op.name()),
                })
                .collect();
            terms.sort_unstable();
            nodes.push(terms.join("+"));
        }
        nodes.pop().unwrap_or_default()
    }

    /// A text that is the same for cells that compute the same function: as [`Cell201::canonical`], but sums within sums are
    /// one sum and zeros are left out of it. The 15,625 cells have 4,930 such texts. Empty for a cell that gives zeros.
    pub fn function(&self) -> String {
        let mut nodes: Vec<Vec<String>> = vec![vec!["0".into()]];
        for target in 1..NODES {
            let mut terms: Vec<String> = Vec::new();
            for (from, op) in self.into(target).filter(|(from, op)| *op != Edge::None && !nodes[*from].is_empty()) {
                match op {
                    Edge::Skip => terms.extend(nodes[from].iter().cloned()),
                    op => terms.push(format!("({})@{}", nodes[from].join("+"), op.name())),
                }
            }
            terms.sort_unstable();
            nodes.push(terms);
        }
        nodes.pop().unwrap_or_default().join("+")
    }

    /// Source and operation of the edges into a node.
    fn into(&self, target: usize) -> impl Iterator<Item = (usize, Edge)> + '_ {
        Cell201::EDGES
            .iter()
            .zip(&self.ops)
            .filter(move |((_, to), _)| *to == target)
            .map(|((from, _), op)| (*from, *op))
    }
}
