//! Networks of NAS-Bench-101's form (arXiv:1902.09635): a 3x3 stem, stacks of one cell, between stacks 2x2 max pooling and
//! twice the width, pooling, a linear layer. One decision a vertex of the cell but its input: its operation and where its
//! inputs come from (see [`Cell101::genes`]).
//!
//! Not every combination is a member: a path must lead from input to output, and the edges on such paths are limited.
//! Vertices off every path may stand in a genotype, as in the benchmark's own searches; networks leave them out.

use kiln_spec::{CellVertexSettings, SpaceDefinition, VertexOp};
use rand::Rng;
use rand::seq::SliceRandom;

use super::{Arch, ArchError, Decision, Space};
use crate::cell::{Cell101, Vertex, gene_of_vertex};
use crate::graph::{Graph, Input, Join, Node};
use crate::plan::{Act, Block, Builder, Layer, Plan, Shape};

/// Tries before sampling or mutation gives up; a sample is a member once in four times.
const TRIES: usize = 10_000;

/// Decisions of a definition that [`SpaceDefinition::from_toml`] has checked, and its sizes.
pub(super) fn define(def: &SpaceDefinition) -> Result<(Vec<Decision>, CellVertexSettings), ArchError> {
    let own = def.cell_vertices.clone();
    let own = own.ok_or_else(|| ArchError(format!("space `{}` has no table [cell-vertices]", def.name)))?;
    let n = own.vertices as usize;
    // Subsets of earlier vertices by size, then by number: plain chains come before thickets.
    let inputs = |v: usize| {
        let mut masks: Vec<u32> = (1..1u32 << v).collect();
        masks.sort_by_key(|mask| (mask.count_ones(), *mask));
        let digits = move |mask: u32| (0..v).filter(|w| mask >> w & 1 == 1).map(|w| w.to_string()).collect::<String>();
        masks.into_iter().map(digits).collect::<Vec<_>>()
    };
    let decision = |v: usize| {
        let options = if v + 1 == n {
            inputs(v).into_iter().map(|digits| format!("out{digits}")).collect()
        } else {
            let ops = own.ops.iter().map(|op| vertex(*op).short());
            let genes = ops.flat_map(|op| inputs(v).into_iter().map(move |digits| format!("{op}i{digits}")));
            std::iter::once("none".to_owned()).chain(genes).collect()
        };
        Decision { name: if v + 1 == n { "output".into() } else { format!("vertex{v}") }, options, stratify: false }
    };
    Ok(((1..n).map(decision).collect(), own))
}

fn vertex(op: VertexOp) -> Vertex {
    match op {
        VertexOp::C3 => Vertex::Conv3x3,
        VertexOp::C1 => Vertex::Conv1x1,
        VertexOp::Mp => Vertex::MaxPool3x3,
    }
}

/// The pruned cell of a member.
///
/// # Errors
/// No path from input to output, or too many edges.
pub(super) fn member(own: &CellVertexSettings, arch: &Arch) -> Result<Cell101, ArchError> {
    let cell = Cell101::from_genes(&arch.genes)?.pruned();
    let cell = cell.ok_or_else(|| ArchError(format!("no path leads from the input of `{arch}` to its output")))?;
    let edges = cell.edges();
    if edges > own.edges as usize {
        return Err(ArchError(format!("`{arch}` has {edges} edges; its space allows {}", own.edges)));
    }
    Ok(cell)
}

/// Draws until something is a member, else takes the last resort.
pub(super) fn until_member(own: &CellVertexSettings, last_resort: &Arch, mut draw: impl FnMut() -> Arch) -> Arch {
    (0..TRIES).map(|_| draw()).find(|arch| member(own, arch).is_ok()).unwrap_or_else(|| last_resort.clone())
}

/// A member that differs in one gene: an edge more or less, or another operation, each as likely as its number among all
/// edges and operations.
pub(super) fn mutate(own: &CellVertexSettings, space: &Space, arch: &Arch, rng: &mut impl Rng) -> Arch {
    let n = own.vertices as usize;
    let (edges, inner) = (n * (n - 1) / 2, n - 2);
    let other = |rng: &mut dyn rand::RngCore| -> Option<Arch> {
        let pick = rng.gen_range(0..edges + inner);
        let op = |rng: &mut dyn rand::RngCore| own.ops.choose(rng).map(|op| vertex(*op));
        let v = if pick < inner { pick + 1 } else { (1..n).find(|v| v * (v + 1) / 2 > pick - inner)? };
        let gene = arch.genes.get(v - 1)?;
        let (mut kind, mut inputs) = gene_of_vertex(gene, v, v + 1 == n).ok()?;
        if pick < inner {
            kind = Some(kind.and(op(rng))?);
        } else {
            let from = pick - inner - v * (v - 1) / 2;
            match inputs.iter().position(|w| *w == from) {
                Some(there) => drop(inputs.remove(there)),
                None => inputs.push(from),
            }
            inputs.sort_unstable();
            kind = kind.or_else(|| op(rng));
        }
        let digits: String = inputs.iter().map(usize::to_string).collect();
        let gene = match kind {
            Some(Vertex::Output) => format!("out{digits}"),
            Some(op) if !digits.is_empty() => format!("{}i{digits}", op.short()),
            _ => "none".to_owned(),
        };
        let mut child = arch.clone();
        child.genes[v - 1] = gene;
        (child != *arch && space.validate(&child).is_ok()).then_some(child)
    };
    (0..TRIES).find_map(|_| other(rng)).unwrap_or_else(|| arch.clone())
}

