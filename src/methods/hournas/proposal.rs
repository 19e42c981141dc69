//! The affordable part of a space: operations tilted by their cost, samples that keep the budget, repair of those that do
//! not (HourNAS, arXiv:2005.14446, space proposal).
//!
//! `p_l(o) ~ exp(alpha_lo - sum_r beta_r c_lor / c_max,r)`, one `beta` a limit. With one limit, `beta` solves "expected cost =
//! budget" by bisection; with several, by coordinate ascent of the dual, each clipped at 0.

use kiln_nn::Pick;
use kiln_nn::supernet::{Draw, Sampler, gumbel};
use kiln_protocol::spec::seed::derive;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::budget::{Budget, Room};

/// Largest tilt. Costs are scaled to at most 1, so differences of a thousandth of the dearest operation still count.
const BETA_MAX: f64 = 1e4;

/// Halvings of the bracket: down to 1e-12 of it.
const HALVINGS: usize = 60;

/// Rounds of coordinate ascent over several limits.
const SWEEPS: usize = 40;

/// What is drawn from: the slots of `group` by `p(.; beta)`.
#[derive(Clone, Copy)]
pub struct Tilted<'a> {
    pub budget: &'a Budget,
    pub group: &'a [usize],
    pub beta: &'a [f64],
}

impl Tilted<'_> {
    /// `- sum_r beta_r c_lor / c_max,r` of a slot's choices.
    pub fn tilt(&self, slot: usize) -> Vec<f64> {
        let mut tilt = vec![0.0; self.budget.limits.first().map_or(0, |limit| limit.costs[slot].len())];
        for (limit, beta) in self.budget.limits.iter().zip(self.beta) {
            let top = self.group.iter().flat_map(|&l| &limit.costs[l]).copied().max().unwrap_or(0).max(1) as f64;
            for (tilt, &cost) in tilt.iter_mut().zip(&limit.costs[slot]) {
                *tilt -= beta * cost as f64 / top;
            }
        }
        tilt
    }

    /// Logits of `p_l`.
    fn logits(&self, slot: usize, alpha: &[f32]) -> Vec<f64> {
        self.tilt(slot)
            .iter()
            .enumerate()
            .map(|(o, tilt)| tilt + f64::from(alpha.get(o).copied().unwrap_or(0.0)))
            .collect()
    }

    /// `p_l` of a slot.
    pub fn probabilities(&self, slot: usize, alpha: &[f32]) -> Vec<f64> {
        softmax(&self.logits(slot, alpha))
    }

    /// Mean cost of the group, one a limit.
    pub fn expected(&self, alpha: &[Vec<f32>]) -> Vec<f64> {
        let mut sums = vec![0.0; self.budget.limits.len()];
        for &slot in self.group {
            let p = self.probabilities(slot, &alpha[slot]);
            for (sum, limit) in sums.iter_mut().zip(&self.budget.limits) {
                *sum += p.iter().zip(&limit.costs[slot]).map(|(p, &cost)| p * cost as f64).sum::<f64>();
            }
        }
        sums
    }
}

pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exp: Vec<f64> = logits.iter().map(|v| (v - top).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.iter().map(|e| e / sum).collect()
}

/// The tilts at which the group's expected cost meets its room.
///
/// A limit that no network of the group can exceed has none. A single limit that must be filled may have a negative one:
/// then cheap operations prevail by themselves, and the tilt is towards dear ones.
pub fn solve(budget: &Budget, group: &[usize], alpha: &[Vec<f32>], room: &Room) -> Vec<f64> {
    let binds = budget.binds(group, room);
    let mut beta = vec![0.0; budget.limits.len()];
    let several = binds.iter().filter(|b| **b).count() > 1;
    let lowest = if room.fill && !several { -BETA_MAX } else { 0.0 };
    for _ in 0..if several { SWEEPS } else { 1 } {
        let before = beta.clone();
        for r in (0..beta.len()).filter(|&r| binds[r]) {
            beta[r] = bisect(budget, group, alpha, &beta, r, room.most[r] as f64, lowest);
        }
        if before.iter().zip(&beta).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1.0)) {
            break;
        }
    }
    beta
}

