//! General searches: random, regularised evolution, asynchronous successive halving. One frame, three ways to propose.
//!
//! - [`frame`]: the state machine: proposals out, trained candidates back, the budget, the final training
//! - [`record`]: what is known of the candidates and of the work under way, as plain numbers
//! - [`propose`]: what to train next: a pure function of what is known
//!   - [`random`], [`evolution`], [`asha`]
//! - [`screening`]: an assessor that chooses among many proposals
//! - [`recipe`]: one candidate's training up to a rung, on its own thread
//! - [`parking`]: trained states that wait for a promotion, on disk
//! - [`views`], [`report`]: what a person sees while it runs and at its end
//!
//! # Asynchronous, and yet the same every time
//!
//! `search.workers` candidates are under way at a time, and a new one is proposed as soon as one is done, knowing the results
//! so far and not waiting for the others. *Done* is meant in a schedule of work, not in time: each worker is taken to do one
//! epoch-image after the other at the same rate, so the order in which candidates are done follows from the epochs and images
//! of their trainings alone, ties by the order of their starts. A result that comes early, because its network is small or
//! the machine has more cores, waits until it is due. Every proposal and promotion therefore knows exactly the same results on
//! every machine, with any number of threads, and after any interruption.

mod asha;
mod evolution;
mod frame;
mod parking;
mod propose;
mod random;
mod recipe;
mod record;
mod report;
mod screening;
#[cfg(test)]
mod tests;
mod views;

pub use frame::Search;
