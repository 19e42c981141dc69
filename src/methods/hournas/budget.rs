//! What networks cost and what they may cost. Integers throughout: a budget is kept exactly or not at all.

use kiln_arch::{Arch, Chain, Latencies, Space};
use kiln_protocol::spec::HournasSettings;

use crate::error::{MethodError, Result};
use crate::text::thousands;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Macs,
    Params,
    /// In nanoseconds.
    Latency,
}

impl Resource {
    /// As the settings call it.
    pub fn key(self) -> &'static str {
        match self {
            Resource::Macs => "macs",
            Resource::Params => "params",
            Resource::Latency => "latency",
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Macs => "MACs",
            Resource::Params => "parameters",
            Resource::Latency => "latency",
        }
    }

    /// A cost in words.
    pub fn words(self, cost: u64) -> String {
        match self {
            Resource::Latency => format!("{:.3} ms", cost as f64 / 1e6),
            Resource::Macs | Resource::Params => format!("{} {}", thousands(cost as f64), self.name()),
        }
    }
}

/// One limit, and what everything costs in its resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub resource: Resource,
    /// Most that the whole network may cost (T).
    pub most: u64,
    /// Stem and head.
    pub fixed: u64,
    /// By slot and choice.
    pub costs: Vec<Vec<u64>>,
}

impl Limit {
    /// Cost of the whole network; `None` costs nothing.
    pub fn cost(&self, choices: &[Option<usize>]) -> u64 {
        let chosen = self.costs.iter().zip(choices).filter_map(|(slot, choice)| slot.get((*choice)?));
        self.fixed + chosen.sum::<u64>()
    }

    fn cheapest(&self, slot: usize) -> u64 {
        self.costs[slot].iter().copied().min().unwrap_or(0)
    }

    fn dearest(&self, slot: usize) -> u64 {
        self.costs[slot].iter().copied().max().unwrap_or(0)
    }
}

/// All limits of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub limits: Vec<Limit>,
}

/// What a group of slots may cost, one number a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// At most.
    pub most: Vec<u64>,
    /// Whether a network should also use its budget: cost at least a share of it.
    pub fill: bool,
}

impl Budget {
    /// Reads the settings' limits for a space's chain.
    ///
    /// # Errors
    /// A sentence that names the setting: no limit at all, a limit that cannot be read, one that no network keeps, a
    /// yardstick that is no member, a limit of latency without a table.
    pub fn new(
        settings: &HournasSettings,
        space: &Space,
        chain: &Chain,
        yardstick: &[Option<usize>],
        latencies: Option<&Latencies>,
    ) -> Result<Budget> {
        let mut limits = Vec::new();
        let written = [
            (Resource::Macs, &settings.macs),
            (Resource::Params, &settings.params),
            (Resource::Latency, &settings.latency),
        ];
        for (resource, text) in written {
            if text.trim().is_empty() {
                continue;
            }
            let (fixed, costs) = table(resource, chain, latencies)?;
            let mut limit = Limit { resource, most: u64::MAX, fixed, costs };
            limit.most = match amount(resource, text)? {
                Amount::Whole(most) => most,
                // Rounded up, so that 100 % of a network affords it whatever the rounding.
                Amount::Share(share) => (limit.cost(yardstick) as f64 * share).ceil() as u64,
            };
            limits.push(limit);
        }
        if limits.is_empty() {
            return Err(MethodError::failed(
                "hournas.macs, hournas.params and hournas.latency are all empty; set at least one limit",
            ));
        }
        let budget = Budget { limits };
        budget.check_feasible(space, chain)?;
        Ok(budget)
    }

    /// Whether any network keeps all limits.
    fn check_feasible(&self, space: &Space, chain: &Chain) -> Result<()> {
        let all: Vec<usize> = (0..chain.slots.len()).collect();
        for limit in &self.limits {
            let least = limit.fixed + all.iter().map(|&slot| limit.cheapest(slot)).sum::<u64>();
            if least > limit.most {
                return Err(MethodError::failed(format!(
                    "hournas.{} allows {}, but the cheapest network of space `{}` costs {}; raise the limit or give the \
                     space cheaper operations",
                    limit.resource.key(),
                    limit.resource.words(limit.most),
                    space.name,
                    limit.resource.words(least)
                )));
            }
        }
        // Each limit can be kept; together they may still contradict one another.
        let (room, flat) = (self.room(&all, &vec![None; all.len()]), vec![Vec::new(); all.len()]);
        let choices = super::proposal::cheapest(self, &all);
        if super::proposal::repair(self, &all, choices, &flat, &room).is_none() {
            let named: Vec<&str> = self.limits.iter().map(|l| l.resource.key()).collect();
            return Err(MethodError::failed(format!(
                "no network of space `{}` keeps the limits {} together; raise one of them",
                space.name,
                named.join(" and ")
            )));
        }
        Ok(())
    }

