//! Regularised evolution (Real et al. 2019, arXiv:1802.01548, algorithm 1), asynchronous as there: a child is made whenever
//! a worker is free, from the population as it then stands.
//!
//! Two things differ from the paper. A child may have two parents (`evolution.crossover`, off by default). And no network
//! is trained twice: a child that is not new is changed again, and when its neighbours are used up a random network takes its
//! place; in the small spaces that fit two cores, children would else repeat themselves for most of the budget.

use kiln_arch::Arch;
use kiln_arch::limits::Affordable;
use kiln_protocol::spec::{EvolutionSettings, Removal};
use rand::Rng;
use rand::seq::index;

use super::propose::Proposal;
use super::random;
use super::record::Ledger;

/// Changes of a child before a random network takes its place.
const CHANGES: usize = 200;

/// Changes of one base before the base itself moves on: about as many as a network of a small space has neighbours.
const AROUND: usize = 20;

/// Ids of the members, the oldest first: finished candidates enter in the order in which they count; each one beyond the
/// size of the population removes the oldest member (or the worst, of equals the older one). Failed candidates never enter.
pub fn population(ledger: &Ledger, settings: &EvolutionSettings) -> Vec<usize> {
    let size = settings.population as usize;
    let entrants = ledger.finished.iter().filter(|f| ledger.score(**f).is_some()).map(|f| f.candidate);
    match settings.removal {
        Removal::Oldest => {
            let all: Vec<usize> = entrants.collect();
            all[all.len().saturating_sub(size)..].to_vec()
        }
        Removal::Worst => entrants.fold(Vec::with_capacity(size + 1), |mut members, id| {
            members.push(id);
            if members.len() > size {
                let accuracy = |i: &usize| ledger.candidates[members[*i]].accuracy().unwrap_or(f64::NEG_INFINITY);
                let worst = (0..members.len()).min_by(|a, b| accuracy(a).total_cmp(&accuracy(b)));
                worst.map(|i| members.remove(i));
            }
            members
        }),
    }
}

/// The best of some members drawn at random without repetition (of equals the younger one).
fn tournament(ledger: &Ledger, members: &[usize], size: usize, rng: &mut impl Rng) -> Option<usize> {
    let drawn = index::sample(rng, members.len(), size.clamp(1, members.len().max(1)).min(members.len()));
    let accuracy = |id: usize| ledger.candidates[id].accuracy().unwrap_or(f64::NEG_INFINITY);
    let mut drawn: Vec<usize> = drawn.into_iter().map(|i| members[i]).collect();
    drawn.sort_unstable();
    drawn.into_iter().max_by(|a, b| accuracy(*a).total_cmp(&accuracy(*b)))
}