fn bisect(
    budget: &Budget,
    group: &[usize],
    alpha: &[Vec<f32>],
    beta: &[f64],
    r: usize,
    target: f64,
    lowest: f64,
) -> f64 {
    let mut beta = beta.to_vec();
    let mut excess = |value: f64| {
        beta[r] = value;
        Tilted { budget, group, beta: &beta }.expected(alpha)[r] - target
    };
    if lowest >= 0.0 && excess(0.0) <= 0.0 {
        return 0.0;
    }
    // The expected cost falls as beta rises.
    let (mut low, mut high) = (lowest, BETA_MAX);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
    high
}

/// The group's cheapest choices (by the sum of costs as shares of the limits); other slots are empty.
pub fn cheapest(budget: &Budget, group: &[usize]) -> Vec<Option<usize>> {
    let slots = budget.limits.first().map_or(0, |limit| limit.costs.len());
    let mut choices = vec![None; slots];
    for &slot in group {
        let count = budget.limits.first().map_or(0, |limit| limit.costs[slot].len());
        let share = |o: usize| -> f64 {
            budget.limits.iter().map(|limit| limit.costs[slot][o] as f64 / limit.most.max(1) as f64).sum()
        };
        choices[slot] = (0..count).min_by(|&a, &b| share(a).total_cmp(&share(b)));
    }
    choices
}

/// Downgrades operations until the group costs no more than its room, each time the one that loses the least `log_p` for what
/// it saves. Choices of other slots are left alone and not counted. `None` if no sequence of downgrades gets there.
///
/// `log_p` is by slot and choice; an empty row counts as equal weights.
pub fn repair(
    budget: &Budget,
    group: &[usize],
    mut choices: Vec<Option<usize>>,
    log_p: &[Vec<f64>],
    room: &Room,
) -> Option<Vec<Option<usize>>> {
    let cost_of = |slot: usize, choice: Option<usize>, r: usize| -> u64 {
        choice.and_then(|o| budget.limits[r].costs[slot].get(o).copied()).unwrap_or(0)
    };
    loop {
        let costs: Vec<u64> =
            (0..budget.limits.len()).map(|r| group.iter().map(|&slot| cost_of(slot, choices[slot], r)).sum()).collect();
        // Cost over the room, as a share of it, summed over the limits that are broken.
        let excess = |costs: &[u64]| -> f64 {
            let over = costs.iter().zip(&room.most);
            over.map(|(&cost, &most)| cost.saturating_sub(most) as f64 / most.max(1) as f64).sum()
        };
        if costs.iter().zip(&room.most).all(|(cost, most)| cost <= most) {
            return Some(choices);
        }
        let now = excess(&costs);
        let mut best: Option<(f64, usize, usize)> = None;
        for &slot in group {
            let count = budget.limits[0].costs[slot].len();
            for other in (0..count).filter(|&o| Some(o) != choices[slot]) {
                let after: Vec<u64> = (0..costs.len())
                    .map(|r| costs[r] - cost_of(slot, choices[slot], r) + cost_of(slot, Some(other), r))
                    .collect();
                let saved = now - excess(&after);
                if saved <= 0.0 {
                    continue;
                }
                let weight = |o: Option<usize>| o.and_then(|o| log_p[slot].get(o)).copied().unwrap_or(0.0);
                let ratio = (weight(choices[slot]) - weight(Some(other))) / saved;
                if best.is_none_or(|(least, ..)| ratio < least) {
                    best = Some((ratio, slot, other));
                }
            }
        }
        let (_, slot, other) = best?;
        choices[slot] = Some(other);
    }
}

/// What sampling did since the last look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Networks handed out.
    pub sampled: u64,
    /// Draws, rejected ones included.
    pub tries: u64,
    /// Networks that had to be repaired.
    pub repaired: u64,
    /// Least, mean and largest cost of the whole network, by limit.
    pub costs: Vec<[f64; 3]>,
}

impl Tally {
    fn note(&mut self, costs: &[u64]) {
        self.sampled += 1;
        self.costs.resize(costs.len(), [f64::INFINITY, 0.0, 0.0]);
        for (seen, &cost) in self.costs.iter_mut().zip(costs) {
            let cost = cost as f64;
            let mean = seen[1] + (cost - seen[1]) / self.sampled as f64;
            *seen = [seen[0].min(cost), mean, seen[2].max(cost)];
        }
    }

    /// Share of draws that were accepted as they were.
    pub fn acceptance(&self) -> Option<f64> {
        (self.tries > 0).then(|| (self.sampled - self.repaired) as f64 / self.tries as f64)
    }
}