/// Channels of each vertex: the output's are dealt out evenly to the vertices that feed it, the first ones get one more
/// where they do not divide; any other vertex has as many as the widest one that it feeds.
fn channels(cell: &Cell101, input: u32, output: u32) -> Vec<u32> {
    let n = cell.ops.len();
    let edge = |from: usize, to: usize| cell.adjacency[from][to];
    let mut channels = vec![0; n];
    (channels[0], channels[n - 1]) = (input, output);
    let feeds: Vec<usize> = (1..n - 1).filter(|&v| edge(v, n - 1)).collect();
    let count = feeds.len().max(1) as u32;
    for (i, &v) in feeds.iter().enumerate() {
        channels[v] = output / count + u32::from((i as u32) < output % count);
    }
    for v in (1..n - 1).rev().filter(|v| !feeds.contains(v)) {
        channels[v] = (v + 1..n - 1).filter(|&to| edge(v, to)).map(|to| channels[to]).max().unwrap_or(0);
    }
    channels
}

fn conv_norm_relu(input: u32, out: u32, kernel: u32) -> Vec<Layer> {
    let conv = Layer::Conv { input, out, kernel, stride: 1, groups: 1, bias: false };
    vec![conv, Layer::BatchNorm { channels: out }, Layer::Act(Act::Relu)]
}

/// The cell with its input projected wherever it is used, inner values cut to the width that takes them, and the output
/// joined of all that feed it.
fn graph(cell: &Cell101, input: u32, output: u32) -> Graph {
    let n = cell.ops.len();
    let channels = channels(cell, input, output);
    let project = |out: u32| Input { from: 0, layers: conv_norm_relu(input, out, 1) };
    let mut nodes = Vec::with_capacity(n);
    for v in 1..n - 1 {
        let c = channels[v];
        let mut inputs: Vec<Input> = (1..v)
            .filter(|&w| cell.adjacency[w][v])
            .map(|w| {
                let layers = if channels[w] > c { vec![Layer::Truncate { channels: c }] } else { Vec::new() };
                Input { from: w, layers }
            })
            .collect();
        inputs.extend(cell.adjacency[0][v].then(|| project(c)));
        let layers = match cell.ops[v] {
            Vertex::Conv3x3 => conv_norm_relu(c, c, 3),
            Vertex::Conv1x1 => conv_norm_relu(c, c, 1),
            _ => vec![Layer::MaxPool3],
        };
        nodes.push(Node { join: Join::Sum, inputs, layers });
    }
    let feeds: Vec<Input> = (1..n - 1).filter(|&v| cell.adjacency[v][n - 1]).map(Input::plain).collect();
    let direct = cell.adjacency[0][n - 1];
    let inner = !feeds.is_empty();
    if inner {
        nodes.push(Node { join: Join::Concat, inputs: feeds, layers: Vec::new() });
    }
    if direct {
        let joined = inner.then(|| Input::plain(nodes.len()));
        let inputs = joined.into_iter().chain([project(output)]).collect();
        nodes.push(Node { join: Join::Sum, inputs, layers: Vec::new() });
    }
    Graph { nodes }
}

pub(super) fn plan(
    own: &CellVertexSettings,
    space: &Space,
    arch: &Arch,
    input: Shape,
    classes: u32,
) -> Result<Plan, ArchError> {
    let channels = space.channels(input)?;
    let cell = member(own, arch)?;
    let mut builder = Builder::new(input, classes, (own.stacks * own.cells) as usize);
    builder.block("stem".into(), None, false, conv_norm_relu(channels, own.width, 3))?;
    for stack in 0..own.stacks {
        if stack > 0 {
            builder.block(format!("reduce{stack}"), None, false, vec![Layer::MaxPool])?;
        }
        for place in 0..own.cells {
            let graph = graph(&cell, builder.shape().channels(), own.width << stack);
            let slot = (stack * own.cells + place) as usize;
            let name = format!("stack{}.{}", stack + 1, place + 1);
            builder.push(Block::graph(name, Some(slot), builder.shape(), graph, Vec::new())?);
        }
    }
    let linear = Layer::Linear { input: builder.shape().channels(), out: classes, bias: true };
    builder.block("head".into(), None, false, vec![Layer::GlobalAvgPool, linear])?;
    Ok(builder.finish())
}

