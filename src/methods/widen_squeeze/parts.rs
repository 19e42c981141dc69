//! The trainings of a run.
//!
//! | name | network | trained | waits for |
//! | --- | --- | --- | --- |
//! | `full` | full precision | the optimiser of the preset | |
//! | `plain` | quantised, width k = 1 | cross-entropy alone | |
//! | `wide-K` | quantised, widened by K | led by the teacher | `full` |
//! | `scratch` | widened to the budget's factor | led by the teacher, epochs of the squeezed network in all | `full` |
//! | `squeeze-R` | the widest (or the last round's) with importances | led by the teacher, with the penalty | `wide-K`, `squeezed` |
//! | `tuned-R`, `squeezed` | what a squeeze left | led by the teacher | `squeeze-R` |
//! | `random` | a random choice of channels of the same widths | as `squeezed` | the last `squeeze-R` |
//!
//! A teacher that leads nothing (no projection, no divergence) is not waited for.

use kiln_nn::quantised::Guide;
use kiln_protocol::spec::WidenSqueezeSettings;

/// What a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Full,
    Plain,
    Widened(f64),
    Scratch,
    /// Number of the round, from 0.
    Squeeze(u32),
    Tune(u32),
    Random,
}

/// A training of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Name in series and figures.
    pub name: String,
    /// Name in tables.
    pub title: String,
    pub kind: Kind,
    pub epochs: u32,
    /// Trainings that must be done before.
    pub after: Vec<usize>,
}

impl Part {
    /// Whether its network is one of the results, not a state on the way.
    pub fn is_result(&self, parts: &[Part]) -> bool {
        match self.kind {
            Kind::Squeeze(_) => false,
            Kind::Tune(_) => parts.iter().rfind(|p| matches!(p.kind, Kind::Tune(_))) == Some(self),
            _ => true,
        }
    }
}

/// The teacher's words of a preset.
pub fn guide(own: &WidenSqueezeSettings) -> Guide {
    Guide { projection: own.projection, beta: own.beta, mu: own.mu, temperature: own.temperature }
}

/// All trainings, those first that others wait for.
pub fn parts(own: &WidenSqueezeSettings) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut add = |name: String, title: String, kind: Kind, epochs: u32, after: Vec<usize>| {
        parts.push(Part { name, title, kind, epochs, after });
        parts.len() - 1
    };
    let full = add("full".into(), "full precision".into(), Kind::Full, own.teacher_epochs, vec![]);
    let led = if guide(own).is_silent() { vec![] } else { vec![full] };
    let mut last = full;
    // The widest first: everything that is squeezed waits for it.
    for &factor in own.factors.iter().rev() {
        let id = add(
            format!("wide-{factor}"),
            format!("widened by {factor}"),
            Kind::Widened(factor),
            own.widen_epochs,
            led.clone(),
        );
        last = if last == full { id } else { last };
    }
    let mut squeeze = last;
    for round in 0..own.rounds {
        squeeze = add(
            format!("squeeze-{}", round + 1),
            format!("squeeze {}", round + 1),
            Kind::Squeeze(round),
            own.squeeze_epochs,
            vec![last],
        );
        let name = if round + 1 == own.rounds { "squeezed".into() } else { format!("tuned-{}", round + 1) };
        let title = format!("squeezed from {} to {}", own.widest(), own.squeeze_to);
        last = add(name, title, Kind::Tune(round), own.tune_epochs, vec![squeeze]);
    }
    if own.controls {
        add("random".into(), "random channels".into(), Kind::Random, own.tune_epochs, vec![squeeze]);
    }
    if own.scratch {
        let title = format!("{} from scratch", own.squeeze_to);
        add("scratch".into(), title, Kind::Scratch, own.total_epochs(), led);
    }
    add("plain".into(), "plain quantised".into(), Kind::Plain, own.widen_epochs, vec![]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_training_comes_after_what_it_waits_for() {
        let own = WidenSqueezeSettings { factors: vec![2.0, 3.0, 4.0], rounds: 2, ..WidenSqueezeSettings::default() };
        let all = parts(&own);
        let names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
        let order = [
            "full",
            "wide-4",
            "wide-3",
            "wide-2",
            "squeeze-1",
            "tuned-1",
            "squeeze-2",
            "squeezed",
            "random",
            "scratch",
            "plain",
        ];
        assert_eq!(names, order);
        assert!(all.iter().enumerate().all(|(i, p)| p.after.iter().all(|&a| a < i)));
        let after = |name: &str| -> Vec<&str> {
            let part = all.iter().find(|p| p.name == name).unwrap();
            part.after.iter().map(|&a| names[a]).collect()
        };
        assert_eq!((after("squeeze-1"), after("squeeze-2")), (vec!["wide-4"], vec!["tuned-1"]));
        assert_eq!((after("random"), after("plain")), (vec!["squeeze-2"], vec![]));
        let results: Vec<&str> = all.iter().filter(|p| p.is_result(&all)).map(|p| p.name.as_str()).collect();
        assert_eq!(results, ["full", "wide-4", "wide-3", "wide-2", "squeezed", "random", "scratch", "plain"]);
        assert_eq!(all.iter().find(|p| p.name == "scratch").unwrap().epochs, 30 + 2 * 25);
        let alone = parts(&WidenSqueezeSettings { beta: 0.0, ..own });
        assert!(alone.iter().find(|p| p.name == "wide-4").unwrap().after.is_empty());
    }
}