/// Draws affordable networks; every number has its own random stream.
pub struct Proposal<'a> {
    pub tilted: Tilted<'a>,
    /// `None`: every network will do.
    pub room: Option<&'a Room>,
    /// What the slots outside the group are.
    pub base: &'a [Pick],
    pub eps: f64,
    pub rejections: u32,
    /// Seed of the run and number of the phase.
    pub key: (u64, u64),
    pub tally: &'a mut Tally,
}

impl Sampler for Proposal<'_> {
    fn draw(&mut self, alpha: &[Vec<f32>], number: u64) -> Draw {
        let budget = self.tilted.budget;
        let mut rng = ChaCha8Rng::seed_from_u64(derive(self.key.0, "gumbel", self.key.1, number));
        let mut choices: Vec<Option<usize>> = self.base.iter().map(|pick| pick.choice()).collect();
        let mut noise: Vec<Vec<f32>> = alpha.iter().map(|row| vec![0.0; row.len()]).collect();
        let tilts: Vec<Vec<f64>> = self.tilted.group.iter().map(|&slot| self.tilted.tilt(slot)).collect();
        let mut accepted = false;
        for _ in 0..=self.rejections {
            self.tally.tries += 1;
            for (&slot, tilt) in self.tilted.group.iter().zip(&tilts) {
                for (cell, tilt) in noise[slot].iter_mut().zip(tilt) {
                    *cell = gumbel(rng.r#gen()) + *tilt as f32;
                }
                let value = |o: &usize| alpha[slot][*o] + noise[slot][*o];
                choices[slot] = (0..tilt.len()).max_by(|a, b| value(a).total_cmp(&value(b)));
            }
            if self.accepts(&choices) {
                accepted = true;
                break;
            }
        }
        if let (false, Some(room)) = (accepted, self.room) {
            let log_p: Vec<Vec<f64>> = (0..alpha.len())
                .map(|slot| match self.tilted.group.contains(&slot) {
                    true => self.tilted.probabilities(slot, &alpha[slot]).iter().map(|p| p.max(1e-300).ln()).collect(),
                    false => Vec::new(),
                })
                .collect();
            // A feasible budget can always be reached from the cheapest choices.
            let mended = repair(budget, self.tilted.group, choices.clone(), &log_p, room)
                .or_else(|| repair(budget, self.tilted.group, self.with_cheapest(&choices), &log_p, room));
            choices = mended.unwrap_or(choices);
            self.tally.repaired += 1;
        }
        self.tally.note(&budget.cost(&choices));
        let path = self.base.iter().enumerate().map(|(slot, pick)| match choices[slot] {
            Some(choice) if self.tilted.group.contains(&slot) => Pick::Sampled(choice),
            _ => *pick,
        });
        Draw { path: path.collect(), noise }
    }
}

impl Proposal<'_> {
    fn with_cheapest(&self, choices: &[Option<usize>]) -> Vec<Option<usize>> {
        let cheap = cheapest(self.tilted.budget, self.tilted.group);
        choices.iter().zip(cheap).map(|(own, cheap)| cheap.or(*own)).collect()
    }

    /// Within the room, and, where it should be used, not far below it in at least one limit that binds.
    fn accepts(&self, choices: &[Option<usize>]) -> bool {
        let Some(room) = self.room else { return true };
        let (budget, group) = (self.tilted.budget, self.tilted.group);
        let cost = |r: usize| -> u64 {
            group.iter().filter_map(|&slot| budget.limits[r].costs[slot].get(choices[slot]?)).sum()
        };
        let costs: Vec<u64> = (0..budget.limits.len()).map(cost).collect();
        if costs.iter().zip(&room.most).any(|(cost, most)| cost > most) {
            return false;
        }
        let binds = budget.binds(group, room);
        let full = |r: usize| costs[r] as f64 >= (1.0 - self.eps) * room.most[r] as f64;
        !room.fill || !binds.contains(&true) || (0..costs.len()).any(|r| binds[r] && full(r))
    }
}

