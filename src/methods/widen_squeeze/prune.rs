//! Which channels stay (inferred: the paper's own rule is not known).
//!
//! Within a group of channels the order is always that of the importances; of those that vanished, the one that vanished
//! last (whose sum over the steps is larger) is worth more. Between groups the order is what the setting `allocation` says.
//! Channels leave one after the other until the budget is met; a group at its floor keeps the rest.

use kiln_arch::quantised::Blueprint;
use kiln_protocol::spec::{Allocation, QuantBudget, WidenSqueezeSettings};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

/// Importance of a channel, and the sum of it over the steps.
pub type Importance = [f64; 2];

/// Which channels of each group stay, in their order.
pub type Keep = Vec<Vec<i64>>;

/// Channels of a group, the least important first.
fn ranked(group: &[Importance]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..group.len()).collect();
    order.sort_by(|&a, &b| {
        let key = |i: usize| (group[i][0], group[i][1]);
        let ((s, area), (t, other)) = (key(a), key(b));
        s.total_cmp(&t).then(area.total_cmp(&other)).then(a.cmp(&b))
    });
    order
}

/// Widths that meet the budget.
///
/// # Errors
/// A sentence, if the floors cost more than the budget.
pub fn widths(
    blueprint: &Blueprint,
    importances: &[Vec<Importance>],
    own: &WidenSqueezeSettings,
    budget: f64,
) -> Result<Vec<u32>, String> {
    let order: Vec<Vec<usize>> = importances.iter().map(|group| ranked(group)).collect();
    let floors = blueprint.floors(own.floor_share, own.floor_channels);
    let mean = |group: &[Importance], what: usize| {
        (group.iter().map(|i| i[what]).sum::<f64>() / group.len().max(1) as f64).max(f64::MIN_POSITIVE)
    };
    // When the channel at each place of a group's order leaves, against those of other groups.
    let keys: Vec<Vec<[f64; 2]>> = importances
        .iter()
        .zip(&order)
        .map(|(group, order)| {
            let scale = [mean(group, 0), mean(group, 1)];
            let key = |(rank, &i): (usize, &usize)| match own.allocation {
                Allocation::Layer => [group[i][0] / scale[0], group[i][1] / scale[1]],
                Allocation::Uniform => [(rank + 1) as f64 / group.len().max(1) as f64, 0.0],
                Allocation::Global => group[i],
            };
            order.iter().enumerate().map(key).collect()
        })
        .collect();
    let mut widths = blueprint.widths.clone();
    loop {
        let cost = blueprint.with_widths(&widths).cost().of(own.budget);
        if cost <= budget {
            return Ok(widths);
        }
        let next = (0..widths.len()).filter(|&g| widths[g] > floors[g]).min_by(|&a, &b| {
            let key = |g: usize| keys[g][blueprint.widths[g] as usize - widths[g] as usize];
            let (a, b) = (key(a), key(b));
            a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]))
        });
        let Some(group) = next else {
            return Err(format!(
                "the floors (widths {widths:?}) cost {cost:.0} {}, more than the budget of {budget:.0}; lower widen-squeeze.floor-share or \
                 floor-channels, or raise squeeze-to",
                kiln_arch::quantised::cost::unit(own.budget)
            ));
        };
        widths[group] -= 1;
    }
}

/// The most important channels of each group (or the least important ones).
pub fn best(importances: &[Vec<Importance>], widths: &[u32], most: bool) -> Keep {
    let choose = |(group, &width): (&Vec<Importance>, &u32)| {
        let mut order = ranked(group);
        if most {
            order.reverse();
        }
        let mut keep: Vec<i64> = order.into_iter().take(width as usize).map(|i| i as i64).collect();
        keep.sort_unstable();
        keep
    };
    importances.iter().zip(widths).map(choose).collect()
}

/// A random choice of channels of each group.
pub fn random(from: &[u32], widths: &[u32], seed: u64) -> Keep {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pairs = from.iter().zip(widths);
    let mut choose = |(&from, &width): (&u32, &u32)| {
        let drawn = sample(&mut rng, from as usize, width.min(from) as usize);
        let mut keep: Vec<i64> = drawn.into_iter().map(|i| i as i64).collect();
        keep.sort_unstable();
        keep
    };
    pairs.map(&mut choose).collect()
}