/// A bar a vertex: its number of inputs, and a letter for its operation.
pub(super) fn glyph(arch: &Arch) -> Vec<(f32, char)> {
    let n = arch.genes.len() + 1;
    let bar = |(i, gene): (usize, &String)| -> (f32, char) {
        let Ok((Some(op), inputs)) = gene_of_vertex(gene, i + 1, i + 2 == n) else { return (0.0, '-') };
        let letter = match op {
            Vertex::Conv3x3 => 'C',
            Vertex::Conv1x1 => 'c',
            Vertex::MaxPool3x3 => 'p',
            _ => 'o',
        };
        ((0.25 + 0.25 * inputs.len() as f32).clamp(0.0, 1.0), letter)
    };
    arch.genes.iter().enumerate().map(bar).collect()
}

/// Distinct cells of a space with all operations, as the benchmark's authors counted them by number of vertices (up to
/// nine edges). The test `the_number_of_cells_is_the_published_one` counts them anew.
const CELLS: [(u32, f64); 6] = [(2, 1.0), (3, 6.0), (4, 84.0), (5, 2441.0), (6, 62_010.0), (7, 359_082.0)];

/// Number of distinct cells where it is known, else the number of combinations, which is more; and whether it is that.
pub(super) fn size(own: &CellVertexSettings, decisions: &[Decision]) -> (f64, bool) {
    let whole = own.ops.len() == Vertex::INNER.len() && own.edges == 9 && is_whole(own, decisions);
    if whole {
        return (CELLS.iter().filter(|(v, _)| *v <= own.vertices).map(|(_, n)| n).sum(), false);
    }
    (decisions.iter().map(|d| d.options.len() as f64).product(), true)
}

/// Whether nothing has been narrowed.
fn is_whole(own: &CellVertexSettings, decisions: &[Decision]) -> bool {
    decisions.iter().enumerate().all(|(i, d)| {
        let subsets = (1usize << (i + 1)) - 1;
        d.options.len() == if i + 2 == own.vertices as usize { subsets } else { 1 + own.ops.len() * subsets }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A fingerprint with the same power as the published one (both refine labels as many rounds as there are vertices).
    fn fingerprint(n: usize, edges: &[(usize, usize)], labels: &[u64]) -> u64 {
        let mix = |x: u64| {
            let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut hash = [0u64; 7];
        hash[..n].copy_from_slice(labels);
        for _ in 0..n {
            let (mut into, mut out) = ([0u64; 7], [0u64; 7]);
            for &(i, j) in edges {
                into[j] = into[j].wrapping_add(mix(hash[i] ^ 0x1111));
                out[i] = out[i].wrapping_add(mix(hash[j] ^ 0x2222));
            }
            for v in 0..n {
                hash[v] = mix(hash[v] ^ mix(into[v]).rotate_left(17) ^ mix(out[v] ^ 0x3333).rotate_left(41));
            }
        }
        mix(hash[..n].iter().fold(n as u64, |sum, h| sum.wrapping_add(mix(*h))))
    }

    fn count(n: usize) -> usize {
        let pairs: Vec<(usize, usize)> = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).collect();
        let mut seen = HashSet::new();
        for mask in 0..1u32 << pairs.len() {
            if mask.count_ones() > 9 {
                continue;
            }
            let edges: Vec<(usize, usize)> =
                pairs.iter().enumerate().filter(|(b, _)| mask >> b & 1 == 1).map(|(_, e)| *e).collect();
            // Vertices are in topological order: all lie on a path if each inner one has an edge in and an edge out.
            let on_path = (0..n)
                .all(|v| (v == 0 || edges.iter().any(|e| e.1 == v)) && (v + 1 == n || edges.iter().any(|e| e.0 == v)));
            if !on_path {
                continue;
            }
            for code in 0..3u64.pow(n as u32 - 2) {
                let mut labels = vec![101; n];
                labels[n - 1] = 202;
                let mut rest = code;
                for label in &mut labels[1..n - 1] {
                    *label = 1 + rest % 3;
                    rest /= 3;
                }
                seen.insert(fingerprint(n, &edges, &labels));
            }
        }
        seen.len()
    }

    #[test]
    fn the_number_of_cells_is_the_published_one() {
        for (vertices, cells) in CELLS.iter().filter(|(v, _)| *v <= 6) {
            assert_eq!(count(*vertices as usize) as f64, *cells, "{vertices} vertices");
        }
    }

    #[test]
    #[ignore = "looks at all combinations of seven vertices: some seconds"]
    fn the_number_of_cells_of_seven_vertices_is_the_published_one() {
        assert_eq!(count(7) as f64, CELLS[5].1);
        assert_eq!(CELLS.iter().map(|c| c.1).sum::<f64>(), 423_624.0);
    }
}
