//! NAS-Bench-101: an acyclic graph of at most seven vertices and nine edges, with an operation on each inner vertex.

use std::fmt::Write;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::space::{Arch, ArchError};

/// Vertices of a cell at most, input and output among them.
pub const MAX_VERTICES: usize = 7;

/// Edges of a cell at most.
pub const MAX_EDGES: usize = 9;

/// What stands on a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Vertex {
    Input,
    Conv3x3,
    Conv1x1,
    MaxPool3x3,
    Output,
}

impl Vertex {
    /// The inner operations, in the order of the benchmark's labels 0, 1, 2.
    pub const INNER: [Vertex; 3] = [Vertex::Conv3x3, Vertex::Conv1x1, Vertex::MaxPool3x3];

    /// The benchmark's own name, such as `conv3x3-bn-relu`.
    pub fn name(self) -> &'static str {
        match self {
            Vertex::Input => "input",
            Vertex::Conv3x3 => "conv3x3-bn-relu",
            Vertex::Conv1x1 => "conv1x1-bn-relu",
            Vertex::MaxPool3x3 => "maxpool3x3",
            Vertex::Output => "output",
        }
    }

    /// The two letters of an inner operation in genes.
    pub fn short(self) -> &'static str {
        match self {
            Vertex::Input => "in",
            Vertex::Conv3x3 => "c3",
            Vertex::Conv1x1 => "c1",
            Vertex::MaxPool3x3 => "mp",
            Vertex::Output => "out",
        }
    }

    /// The label that the benchmark's hash is computed of: -1 input, 0 conv3x3, 1 conv1x1, 2 maxpool, -2 output.
    fn label(self) -> i32 {
        match self {
            Vertex::Input => -1,
            Vertex::Conv3x3 => 0,
            Vertex::Conv1x1 => 1,
            Vertex::MaxPool3x3 => 2,
            Vertex::Output => -2,
        }
    }

    fn named(name: &str) -> Option<Vertex> {
        [Vertex::Input, Vertex::Conv3x3, Vertex::Conv1x1, Vertex::MaxPool3x3, Vertex::Output]
            .into_iter()
            .find(|vertex| vertex.name() == name)
    }
}

/// A cell of NAS-Bench-101. [`Cell101::new`] checks what the fields promise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell101 {
    /// Row `i`, column `j`: an edge from vertex `i` to vertex `j`. Square; true only above the diagonal.
    pub adjacency: Vec<Vec<bool>>,
    /// One a vertex in topological order: the input first, the output last, inner operations between.
    pub ops: Vec<Vertex>,
}

impl Cell101 {
    /// A cell of this matrix and these operations.
    ///
    /// # Errors
    /// A matrix that is not square or has an edge on or below the diagonal; more than [`MAX_VERTICES`] vertices; operations
    /// of another number, or input and output elsewhere than at the ends. Edges are not counted and vertices off every
    /// path are allowed here, as in the benchmark: [`Cell101::pruned`] takes these away, [`Cell101::admitted`] counts.
    pub fn new(adjacency: Vec<Vec<bool>>, ops: Vec<Vertex>) -> Result<Cell101, ArchError> {
        let n = adjacency.len();
        let wrong = |said: String| Err(ArchError(said));
        if !(2..=MAX_VERTICES).contains(&n) {
            return wrong(format!("a cell of NAS-Bench-101 has 2 to {MAX_VERTICES} vertices, not {n}"));
        }
        if let Some(row) = adjacency.iter().position(|row| row.len() != n) {
            return wrong(format!("row {row} of the cell's matrix has {} entries, not {n}", adjacency[row].len()));
        }
        if let Some((i, j)) = (0..n).flat_map(|i| (0..=i).map(move |j| (i, j))).find(|&(i, j)| adjacency[i][j]) {
            return wrong(format!(
                "the cell's matrix has an edge from vertex {i} to {j}; edges go from lower to higher vertices only"
            ));
        }
        if ops.len() != n {
            return wrong(format!("the cell has {n} vertices but {} operations", ops.len()));
        }
        for (i, op) in ops.iter().enumerate() {
            let want = match i {
                0 => Some(Vertex::Input),
                i if i + 1 == n => Some(Vertex::Output),
                _ => None,
            };
            match want {
                Some(want) if *op != want => {
                    return wrong(format!("vertex {i} of the cell is `{}`, not `{}`", op.name(), want.name()));
                }
                None if !Vertex::INNER.contains(op) => {
                    return wrong(format!("inner vertex {i} of the cell is `{}`, not an operation", op.name()));
                }
                _ => {}
            }
        }
        Ok(Cell101 { adjacency, ops })
    }

