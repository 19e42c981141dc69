//! Figures of merit on plain numbers: no tensors, no devices, no randomness that the caller did not seed.
//!
//! * [`accuracy`]: the share of right answers.
//! * [`Summary`]: count, mean, standard deviation, range.
//! * [`PairedT`]: paired t-test of two ways on the same seeds.
//! * [`kendall_tau`]: rank correlation with ties (tau-b); [`pearson`]: the linear one.
//! * [`within_tau`], [`Permutations`], [`Null`], [`concordance`]: does ranking inside clusters beat ranking over all,
//!   and is that more than chance?
//! * [`frechet_distance`], [`kernel_distance`], [`precision_recall`], [`evenness`]: how near generated images come to real
//!   ones, in the space of some features; [`sqrt_psd`], [`eigen`]: symmetric matrices.
//! * [`regret`], [`pareto_front`]: what a choice cost, and which choices are worth looking at.
//!
//! A figure that is not defined for its input (no pairs, all tied, not a number) is `None`, never NaN.

mod choice;
mod cluster;
mod features;
mod frechet;
mod paired;
mod rank;
mod rng;
mod summary;
mod symmetric;

pub use choice::{pareto_front, regret};
pub use cluster::{
    ClusterTau, Concordance, ConcordanceBin, Member, Null, Permutations, WithinTau, concordance, difference_edges,
    permutation_null, within_tau,
};
pub use features::{Features, evenness, kernel_distance, precision_recall};
pub use frechet::{Gaussian, Reference, frechet_distance};
pub use paired::{ENOUGH_PAIRS, PairedT, differences};
pub use rank::{kendall_tau, pearson};
pub use rng::SplitMix64;
pub use summary::{Summary, accuracy};
pub use symmetric::{Eigen, eigen, sqrt_psd};