    /// What the slots of `group` may cost when the others are what `settled` says (`None`: still open, so at their
    /// cheapest).
    pub fn room(&self, group: &[usize], settled: &[Option<usize>]) -> Room {
        let others = |limit: &Limit| -> u64 {
            let of = (0..limit.costs.len()).filter(|slot| !group.contains(slot));
            let cost = of.map(|slot| match settled.get(slot).copied().flatten() {
                Some(choice) => limit.costs[slot].get(choice).copied().unwrap_or(0),
                None => limit.cheapest(slot),
            });
            limit.fixed + cost.sum::<u64>()
        };
        Room { most: self.limits.iter().map(|limit| limit.most.saturating_sub(others(limit))).collect(), fill: true }
    }

    /// As [`Budget::room`] for the group that is searched first, which may use only a share of each limit, but always its
    /// own cheapest choices; it need not use its budget.
    pub fn first_room(&self, group: &[usize], share: f64) -> Room {
        let Room { mut most, .. } = self.room(group, &[]);
        for (most, limit) in most.iter_mut().zip(&self.limits) {
            let least: u64 = group.iter().map(|&slot| limit.cheapest(slot)).sum();
            *most = (*most).min(((limit.most as f64 * share).floor() as u64).max(least));
        }
        Room { most, fill: false }
    }

    /// Whether some member of the group's space costs more than the room, so that a limit binds at all.
    pub fn binds(&self, group: &[usize], room: &Room) -> Vec<bool> {
        let dearest = |limit: &Limit| group.iter().map(|&slot| limit.dearest(slot)).sum::<u64>();
        self.limits.iter().zip(&room.most).map(|(limit, most)| dearest(limit) > *most).collect()
    }

    /// Costs of a network, one a limit.
    pub fn cost(&self, choices: &[Option<usize>]) -> Vec<u64> {
        self.limits.iter().map(|limit| limit.cost(choices)).collect()
    }

    /// Whether a network keeps every limit.
    pub fn affords(&self, choices: &[Option<usize>]) -> bool {
        self.limits.iter().all(|limit| limit.cost(choices) <= limit.most)
    }

    /// Largest difference between a cost and its limit, as a share of the limit; of the tightest limit.
    pub fn distance(&self, choices: &[Option<usize>]) -> f64 {
        let relative = self.limits.iter().map(|l| (l.cost(choices) as f64 - l.most as f64) / l.most.max(1) as f64);
        relative.fold(f64::NEG_INFINITY, f64::max).abs()
    }
}

/// Cost of stem and head, and of every choice.
fn table(resource: Resource, chain: &Chain, latencies: Option<&Latencies>) -> Result<(u64, Vec<Vec<u64>>)> {
    let by = |of: fn(kiln_arch::Cost) -> u64| {
        let slots = chain.slots.iter().map(|slot| slot.choices.iter().map(|choice| of(choice.cost)).collect());
        (of(chain.fixed_cost()), slots.collect())
    };
    match (resource, latencies) {
        (Resource::Macs, _) => Ok(by(|cost| cost.macs)),
        (Resource::Params, _) => Ok(by(|cost| cost.params)),
        (Resource::Latency, Some(table)) => Ok((table.fixed, table.slots.clone())),
        (Resource::Latency, None) => Err(MethodError::failed(
            "hournas.latency sets a limit, but hournas.latency-table is empty; measure one with `kiln latency` and name it",
        )),
    }
}

enum Amount {
    Whole(u64),
    /// Of the yardstick's cost.
    Share(f64),
}

/// Reads `40M`, `5.3e6`, `90%`, `1.5ms`.
fn amount(resource: Resource, text: &str) -> Result<Amount> {
    let wrong = || {
        let example = if resource == Resource::Latency { "1.5ms" } else { "40M" };
        MethodError::failed(format!(
            "hournas.{} = \"{text}\" is no limit; expected such as `{example}`, or a share such as `90%`",
            resource.key()
        ))
    };
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || ".e".contains(c))).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(wrong)?;
    let scale = match (unit.trim(), resource) {
        ("%", _) => return Ok(Amount::Share(number / 100.0)),
        ("s", Resource::Latency) => 1e9,
        ("ms", Resource::Latency) => 1e6,
        ("us", Resource::Latency) => 1e3,
        (_, Resource::Latency) => return Err(wrong()),
        ("", _) => 1.0,
        ("k" | "K", _) => 1e3,
        ("M", _) => 1e6,
        ("G", _) => 1e9,
        _ => return Err(wrong()),
    };
    Ok(Amount::Whole((number * scale).floor() as u64))
}