/// A child, or a random network while the first population is being made.
pub fn child(
    ledger: &Ledger,
    settings: &EvolutionSettings,
    affordable: &Affordable,
    rng: &mut impl Rng,
    fresh: &dyn Fn(&Arch) -> bool,
) -> Option<Proposal> {
    let members = population(ledger, settings);
    let starting = ledger.candidates.len() < settings.population as usize;
    let size = settings.tournament as usize;
    let Some(parent) = tournament(ledger, &members, size, rng).filter(|_| !starting) else {
        return random::draw(affordable, rng, fresh);
    };
    let space = &affordable.space;
    let arch = |id: usize| &ledger.candidates[id].arch;
    let mut parents = vec![parent];
    let mut base = arch(parent).clone();
    if rng.gen_bool(settings.crossover.clamp(0.0, 1.0))
        && let Some(other) = tournament(ledger, &members, size, rng).filter(|other| *other != parent)
    {
        base = space.crossover(&base, arch(other), rng);
        parents.push(other);
    }
    let mutated = rng.gen_bool(settings.mutation.clamp(0.0, 1.0));
    let mut child = if mutated { space.mutate(&base, rng) } else { base.clone() };
    for change in 1..=CHANGES {
        if fresh(&child)
            && let Some(cost) = affordable.cost(&child)
        {
            return Some(Proposal::New { arch: child, cost, parents });
        }
        if change.is_multiple_of(AROUND) {
            let moved = space.mutate(&base, rng);
            if affordable.cost(&moved).is_some() {
                base = moved;
            }
        }
        child = space.mutate(&base, rng);
    }
    random::draw(affordable, rng, fresh)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kiln_arch::limits::Limits;
    use kiln_arch::{Shape, Space};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::super::record::Candidate;
    use super::super::record::tests::first_rung;
    use super::*;

    fn settings(removal: Removal) -> EvolutionSettings {
        EvolutionSettings { population: 3, tournament: 2, removal, ..EvolutionSettings::default() }
    }

    #[test]
    fn the_oldest_leaves_also_when_it_is_the_best() {
        let ledger = first_rung(&[Some(0.99), Some(0.1), None, Some(0.2), Some(0.3)]);
        assert_eq!(population(&ledger, &settings(Removal::Oldest)), [1, 3, 4]);
        assert_eq!(population(&ledger, &settings(Removal::Worst)), [0, 3, 4]);
        let fewer = first_rung(&[Some(0.9), Some(0.1)]);
        assert_eq!(population(&fewer, &settings(Removal::Oldest)), [0, 1]);
    }

    #[test]
    fn the_best_of_the_drawn_wins_and_a_tournament_of_all_always_has_the_same_winner() {
        let ledger = first_rung(&[Some(0.1), Some(0.9), Some(0.5), Some(0.9)]);
        let members = [0, 1, 2, 3];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20 {
            assert_eq!(tournament(&ledger, &members, 4, &mut rng), Some(3));
        }
        let winners: HashSet<usize> = (0..100).filter_map(|_| tournament(&ledger, &members, 1, &mut rng)).collect();
        assert_eq!(winners.len(), 4, "a tournament of one is a draw");
        assert_eq!(tournament(&ledger, &[], 2, &mut rng), None);
    }

    #[test]
    fn a_child_differs_from_its_parent_in_one_decision_and_was_not_trained_before() {
        let space = Space::named("mobile-xs").unwrap();
        let affordable = Affordable::new(space, Shape::Image(1, 8, 8), 10, Limits::default()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut ledger = first_rung(&[Some(0.1), Some(0.9), Some(0.5)]);
        for candidate in &mut ledger.candidates {
            candidate.arch = affordable.space.sample(&mut rng);
        }
        let all = EvolutionSettings { tournament: 3, ..settings(Removal::Oldest) };
        for _ in 0..50 {
            let seen = ledger.seen();
            let made = child(&ledger, &all, &affordable, &mut rng, &|a| !seen.contains(a)).unwrap();
            let Proposal::New { arch, cost, parents } = made else { panic!("evolution promotes nobody") };
            assert_eq!(parents, [1]);
            let differ = arch.genes.iter().zip(&ledger.candidates[1].arch.genes).filter(|(a, b)| a != b).count();
            assert!(differ == 1 || ledger.candidates.len() > 10, "{arch}: {differ}");
            assert!(!seen.contains(&arch));
            ledger.candidates.push(Candidate::new(arch, cost, parents));
        }
    }

    #[test]
    fn a_child_of_two_has_nothing_that_neither_has() {
        let space = Space::named("mobile-xs").unwrap();
        let affordable = Affordable::new(space, Shape::Image(1, 8, 8), 10, Limits::default()).unwrap();
        let mut ledger = first_rung(&[Some(0.1), Some(0.9), Some(0.5)]);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for candidate in &mut ledger.candidates {
            candidate.arch = affordable.space.sample(&mut rng);
        }
        let both = EvolutionSettings { tournament: 1, crossover: 1.0, mutation: 0.0, ..settings(Removal::Oldest) };
        let mut mixed = 0;
        for _ in 0..40 {
            let made = child(&ledger, &both, &affordable, &mut rng, &|_| true).unwrap();
            let Proposal::New { arch, parents, .. } = made else { panic!("evolution promotes nobody") };
            let [a, b] = parents[..] else { continue };
            mixed += 1;
            let (a, b) = (&ledger.candidates[a].arch.genes, &ledger.candidates[b].arch.genes);
            assert!(arch.genes.iter().zip(a.iter().zip(b)).all(|(gene, (a, b))| gene == a || gene == b));
        }
        assert!(mixed > 10, "two draws of one in three differ two times out of three, not {mixed} in 40");
    }
}