/// The group's choices of the largest logit, repaired to keep the room.
pub fn derive_choices(budget: &Budget, group: &[usize], alpha: &[Vec<f32>], room: Option<&Room>) -> Vec<Option<usize>> {
    let mut choices = vec![None; alpha.len()];
    let mut log_p = vec![Vec::new(); alpha.len()];
    for &slot in group {
        let row = &alpha[slot];
        // Of equal ones the first: a search that learnt nothing then takes the first operation, not a random one.
        choices[slot] = (0..row.len()).reduce(|best, o| if row[o] > row[best] { o } else { best });
        let logits: Vec<f64> = row.iter().map(|&a| f64::from(a)).collect();
        log_p[slot] = softmax(&logits).iter().map(|p| p.max(1e-300).ln()).collect();
    }
    let Some(room) = room else { return choices };
    repair(budget, group, choices.clone(), &log_p, room)
        .or_else(|| repair(budget, group, cheapest(budget, group), &log_p, room))
        .unwrap_or(choices)
}

#[cfg(test)]
mod tests {
    use super::super::budget::{Limit, Resource};
    use super::*;

    /// Limits over `slots` slots with these costs of every slot's choices.
    fn budget(most: &[u64], costs: &[&[u64]], slots: usize) -> Budget {
        let resources = [Resource::Macs, Resource::Params, Resource::Latency];
        let limits = most.iter().zip(costs).zip(resources).map(|((&most, costs), resource)| Limit {
            resource,
            most,
            fixed: 10,
            costs: vec![costs.to_vec(); slots],
        });
        Budget { limits: limits.collect() }
    }

    fn alpha(slots: usize, row: &[f32]) -> Vec<Vec<f32>> {
        vec![row.to_vec(); slots]
    }

    #[test]
    fn beta_brings_the_expected_cost_to_the_budget() {
        let group: Vec<usize> = (0..6).collect();
        for (most, sign) in [(10 + 6 * 20, 1.0), (10 + 6 * 55, -1.0)] {
            let budget = budget(&[most], &[&[0, 10, 40, 90]], 6);
            let room = budget.room(&group, &[]);
            let alpha = alpha(6, &[0.2, -0.1, 0.0, 0.3]);
            let beta = solve(&budget, &group, &alpha, &room);
            let expected = Tilted { budget: &budget, group: &group, beta: &beta }.expected(&alpha)[0];
            assert!((expected - room.most[0] as f64).abs() < 1e-6, "{expected} for {}", room.most[0]);
            assert_eq!(beta[0].signum(), sign);
            // In a room that need not be filled nothing is ever made dearer.
            let first = Room { fill: false, ..room };
            assert!(solve(&budget, &group, &alpha, &first)[0] >= 0.0);
        }
        // Nothing can exceed this one.
        let rich = budget(&[1000], &[&[0, 10, 40, 90]], 6);
        assert_eq!(solve(&rich, &group, &alpha(6, &[0.0; 4]), &rich.room(&group, &[])), [0.0]);
    }

    #[test]
    fn several_limits_have_a_beta_each_clipped_at_zero() {
        let group: Vec<usize> = (0..5).collect();
        let costs: [&[u64]; 2] = [&[0, 10, 40, 90], &[5, 60, 20, 80]];
        let alpha = alpha(5, &[0.0, 0.1, 0.2, 0.3]);
        for most in [[10 + 100, 10 + 150], [10 + 400, 10 + 90], [10 + 60, 10 + 380]] {
            let budget = budget(&most, &costs, 5);
            let room = budget.room(&group, &[]);
            let beta = solve(&budget, &group, &alpha, &room);
            let expected = Tilted { budget: &budget, group: &group, beta: &beta }.expected(&alpha);
            assert!(beta.iter().all(|b| *b >= 0.0));
            for r in 0..2 {
                let target = room.most[r] as f64;
                assert!(expected[r] <= target + 1e-3, "{most:?}: {expected:?} {beta:?}");
                // Complementary slackness: a tilt only where the limit is met.
                assert!(beta[r] == 0.0 || (expected[r] - target).abs() < 1e-3, "{most:?}: {expected:?} {beta:?}");
            }
            assert!(beta.iter().any(|b| *b > 0.0));
        }
    }

    #[test]
    fn repair_gives_up_what_is_worth_least_for_its_cost() {
        let budget = budget(&[10 + 60], &[&[0, 20, 50]], 3);
        let room = budget.room(&[0, 1, 2], &[]);
        // Slot 1 loses least by stepping down.
        let log_p = vec![vec![-9.0, -5.0, -0.1], vec![-1.0, -1.1, -0.9], vec![-9.0, -4.0, -0.1]];
        let mended = repair(&budget, &[0, 1, 2], vec![Some(2); 3], &log_p, &room).unwrap();
        assert!(budget.affords(&mended));
        assert_eq!(mended[1], Some(0), "{mended:?}");
        // What is affordable already is left alone.
        let cheap = vec![Some(1), Some(0), Some(1)];
        assert_eq!(repair(&budget, &[0, 1, 2], cheap.clone(), &log_p, &room).unwrap(), cheap);
    }