/// Choices of an architecture, by slot; a skip is a choice like any other.
pub fn choices_of(chain: &Chain, arch: &Arch) -> Vec<Option<usize>> {
    chain.slots.iter().zip(&arch.genes).map(|(slot, gene)| slot.index(gene)).collect()
}

/// The architecture of these choices; an open slot is skipped.
pub fn arch_of(space: &Space, chain: &Chain, choices: &[Option<usize>]) -> Arch {
    let gene = |(slot, choice): (&kiln_arch::Slot, &Option<usize>)| {
        let chosen = choice.and_then(|choice| slot.choices.get(choice));
        chosen.map_or("skip".to_owned(), |choice| choice.gene.clone())
    };
    Arch { space: space.name.clone(), genes: chain.slots.iter().zip(choices).map(gene).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_arch::Shape;

    fn xs() -> (Space, Chain) {
        let space = Space::named("mobile-xs").unwrap();
        let chain = space.chain(Shape::Image(1, 8, 8), 10).unwrap().unwrap();
        (space, chain)
    }

    fn budget(settings: &HournasSettings) -> Result<Budget> {
        let (space, chain) = xs();
        let yardstick = choices_of(&chain, &space.reference());
        let table = Latencies {
            fixed: 1000,
            slots: chain.slots.iter().map(|s| (0..s.choices.len() as u64).map(|o| 500 * (o + 1)).collect()).collect(),
        };
        Budget::new(settings, &space, &chain, &yardstick, Some(&table))
    }

    fn macs(text: &str) -> HournasSettings {
        HournasSettings { macs: text.into(), ..HournasSettings::default() }
    }

    #[test]
    fn limits_are_read_as_numbers_and_shares() {
        let (space, chain) = xs();
        let reference = chain.plan(&space.reference(), Shape::Image(1, 8, 8), 10).unwrap().cost();
        let most = |text: &str| budget(&macs(text)).unwrap().limits[0].most;
        assert_eq!(most("100%"), reference.macs);
        assert_eq!(most(" 50 %"), (reference.macs as f64 / 2.0).ceil() as u64);
        assert_eq!(most("1.5M"), 1_500_000);
        assert_eq!(most("2e6"), 2_000_000);
        assert_eq!(most("900k"), 900_000);
        let both = HournasSettings { params: "90%".into(), latency: "12us".into(), ..macs("90%") };
        let both = budget(&both).unwrap();
        assert_eq!(both.limits.len(), 3);
        assert_eq!(both.limits[2].most, 12_000);
        assert_eq!(both.limits[2].cost(&[Some(1); 9]), 1000 + 9 * 1000);
        assert_eq!(both.cost(&choices_of(&chain, &space.reference()))[..2], [reference.macs, reference.params]);
    }

    #[test]
    fn what_cannot_be_afforded_is_said_with_the_cheapest_cost() {
        let error = budget(&macs("1k")).unwrap_err().to_string();
        let (space, chain) = xs();
        let cheapest = space.extreme(Shape::Image(1, 8, 8), 10, false).unwrap();
        let least = thousands(chain.plan(&cheapest, Shape::Image(1, 8, 8), 10).unwrap().cost().macs as f64);
        assert!(error.contains("hournas.macs allows 1,000 MACs") && error.contains(&least), "{error}");
        for text in ["fast", "-5", "10 apples", "0", "5ms"] {
            let error = budget(&macs(text)).unwrap_err().to_string();
            assert!(error.contains("hournas.macs") && error.contains("40M"), "{error}");
        }
        let none = HournasSettings { macs: String::new(), ..HournasSettings::default() };
        assert!(budget(&none).unwrap_err().to_string().contains("at least one limit"));
    }

    #[test]
    fn the_first_group_leaves_room_for_the_second() {
        let budget = budget(&macs("100%")).unwrap();
        let limit = &budget.limits[0];
        let (vital, rest): (Vec<usize>, Vec<usize>) = (vec![3, 6], vec![0, 1, 2, 4, 5, 7, 8]);
        let room = budget.first_room(&vital, 0.7);
        assert!(!room.fill && room.most[0] <= (limit.most as f64 * 0.7) as u64);
        let greedy = budget.first_room(&rest, 1.0);
        let needed: u64 = vital.iter().map(|&slot| limit.cheapest(slot)).sum();
        assert_eq!(greedy.most[0], limit.most - limit.fixed - needed);
        // However small its share, the group can have its cheapest choices.
        let poor = budget.first_room(&vital, 0.0001);
        assert_eq!(poor.most[0], needed);
    }
}
