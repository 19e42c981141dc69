//! Architectures without torch: spaces, genotypes, sampling, mutation, crossover, and the cost model.
//!
//! - [`limits`]: what may be afforded, and members of a space that are
//! - [`space`]: a search space is a list of decisions with named options, plus a way to lower a choice to layers
//! - [`cell`]: the cells of NAS-Bench-101 and 201: their notations, and which of them are the same
//! - [`chain`]: the blocks of a chain space with all their choices: super-networks, budgets, vital blocks
//! - [`plan`]: the layers of one network with their shapes; costs are counted on it and `nn` builds from it
//! - [`graph`]: blocks that are small graphs: values over edges of layers, summed or concatenated
//! - [`sites`]: where a regulariser works in a network, and which layer reads what it distorts
//! - [`gan`]: pairs of adversarial networks, and the classifier that their images are measured with
//! - [`vital`]: which blocks lie on every path from input to output
//! - [`latency`]: measured time of a chain's blocks on one device, from a file
//! - [`cost`]: parameters and multiply-accumulates of a plan, block by block
//! - [`quantised`]: networks of few bits: layers, bits and bit operations, packed inference

pub mod cell;
pub mod chain;
pub mod cost;
pub mod gan;
pub mod graph;
pub mod latency;
pub mod limits;
pub mod plan;
pub mod quantised;
pub mod sites;
pub mod space;
pub mod vital;

pub use kiln_spec as spec;

pub use cell::{Cell101, Cell201};
pub use chain::{Chain, Choice, Slot};
pub use cost::Cost;
pub use gan::GanPlan;
pub use graph::{Graph, Input, Join, Node};
pub use latency::{Latencies, LatencyRequest, LatencyTable};
pub use plan::{Act, Block, Layer, Plan, Shape};
pub use sites::{Reader, Site};
pub use space::{Arch, ArchError, Decision, Space};
pub use vital::Paths;
