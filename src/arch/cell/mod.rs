//! Cells of the two tabular benchmarks as plain data: reading and writing their notations, and telling equal cells.
//!
//! - [`Cell101`]: NAS-Bench-101 (arXiv:1902.09635): operations on the vertices of a small acyclic graph
//! - [`Cell201`]: NAS-Bench-201 (arXiv:2001.00326): operations on the edges of a complete graph of four nodes
//!
//! Both convert to and from the genes of the spaces `nas-bench-101` and `nas-bench-201`.

mod edges;
mod vertices;

pub use edges::{Cell201, Edge};
pub(crate) use vertices::gene_of_vertex;
pub use vertices::{Cell101, MAX_EDGES, MAX_VERTICES, Vertex};

#[cfg(test)]
pub(crate) mod tests;
