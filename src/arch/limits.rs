//! What may be afforded: limits on a network's cost, and members of a space that keep them.

use rand::Rng;

use crate::cost::Cost;
use crate::plan::Shape;
use crate::space::{Arch, ArchError, Space};

/// Draws before the walk: enough to hit one member in a hundred with near certainty.
const DRAWS: usize = 600;

/// Steps of the walk among affordable members.
const STEPS: usize = 2000;

/// Most parameters and MACs that a network may have; 0 stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub params: u64,
    pub macs: u64,
}

impl Limits {
    /// Whether a network of this cost is affordable.
    pub fn allow(&self, cost: Cost) -> bool {
        let within = |value: u64, limit: u64| limit == 0 || value <= limit;
        within(cost.params, self.params) && within(cost.macs, self.macs)
    }

    /// By how much the dearest of the limited figures passes its limit: at most 1 where all are kept.
    fn excess(&self, cost: Cost) -> f64 {
        let over = |value: u64, limit: u64| if limit == 0 { 0.0 } else { value as f64 / limit as f64 };
        over(cost.params, self.params).max(over(cost.macs, self.macs))
    }
}

/// A space for one input and number of classes, within limits.
#[derive(Clone, Debug)]
pub struct Affordable {
    pub space: Space,
    pub input: Shape,
    pub classes: u32,
    pub limits: Limits,
    /// The member furthest below the limits that was found.
    cheapest: Arch,
}

impl Affordable {
    /// # Errors
    /// When the input does not fit the space, or when no member keeps the limits: the sentence says what the cheapest
    /// network found costs. It is found by descending decision by decision, so it is the cheapest where no decision changes
    /// the order of another's options.
    pub fn new(space: Space, input: Shape, classes: u32, limits: Limits) -> Result<Affordable, ArchError> {
        let cost = |arch: &Arch| Ok::<Cost, ArchError>(space.plan(arch, input, classes)?.cost());
        let key = |cost: Cost| (limits.excess(cost), cost.macs, cost.params);
        let mut best = (cost(&space.reference())?, space.reference());
        loop {
            let before = key(best.0);
            for (i, decision) in space.decisions.iter().enumerate() {
                for option in &decision.options {
                    let mut arch = best.1.clone();
                    arch.genes[i].clone_from(option);
                    // A member that cannot be built (cells have such) is no member to start from.
                    if let Ok(cost) = cost(&arch)
                        && key(cost) < key(best.0)
                    {
                        best = (cost, arch);
                    }
                }
            }
            if key(best.0) == before {
                break;
            }
        }
        if !limits.allow(best.0) {
            let limit = |value: u64, what: &str| (value > 0).then(|| format!("at most {value} {what}"));
            let allowed = [limit(limits.params, "parameters"), limit(limits.macs, "MACs")];
            let allowed: Vec<String> = allowed.into_iter().flatten().collect();
            return Err(ArchError(format!(
                "no network of space `{}` is affordable: the cheapest, `{}`, has {} parameters and {} MACs, but {} are allowed; raise that, or take another space",
                space.name,
                best.1,
                best.0.params,
                best.0.macs,
                allowed.join(" and ")
            )));
        }
        Ok(Affordable { space, input, classes, limits, cheapest: best.1 })
    }

    /// What `arch` costs, if it can be built and keeps the limits.
    pub fn cost(&self, arch: &Arch) -> Option<Cost> {
        let cost = self.space.plan(arch, self.input, self.classes).ok()?.cost();
        self.limits.allow(cost).then_some(cost)
    }

    /// The member furthest below the limits that was found.
    pub fn cheapest(&self) -> &Arch {
        &self.cheapest
    }

    /// A random affordable member that `fresh` accepts: drawn like [`Space::sample`] as long as that hits often enough,
    /// else the end of a random walk of affordable neighbours from the cheapest one. `None` if neither finds any, which in a
    /// small space means that there are none left.
    pub fn draw(&self, rng: &mut impl Rng, fresh: impl Fn(&Arch) -> bool) -> Option<Arch> {
        for _ in 0..DRAWS {
            let arch = self.space.sample(rng);
            if fresh(&arch) && self.cost(&arch).is_some() {
                return Some(arch);
            }
        }
        let (mut at, mut found) = (self.cheapest.clone(), None);
        for step in 0..STEPS {
            let next = self.space.mutate(&at, rng);
            if self.cost(&next).is_some() {
                at = next;
            }
            if fresh(&at) {
                found = Some(at.clone());
            }
            // Far enough from the start to have forgotten it.
            if found.is_some() && step >= STEPS / 4 {
                break;
            }
        }
        found.or_else(|| self.any(&fresh))
    }

    /// The first member in the order of the decisions, for spaces small enough to look at all of them.
    fn any(&self, fresh: impl Fn(&Arch) -> bool) -> Option<Arch> {
        const FEW: f64 = 4096.0;
        if self.space.size() > FEW {
            return None;
        }
        let mut digits = vec![0_usize; self.space.decisions.len()];
        loop {
            let genes = digits.iter().zip(&self.space.decisions).map(|(&i, d)| d.options[i].clone()).collect();
            let arch = Arch { space: self.space.name.clone(), genes };
            if fresh(&arch) && self.cost(&arch).is_some() {
                return Some(arch);
            }
            // The next number, with one digit a decision.
            let place = (0..digits.len()).find(|&i| digits[i] + 1 < self.space.decisions[i].options.len())?;
            digits[place] += 1;
            digits[..place].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn space(limits: Limits) -> Result<Affordable, ArchError> {
        Affordable::new(Space::named("mobile-xs")?, Shape::Image(1, 8, 8), 10, limits)
    }

    #[test]
    fn everything_drawn_is_affordable_also_under_a_tight_limit() {
        let free = space(Limits::default()).unwrap();
        let cheapest = free.cost(free.cheapest()).unwrap();
        for factor in [1.02, 1.5, 4.0] {
            let limits = Limits { params: 0, macs: (cheapest.macs as f64 * factor) as u64 };
            let affordable = space(limits).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            for _ in 0..20 {
                let arch = affordable.draw(&mut rng, |_| true).unwrap();
                assert!(affordable.cost(&arch).unwrap().macs <= limits.macs, "{arch}");
            }
        }
    }

    #[test]
    fn limits_on_parameters_find_another_cheapest_than_limits_on_macs() {
        let free = space(Limits::default()).unwrap();
        let by_macs = free.cost(free.cheapest()).unwrap();
        let tight = space(Limits { params: by_macs.params, macs: 0 }).unwrap();
        assert!(tight.cost(tight.cheapest()).unwrap().params <= by_macs.params);
    }

    #[test]
    fn limits_that_nothing_keeps_are_one_sentence_with_the_cheapest() {
        let error = space(Limits { params: 10, macs: 0 }).unwrap_err().to_string();
        assert!(
            error.contains("no network of space `mobile-xs` is affordable")
                && error.contains("but at most 10 parameters are allowed"),
            "{error}"
        );
    }

    #[test]
    fn a_small_space_is_drawn_to_its_last_member() {
        let space = Space::named("digits-mlp").unwrap();
        let all = space.size() as usize;
        let affordable = Affordable::new(space, Shape::Image(1, 8, 8), 10, Limits::default()).unwrap();
        let (mut rng, mut seen) = (ChaCha8Rng::seed_from_u64(1), HashSet::new());
        while let Some(arch) = affordable.draw(&mut rng, |a| !seen.contains(a)) {
            assert!(seen.insert(arch));
        }
        assert_eq!(seen.len(), all);
    }
}