    #[test]
    fn thousand_samples_never_cost_more_than_the_limits() {
        for (most, costs) in [
            (vec![10 + 150], vec![&[0_u64, 17, 40, 91][..]]),
            (vec![10 + 130], vec![&[3, 17, 40, 91]]),
            (vec![10 + 200, 10 + 120], vec![&[0, 17, 40, 91], &[2, 60, 25, 44]]),
        ] {
            let budget = budget(&most, &costs, 8);
            let group: Vec<usize> = (0..8).collect();
            let room = budget.room(&group, &[]);
            let alpha = alpha(8, &[0.0, 0.3, -0.2, 1.0]);
            let beta = solve(&budget, &group, &alpha, &room);
            let mut tally = Tally::default();
            let base = vec![Pick::Identity; 8];
            let mut seen = std::collections::HashSet::new();
            for number in 0..1000 {
                let mut proposal = Proposal {
                    tilted: Tilted { budget: &budget, group: &group, beta: &beta },
                    room: Some(&room),
                    base: &base,
                    eps: 0.05,
                    rejections: 50,
                    key: (3, 1),
                    tally: &mut tally,
                };
                let draw = proposal.draw(&alpha, number);
                assert_eq!(draw.path, proposal.draw(&alpha, number).path, "a number has one draw");
                let choices: Vec<Option<usize>> = draw.path.iter().map(|p| p.choice()).collect();
                for (cost, limit) in budget.cost(&choices).iter().zip(&budget.limits) {
                    assert!(*cost <= limit.most, "{cost} of {}", limit.most);
                }
                assert!(draw.noise.iter().flatten().all(|n| n.is_finite()));
                seen.insert(choices);
            }
            assert!(seen.len() > 20, "only {} different networks", seen.len());
            assert_eq!(tally.sampled, 2000);
            assert!(tally.tries >= tally.sampled && tally.acceptance().unwrap() > 0.0);
            assert!(
                tally
                    .costs
                    .iter()
                    .zip(&most)
                    .all(|(seen, most)| seen[0] <= seen[1] && seen[1] <= seen[2] && seen[2] <= *most as f64)
            );
        }
    }

    #[test]
    fn accepted_networks_use_their_budget() {
        let budget = budget(&[10 + 400], &[&[0, 17, 40, 91]], 8);
        let group: Vec<usize> = (0..8).collect();
        let room = budget.room(&group, &[]);
        let alpha = alpha(8, &[0.0; 4]);
        let beta = solve(&budget, &group, &alpha, &room);
        let mut tally = Tally::default();
        for number in 0..200 {
            let base = vec![Pick::Identity; 8];
            let tilted = Tilted { budget: &budget, group: &group, beta: &beta };
            let mut proposal = Proposal {
                tilted,
                room: Some(&room),
                base: &base,
                eps: 0.05,
                rejections: 500,
                key: (3, 1),
                tally: &mut tally,
            };
            let choices: Vec<_> = proposal.draw(&alpha, number).path.iter().map(|p| p.choice()).collect();
            assert!(budget.cost(&choices)[0] >= 10 + 380, "with so many tries none is repaired");
        }
        assert_eq!(tally.repaired, 0);
    }

    #[test]
    fn derived_choices_are_the_largest_logits_within_the_room() {
        let group = [0, 1, 2];
        let rows = vec![vec![0.1, 0.0, 0.9], vec![0.5, 0.4, 0.6], vec![0.0, 0.0, 2.0]];
        let rich = budget(&[1000], &[&[0, 20, 50]], 3);
        assert_eq!(derive_choices(&rich, &group, &rows, Some(&rich.room(&group, &[]))), [Some(2); 3]);
        let poor = budget(&[10 + 110], &[&[0, 20, 50]], 3);
        let derived = derive_choices(&poor, &group, &rows, Some(&poor.room(&group, &[])));
        assert!(poor.affords(&derived));
        assert_eq!(derived, [Some(2), Some(0), Some(2)]);
        assert_eq!(derive_choices(&poor, &group, &rows, None), [Some(2); 3]);
    }
}