    /// Reads the notation of the published tables: the matrix row by row as `0` and `1`, the operations between bars, such
    /// as `0110` and `input|output`.
    ///
    /// # Errors
    /// A matrix that is not square or not of `0` and `1`, an operation of another name, and as [`Cell101::new`].
    pub fn from_table(adjacency: &str, ops: &str) -> Result<Cell101, ArchError> {
        let ops = ops
            .trim()
            .split('|')
            .map(|name| {
                Vertex::named(name.trim()).ok_or_else(|| {
                    let names = ["input", "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3", "output"];
                    ArchError(format!("the cell has no operation `{name}`; there are {}", names.join(", ")))
                })
            })
            .collect::<Result<Vec<Vertex>, ArchError>>()?;
        let adjacency = adjacency.trim();
        let n = ops.len();
        if adjacency.len() != n * n || !adjacency.bytes().all(|b| matches!(b, b'0' | b'1')) {
            return Err(ArchError(format!(
                "the matrix of a cell of {n} vertices is {} digits 0 or 1, row by row, not `{adjacency}`",
                n * n
            )));
        }
        let rows = adjacency.as_bytes().chunks(n).map(|row| row.iter().map(|b| *b == b'1').collect());
        Cell101::new(rows.collect(), ops)
    }

    /// The columns `adjacency` and `ops` of the published tables.
    pub fn to_table(&self) -> (String, String) {
        let bits = self.adjacency.iter().flatten().map(|edge| if *edge { '1' } else { '0' });
        let ops: Vec<&str> = self.ops.iter().map(|op| op.name()).collect();
        (bits.collect(), ops.join("|"))
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.adjacency.iter().flatten().filter(|edge| **edge).count()
    }

    /// The cell without the vertices that lie on no path from input to output; `None` if there is no such path.
    pub fn pruned(&self) -> Option<Cell101> {
        let n = self.ops.len();
        let mut from_input = vec![false; n];
        let mut to_output = vec![false; n];
        from_input[0] = true;
        to_output[n - 1] = true;
        // Vertices are in topological order, so one sweep each way reaches everything.
        for j in 0..n {
            from_input[j] |= (0..j).any(|i| from_input[i] && self.adjacency[i][j]);
        }
        for i in (0..n).rev() {
            to_output[i] |= (i + 1..n).any(|j| to_output[j] && self.adjacency[i][j]);
        }
        let keep: Vec<usize> = (0..n).filter(|&v| from_input[v] && to_output[v]).collect();
        (keep.first() == Some(&0)).then(|| Cell101 {
            adjacency: keep.iter().map(|&i| keep.iter().map(|&j| self.adjacency[i][j]).collect()).collect(),
            ops: keep.iter().map(|&v| self.ops[v]).collect(),
        })
    }

    /// Whether the benchmark has this cell: a path from input to output, and at most [`MAX_EDGES`] edges on such paths.
    pub fn admitted(&self) -> bool {
        self.pruned().is_some_and(|cell| cell.edges() <= MAX_EDGES)
    }

    /// The benchmark's own hash (MD5, lower-case hex), equal for isomorphic cells. Of the pruned cell; of the cell as it is
    /// if no path leads through it.
    pub fn canonical_hash(&self) -> String {
        let pruned = self.pruned();
        let cell = pruned.as_ref().unwrap_or(self);
        let n = cell.ops.len();
        let edge = |i: usize, j: usize| cell.adjacency[i][j];
        let mut hashes: Vec<String> = (0..n)
            .map(|v| {
                let out = (0..n).filter(|&w| edge(v, w)).count();
                let into = (0..n).filter(|&w| edge(w, v)).count();
                md5(&format!("({out}, {into}, {})", cell.ops[v].label()))
            })
            .collect();
        let gather = |hashes: &[String], at: &dyn Fn(usize) -> bool| {
            let mut near: Vec<&str> = (0..n).filter(|&w| at(w)).map(|w| hashes[w].as_str()).collect();
            near.sort_unstable();
            near.concat()
        };
        for _ in 0..n {
            hashes = (0..n)
                .map(|v| {
                    let before = gather(&hashes, &|w| edge(w, v));
                    let behind = gather(&hashes, &|w| edge(v, w));
                    md5(&format!("{before}|{behind}|{}", hashes[v]))
                })
                .collect();
        }
        hashes.sort_unstable();
        let quoted: Vec<String> = hashes.iter().map(|h| format!("'{h}'")).collect();
        md5(&format!("[{}]", quoted.join(", ")))
    }

