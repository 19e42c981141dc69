//! Figures of merit on plain numbers: no tensors, no devices, no randomness that the caller did not seed.
//!
//! * [`accuracy`]: the share of right answers.
//! * [`Summary`]: count, mean, standard deviation, range.
//! * [`PairedT`]: paired t-test of two ways on the same seeds.
//! * [`kendall_tau`]: rank correlation with ties (tau-b); [`pearson`]: the linear one.
//! * [`within_tau`], [`Permutations`], [`Null`], [`concordance`]: does ranking inside clusters beat ranking over all,
//!   and is that more than chance?
//! * [`regret`], [`pareto_front`]: what a choice cost, and which choices are worth looking at.
//!
//! A figure that is not defined for its input (no pairs, all tied, not a number) is `None`, never NaN.

mod choice;
mod cluster;
mod paired;
mod rank;
mod rng;
mod summary;

pub use choice::{pareto_front, regret};
pub use cluster::{
    ClusterTau, Concordance, ConcordanceBin, Member, Null, Permutations, WithinTau, concordance, difference_edges,
    permutation_null, within_tau,
};
pub use paired::PairedT;
pub use rank::{kendall_tau, pearson};
pub use rng::SplitMix64;
pub use summary::{Summary, accuracy};
