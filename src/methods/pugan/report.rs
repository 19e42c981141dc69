//! What the run found, in words and numbers.

use kiln_arch::GanPlan;
use kiln_protocol::run::{DIVERGED, Figure, Outcome, Table};
use kiln_protocol::spec::PuganSettings;

use super::record::{Finals, Record};
use super::ruler::Ruler;
use crate::text::{maybe, thousands};

/// What an outcome is made from.
pub struct Findings<'a> {
    pub settings: &'a PuganSettings,
    pub plan: &'a GanPlan,
    pub record: &'a Record,
    /// `None` where the run ended before there was one.
    pub ruler: Option<&'a Ruler>,
    /// Finished iterations, and the one at which a loss was found to be no number.
    pub step: u64,
    pub diverged: Option<u64>,
}

impl Findings<'_> {
    /// The loss with its prior, such as `PUSGAN (pi 0.3 to 0.6)`.
    fn name(&self) -> String {
        let own = self.settings;
        if !own.pu {
            return own.label();
        }
        let (first, last) = (own.prior_at(0), own.prior_at(u64::from(own.iterations).saturating_sub(1)));
        // Steps of tenths add up to numbers with a tail.
        let digits = |x: f64| ((x * 1000.0).round() / 1000.0).to_string();
        let prior = if digits(first) == digits(last) {
            digits(first)
        } else {
            format!("{} to {}", digits(first), digits(last))
        };
        format!("{} (pi {prior})", own.label())
    }

    /// The run as an outcome. A diverged one has no figures of its images: they are not those that were asked for.
    pub fn outcome(&self) -> Outcome {
        let (own, record) = (self.settings, self.record);
        let burn_in = own.burn_in * f64::from(own.iterations);
        let sound = self.diverged.is_none();
        let distances = record.distances(burn_in).filter(|_| sound);
        let last = record.last().filter(|_| sound);
        let finals = record.finals.filter(|_| sound).unwrap_or_default();
        let floor = self.ruler.and_then(|r| r.floor);
        let clipped = record.clip_fraction();
        let distance = last.and_then(|m| m.distance);
        let Finals { kernel, precision, recall } = finals;
        let figures = [
            ("frechet", distance),
            ("frechet_best", distances.map(|s| s.min)),
            ("frechet_worst", distances.map(|s| s.max)),
            ("frechet_mean", distances.map(|s| s.mean)),
            ("frechet_floor", floor),
            ("kid", kernel),
            ("precision", precision),
            ("recall", recall),
            ("class_evenness", last.and_then(|m| m.evenness)),
            ("clip_fraction", clipped),
            ("diverged", Some(f64::from(u8::from(!sound)))),
            ("iterations", Some(self.step as f64)),
            ("seconds", Some(record.seconds)),
        ];
        Outcome {
            verdict: self.verdict(distance, floor, clipped),
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            tables: vec![self.table(&figures), self.course()],
            headline: vec![
                Figure::new("frechet", false),
                Figure::new("frechet_mean", false),
                Figure::new("frechet_best", false),
                Figure::new("frechet_worst", false),
                Figure::new("kid", false),
                Figure::new("precision", true),
                Figure::new("recall", true),
                Figure { name: "clip_fraction".into(), ..Figure::default() },
            ],
            flaws: match (sound, record.dead) {
                (false, _) => vec![DIVERGED.into()],
                (true, true) => vec!["dead discriminator".into()],
                (true, false) => Vec::new(),
            },
        }
    }

    fn verdict(&self, distance: Option<f64>, floor: Option<f64>, clipped: Option<f64>) -> String {
        let (own, record) = (self.settings, self.record);
        let name = self.name();
        let mut sentences = Vec::new();
        match (self.diverged, distance) {
            (Some(at), _) => sentences.push(format!(
                "{name} diverged: a loss or gradient was no longer a number at iteration {}. It says nothing about its images; a \
                 lower optim.lr is the first thing to try.",
                thousands(at as f64)
            )),
            (None, Some(distance)) => sentences.push(format!(
                "{name} ends at a Fréchet distance of {} after {} iterations; two halves of the real images are {} apart.",
                maybe(Some(distance), 2),
                thousands(self.step as f64),
                maybe(floor, 2)
            )),
            (None, None) => sentences.push(format!(
                "{name} has no Fréchet distance after {} iterations: the features of its images are no numbers.",
                thousands(self.step as f64)
            )),
        }
        if record.alarms > 0 {
            sentences.push(format!(
                "The discriminator was dead {}: more than 95 % of 500 steps learned from real images alone.",
                if record.dead { "at the end" } else { "for a while" }
            ));
        } else if let Some(clipped) = clipped {
            sentences.push(format!("{:.0} % of the discriminator's steps were clipped.", 100.0 * clipped));
        }
        if self.diverged.is_none()
            && let Some((summary, last)) = record.distances(own.burn_in * f64::from(own.iterations)).zip(distance)
            && last > 1.5 * summary.min
        {
            sentences.push(format!(
                "It had been better: its best distance behind the burn-in is {}.",
                maybe(Some(summary.min), 2)
            ));
        }
        sentences.push("Distances are in features of Kiln's own classifier and are no FID.".into());
        sentences.join(" ")
    }

    fn table(&self, figures: &[(&str, Option<f64>)]) -> Table {
        let own = self.settings;
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let figure = |name: &str| figures.iter().find(|(n, _)| *n == name).and_then(|(_, value)| *value);
        let share = |name: &str| figure(name).map_or_else(|| "-".to_owned(), |x| format!("{:.1} %", 100.0 * x));
        let baseline = match (own.loss, own.pu, own.signed_labels || own.relativistic) {
            (kiln_protocol::spec::GanLoss::LeastSquares, false, false) => ", generated images labelled 0",
            (kiln_protocol::spec::GanLoss::LeastSquares, ..) => ", generated images labelled -1",
            _ => "",
        };
        let mut rows = vec![
            row("loss", format!("{}{baseline}", self.name())),
            row(
                "networks",
                format!(
                    "{}, {} parameters against {}",
                    own.net,
                    thousands(self.plan.generator_cost().params as f64),
                    thousands(self.plan.discriminator_cost().params as f64)
                ),
            ),
            row("iterations", thousands(self.step as f64)),
            row("Fréchet distance", maybe(figure("frechet"), 3)),
            row("best after burn-in", maybe(figure("frechet_best"), 3)),
            row("worst after burn-in", maybe(figure("frechet_worst"), 3)),
            row("mean after burn-in", maybe(figure("frechet_mean"), 3)),
            row("floor (halves of the real images)", maybe(figure("frechet_floor"), 3)),
            row("kernel distance (KID)", maybe(figure("kid"), 4)),
            row("precision", share("precision")),
            row("recall", share("recall")),
            row("class entropy, of equal classes", share("class_evenness")),
            row("clipped steps", share("clip_fraction")),
            row("alarms of a dead discriminator", self.record.alarms.to_string()),
        ];
        if let Some(ruler) = self.ruler {
            let of_real = ruler.evenness().map_or_else(|| "-".to_owned(), |e| format!("{:.1} %", 100.0 * e));
            rows.push(row("class entropy of the real images", of_real));
            rows.push(row("features", format!("{} of a classifier", ruler.dim)));
            rows.push(row("accuracy of the classifier", maybe(ruler.made.accuracy, 4)));
        }
        rows.push(row("seconds", format!("{:.1}", self.record.seconds)));
        Table { title: self.name(), columns: vec!["figure".into(), "value".into()], rows }
    }

    /// Distances over the training.
    fn course(&self) -> Table {
        let rows = self
            .record
            .measured
            .iter()
            .map(|m| vec![thousands(m.step as f64), maybe(m.distance, 3), maybe(m.evenness, 3)]);
        Table {
            title: "Over the training".into(),
            columns: vec!["iterations".into(), "Fréchet distance".into(), "class entropy".into()],
            rows: rows.collect(),
        }
    }
}