/// What one channel of each group costs, as a share of the whole network's cost.
pub fn kappa(blueprint: &Blueprint, budget: QuantBudget) -> Vec<f64> {
    let whole = blueprint.cost().of(budget).max(f64::MIN_POSITIVE);
    blueprint.marginal(budget).into_iter().map(|m| m / whole).collect()
}

/// The budget of a round: rounds shrink the cost by equal factors.
pub fn budget(widest: f64, last: f64, round: u32, rounds: u32) -> f64 {
    if round + 1 >= rounds {
        return last;
    }
    widest * (last / widest).powf(f64::from(round + 1) / f64::from(rounds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_arch::quantised::Bits;
    use kiln_protocol::spec::QuantFamily;

    fn own(allocation: Allocation, floor_channels: u32) -> WidenSqueezeSettings {
        WidenSqueezeSettings {
            network: QuantFamily::Mlp,
            widths: vec![4, 4],
            allocation,
            floor_share: 0.0,
            floor_channels,
            budget: QuantBudget::Bits,
            ..WidenSqueezeSettings::default()
        }
    }

    fn network(own: &WidenSqueezeSettings) -> Blueprint {
        Blueprint::new(own, [1, 2, 2], 2, 1.0, Some(Bits::of(own))).unwrap()
    }

    /// The first group is strong throughout, the second weak throughout.
    fn importances() -> Vec<Vec<Importance>> {
        vec![vec![[0.9, 9.0], [1.1, 9.0], [1.0, 9.0], [0.2, 9.0]], vec![[0.0, 1.0], [0.2, 2.0], [0.0, 3.0], [0.1, 1.0]]]
    }

    #[test]
    fn vanished_channels_rank_by_when_they_vanished() {
        let all = importances();
        assert_eq!(ranked(&all[1]), [0, 2, 3, 1]);
        assert_eq!(best(&all, &[2, 2], true), [vec![1, 2], vec![1, 3]]);
        assert_eq!(best(&all, &[2, 2], false), [vec![0, 3], vec![0, 2]]);
    }

    #[test]
    fn a_global_threshold_makes_a_bottleneck_where_a_ranking_by_layers_does_not() {
        let reached = |allocation| {
            let own = own(allocation, 1);
            let net = network(&own);
            // What widths of 2 and 2 cost.
            let budget = net.with_widths(&[2, 2]).cost().of(QuantBudget::Bits);
            let widths = widths(&net, &importances(), &own, budget).unwrap();
            assert!(net.with_widths(&widths).cost().of(QuantBudget::Bits) <= budget);
            widths
        };
        assert_eq!(reached(Allocation::Uniform), [2, 2]);
        let [first, second] = reached(Allocation::Global)[..] else { panic!("two groups") };
        assert_eq!(second, 1, "all the weak ones leave first");
        assert!(first < 4);
        let layered = reached(Allocation::Layer);
        assert!(layered[1] >= 2, "{layered:?}");
    }

    #[test]
    fn floors_hold_and_are_named_when_they_cost_too_much() {
        let own = own(Allocation::Global, 3);
        let net = network(&own);
        let budget = net.with_widths(&[3, 3]).cost().of(QuantBudget::Bits);
        assert_eq!(widths(&net, &importances(), &own, budget).unwrap(), [3, 3]);
        let said = widths(&net, &importances(), &own, budget - 1.0).unwrap_err();
        assert!(said.contains("[3, 3]") && said.contains("floor-channels"), "{said}");
    }

    #[test]
    fn random_choices_are_sorted_seeded_and_of_the_width() {
        let keep = random(&[8, 3], &[4, 3], 5);
        assert_eq!(keep, random(&[8, 3], &[4, 3], 5));
        assert_ne!(keep[0], random(&[8, 3], &[4, 3], 6)[0]);
        assert_eq!(keep[1], [0, 1, 2]);
        assert!(keep[0].windows(2).all(|p| p[0] < p[1]) && keep[0].len() == 4);
    }

    #[test]
    fn rounds_shrink_by_equal_factors() {
        let steps: Vec<f64> = (0..2).map(|r| budget(400.0, 100.0, r, 2)).collect();
        assert!((steps[0] - 200.0).abs() < 1e-9 && steps[1] == 100.0, "{steps:?}");
    }
}
