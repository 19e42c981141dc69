//! Which blocks of a network are vital: those that lie on every path from its input to its output (HourNAS,
//! arXiv:2005.14446, the guaranteed path).
//!
//! Of a chain this is told by shapes ([`crate::Slot::vital`]); of any graph by articulation: a block is vital if without it
//! the output cannot be reached any more. Points are values between blocks; an edge of a block leads from the value that
//! it takes to the one that it gives, and an edge without a block is an identity.

use std::collections::VecDeque;

use crate::cell::{Cell101, Cell201, Edge};
use crate::chain::Chain;

/// A network as blocks between points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Number of points. The first is the input, the last the output.
    pub points: usize,
    /// From, to, and the block on the edge; `None` for an identity.
    pub edges: Vec<(usize, usize, Option<usize>)>,
    /// Number of blocks.
    pub blocks: usize,
}

impl Paths {
    /// Whether each block lies on every path from input to output. All are vital where there is no path at all.
    pub fn vital(&self) -> Vec<bool> {
        (0..self.blocks).map(|block| !self.connected_without(Some(block))).collect()
    }

    /// Whether the output can be reached.
    pub fn connected(&self) -> bool {
        self.connected_without(None)
    }

    /// Breadth-first search that no edge of `block` may be taken in.
    fn connected_without(&self, block: Option<usize>) -> bool {
        let mut seen = vec![false; self.points];
        let mut queue = VecDeque::from([0]);
        while let Some(point) = queue.pop_front() {
            if point + 1 == self.points {
                return true;
            }
            for &(from, to, on) in &self.edges {
                if from == point && (block.is_none() || on != block) && !seen.get(to).copied().unwrap_or(true) {
                    seen[to] = true;
                    queue.push_back(to);
                }
            }
        }
        false
    }
}

impl Chain {
    /// The chain as a graph: its slots as blocks, and an identity beside each one that may have a shortcut.
    pub fn paths(&self) -> Paths {
        let blocks = self.slots.len();
        let mut edges: Vec<_> = (0..blocks).map(|i| (i, i + 1, Some(i))).collect();
        let kept = self.slots.iter().enumerate().filter(|(_, slot)| slot.input == slot.output && slot.stride == 1);
        edges.extend(kept.map(|(i, _)| (i, i + 1, None)));
        Paths { points: blocks + 1, edges, blocks }
    }
}

impl Cell201 {
    /// Blocks are the edges in their order; identities are no blocks, and zeros no edges.
    pub fn paths(&self) -> Paths {
        let edges = Cell201::EDGES.iter().zip(&self.ops).enumerate().filter(|(_, (_, op))| **op != Edge::None);
        let edges = edges.map(|(i, (&(from, to), op))| (from, to, (*op != Edge::Skip).then_some(i)));
        Paths { points: 4, edges: edges.collect(), blocks: self.ops.len() }
    }
}

impl Cell101 {
    /// Blocks are the inner vertices: vertex `v` is block `v - 1`, between the points `2v - 1` and `2v`.
    pub fn paths(&self) -> Paths {
        let n = self.ops.len();
        let into = |v: usize| (2 * v).saturating_sub(1);
        let inner = n.saturating_sub(2);
        let mut edges: Vec<_> = (1..=inner).map(|v| (2 * v - 1, 2 * v, Some(v - 1))).collect();
        for (from, row) in self.adjacency.iter().enumerate() {
            edges.extend(row.iter().enumerate().filter(|(_, edge)| **edge).map(|(to, _)| (2 * from, into(to), None)));
        }
        Paths { points: 2 * n - 2, edges, blocks: inner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Shape;
    use crate::space::Space;

    #[test]
    fn shapes_and_articulation_agree_on_chains() {
        let spaces = [("mobile-xs", 8), ("mobile-m", 32), ("hournas-f", 224), ("hournas-f-cifar", 32), ("fbnet", 224)];
        for (name, side) in spaces {
            let space = Space::named(name).unwrap();
            let chain = space.chain(Shape::Image(3, side, side), 10).unwrap().unwrap();
            assert_eq!(chain.paths().vital(), chain.vital(), "{name}");
            assert!(chain.vital().contains(&true) && chain.vital().contains(&false));
        }
    }

    #[test]
    fn articulation_finds_the_neck_of_a_graph() {
        // 0 -> {a, b} -> 3 -> c -> 4, with a and b in parallel and c alone.
        let edges = vec![(0, 1, Some(0)), (0, 2, Some(1)), (1, 3, None), (2, 3, None), (3, 4, Some(2))];
        let graph = Paths { points: 5, edges, blocks: 3 };
        assert_eq!(graph.vital(), [false, false, true]);
        // Without a way through, nothing is left to go round.
        let torn = Paths { points: 2, edges: vec![], blocks: 1 };
        assert!(torn.vital() == [true] && !torn.connected());
    }

    #[test]
    fn vital_operations_of_cells() {
        let genes = |text: &str| text.split('-').map(String::from).collect::<Vec<_>>();
        // input -> 1 -> 2 -> output with an edge from 1 to the output: only vertex 1 is on every path.
        let cell = Cell101::from_genes(&genes("c3i0-c1i1-out12")).unwrap();
        assert_eq!(cell.paths().vital(), [true, false]);
        let open = Cell101::from_genes(&genes("c3i0-c1i1-out012")).unwrap();
        assert_eq!(open.paths().vital(), [false, false]);
        // 3<-0 none, 1<-0 conv, 3<-1 conv, the rest none: one path with two convolutions.
        let cell = Cell201::from_genes(&genes("c3-none-none-none-c1-none")).unwrap();
        assert_eq!(cell.paths().vital(), [true, false, false, false, true, false]);
        let cell = Cell201::from_genes(&genes("c3-none-none-skip-c1-none")).unwrap();
        assert!(!cell.paths().vital().contains(&true));
    }
}
