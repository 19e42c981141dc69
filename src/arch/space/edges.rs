//! Networks of NAS-Bench-201's form (arXiv:2001.00326): a 3x3 stem with batch normalisation, stacks of one cell, between
//! stacks a residual block that halves the side and doubles the width, batch normalisation and ReLU, pooling, a linear
//! layer. One decision an edge of the cell, named `edge01` for the edge from node 0 to node 1.

use kiln_spec::{CellEdgeSettings, EdgeOp, SpaceDefinition};

use super::{Arch, ArchError, Decision, Space};
use crate::cell::Edge;
use crate::graph::{Graph, Input, Join, Node};
use crate::plan::{Act, Block, Builder, Layer, Plan, Shape};

/// Decisions of a definition that [`SpaceDefinition::from_toml`] has checked, and its sizes.
pub(super) fn define(def: &SpaceDefinition) -> Result<(Vec<Decision>, CellEdgeSettings), ArchError> {
    let own = def.cell_edges.clone();
    let own = own.ok_or_else(|| ArchError(format!("space `{}` has no table [cell-edges]", def.name)))?;
    let options: Vec<String> = own.ops.iter().map(|op| edge(*op).short().to_owned()).collect();
    let edge = |(from, to)| Decision { name: format!("edge{from}{to}"), options: options.clone(), stratify: false };
    Ok((edges(own.nodes as usize).map(edge).collect(), own))
}

/// Source and target of the edges between so many nodes, in the benchmark's order.
fn edges(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..nodes).flat_map(|to| (0..to).map(move |from| (from, to)))
}

fn edge(op: EdgeOp) -> Edge {
    match op {
        EdgeOp::None => Edge::None,
        EdgeOp::Skip => Edge::Skip,
        EdgeOp::C1 => Edge::Conv1x1,
        EdgeOp::C3 => Edge::Conv3x3,
        EdgeOp::Ap => Edge::AvgPool3x3,
    }
}

fn relu_conv_norm(input: u32, out: u32, kernel: u32, stride: u32) -> Vec<Layer> {
    let conv = Layer::Conv { input, out, kernel, stride, groups: 1, bias: false };
    vec![Layer::Act(Act::Relu), conv, Layer::BatchNorm { channels: out }]
}

pub(super) fn plan(
    own: &CellEdgeSettings,
    space: &Space,
    arch: &Arch,
    input: Shape,
    classes: u32,
) -> Result<Plan, ArchError> {
    let channels = space.channels(input)?;
    let slots = own.stacks * own.cells;
    let mut builder = Builder::new(input, classes, slots as usize);
    let stem = Layer::Conv { input: channels, out: own.width, kernel: 3, stride: 1, groups: 1, bias: false };
    builder.block("stem".into(), None, false, vec![stem, Layer::BatchNorm { channels: own.width }])?;
    for stack in 0..own.stacks {
        if stack > 0 {
            let c = builder.shape().channels();
            let name = format!("reduce{stack}");
            let block = Block::graph(name, None, builder.shape(), reduction(c, 2 * c), Vec::new())?;
            builder.push(block);
        }
        for cell in 0..own.cells {
            let graph = cell_graph(own.nodes as usize, arch, builder.shape().channels())?;
            let slot = (stack * own.cells + cell) as usize;
            let name = format!("stack{}.{}", stack + 1, cell + 1);
            builder.push(Block::graph(name, Some(slot), builder.shape(), graph, Vec::new())?);
        }
    }
    let c = builder.shape().channels();
    let linear = Layer::Linear { input: c, out: classes, bias: true };
    let head = vec![Layer::BatchNorm { channels: c }, Layer::Act(Act::Relu), Layer::GlobalAvgPool, linear];
    builder.block("head".into(), None, false, head)?;
    Ok(builder.finish())
}

/// A node is the sum over its edges; one without any is zeros.
fn cell_graph(nodes: usize, arch: &Arch, c: u32) -> Result<Graph, ArchError> {
    let mut graph = Graph { nodes: Vec::with_capacity(nodes - 1) };
    for (gene, (from, to)) in arch.genes.iter().zip(edges(nodes)) {
        if graph.nodes.len() < to {
            graph.nodes.push(Node { join: Join::Sum, inputs: Vec::new(), layers: Vec::new() });
        }
        let op = Edge::from_short(gene).ok_or_else(|| ArchError(format!("`{gene}` is no operation of an edge")))?;
        let layers = match op {
            Edge::None => continue,
            Edge::Skip => Vec::new(),
            Edge::Conv1x1 => relu_conv_norm(c, c, 1, 1),
            Edge::Conv3x3 => relu_conv_norm(c, c, 3, 1),
            Edge::AvgPool3x3 => vec![Layer::AvgPool3],
        };
        if let Some(node) = graph.nodes.last_mut() {
            node.inputs.push(Input { from, layers });
        }
    }
    Ok(graph)
}

/// The residual block between stacks: two convolutions, beside them average pooling and a 1x1 convolution.
fn reduction(c: u32, out: u32) -> Graph {
    let projection = Layer::Conv { input: c, out, kernel: 1, stride: 1, groups: 1, bias: false };
    let convolutions = [relu_conv_norm(c, out, 3, 2), relu_conv_norm(out, out, 3, 1)].concat();
    let inputs =
        vec![Input { from: 0, layers: vec![Layer::AvgPool, projection] }, Input { from: 0, layers: convolutions }];
    Graph { nodes: vec![Node { join: Join::Sum, inputs, layers: Vec::new() }] }
}

/// A bar an edge: how much it does, and a letter.
pub(super) fn glyph(arch: &Arch) -> Vec<(f32, char)> {
    let bar = |gene: &String| match Edge::from_short(gene) {
        Some(Edge::Conv3x3) => (1.0, 'C'),
        Some(Edge::Conv1x1) => (0.7, 'c'),
        Some(Edge::AvgPool3x3) => (0.4, 'p'),
        Some(Edge::Skip) => (0.2, 's'),
        _ => (0.0, '-'),
    };
    arch.genes.iter().map(bar).collect()
}