    /// The genes of this cell in a space whose cells have up to `vertices` vertices: one for each vertex but the input. The
    /// gene of an inner vertex is its operation, `i`, and the vertices that it takes its inputs from, such as `c3i02`; or
    /// `none`. The gene of the output is `out` and its inputs. The output is always the last vertex.
    ///
    /// # Errors
    /// A cell of more vertices.
    pub fn genes(&self, vertices: usize) -> Result<Vec<String>, ArchError> {
        let n = self.ops.len();
        if n > vertices {
            return Err(ArchError(format!("a cell of {n} vertices is not in a space of cells of {vertices}")));
        }
        let inputs = |v: usize| (0..v).filter(|&w| self.adjacency[w][v]).map(|w| w.to_string()).collect::<String>();
        let inner = (1..vertices - 1).map(|v| match self.ops.get(v) {
            Some(op) if v + 1 < n && !inputs(v).is_empty() => format!("{}i{}", op.short(), inputs(v)),
            _ => "none".to_owned(),
        });
        Ok(inner.chain([format!("out{}", inputs(n - 1))]).collect())
    }

    /// The cell of such genes. Vertices that are `none` are left out, and so are edges from them.
    ///
    /// # Errors
    /// A gene of another form, or too many of them.
    pub fn from_genes(genes: &[String]) -> Result<Cell101, ArchError> {
        let n = genes.len() + 1;
        if !(2..=MAX_VERTICES).contains(&n) {
            return Err(ArchError(format!(
                "a cell of NAS-Bench-101 has 1 to {} genes, not {}",
                MAX_VERTICES - 1,
                genes.len()
            )));
        }
        let mut adjacency = vec![vec![false; n]; n];
        let mut ops = vec![Some(Vertex::Input)];
        for (v, gene) in genes.iter().enumerate().map(|(i, gene)| (i + 1, gene)) {
            let (op, inputs) = gene_of_vertex(gene, v, v + 1 == n)?;
            ops.push(op);
            for w in inputs {
                adjacency[w][v] = true;
            }
        }
        let keep: Vec<usize> = (0..n).filter(|&v| ops[v].is_some()).collect();
        let matrix = keep.iter().map(|&i| keep.iter().map(|&j| adjacency[i][j]).collect()).collect();
        Cell101::new(matrix, ops.into_iter().flatten().collect())
    }

    /// The architecture of the space `nas-bench-101` that this cell is.
    ///
    /// # Errors
    /// As [`Cell101::genes`].
    pub fn arch(&self) -> Result<Arch, ArchError> {
        Ok(Arch { space: "nas-bench-101".into(), genes: self.genes(MAX_VERTICES)? })
    }
}

/// Operation (`None` for an unused vertex) and inputs of the gene of vertex `v`.
pub(crate) fn gene_of_vertex(gene: &str, v: usize, output: bool) -> Result<(Option<Vertex>, Vec<usize>), ArchError> {
    let wrong = || {
        let form = if output { "`out` and digits, such as `out15`" } else { "`none` or such as `c3i02`" };
        ArchError(format!("`{gene}` is no gene of vertex {v}: expected {form}, with inputs from 0 to {}", v - 1))
    };
    if gene == "none" && !output {
        return Ok((None, Vec::new()));
    }
    let (op, digits) = if output {
        (Vertex::Output, gene.strip_prefix("out").ok_or_else(wrong)?)
    } else {
        let (op, digits) = gene.split_once('i').ok_or_else(wrong)?;
        (Vertex::INNER.into_iter().find(|v| v.short() == op).ok_or_else(wrong)?, digits)
    };
    let inputs: Option<Vec<usize>> = digits.chars().map(|c| c.to_digit(10).map(|d| d as usize)).collect();
    let inputs = inputs.ok_or_else(wrong)?;
    let rising = inputs.windows(2).all(|w| w[0] < w[1]) && inputs.iter().all(|&w| w < v);
    if inputs.is_empty() || !rising { Err(wrong()) } else { Ok((Some(op), inputs)) }
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::with_capacity(32), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
