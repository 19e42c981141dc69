//! What a run found, as a verdict, figures and tables.

use std::collections::BTreeMap;

use kiln_arch::quantised::QuantCost;
use kiln_protocol::figures::bytes;
use kiln_protocol::run::{Figure, Outcome, Table};

use super::parts::Kind;
use super::study::{Done, WidenSqueeze};
use super::work::Squeezed;
use crate::error::Result;
use crate::text::{maybe, thousands};

/// A network of the comparison.
pub(super) struct Network {
    pub name: String,
    pub title: String,
    pub kind: Kind,
    pub widths: Vec<u32>,
    pub cost: QuantCost,
    pub done: Option<Done>,
}

impl Network {
    /// On validation images.
    pub fn accuracy(&self) -> Option<f64> {
        self.done.as_ref()?.product.valid.map(|e| e.accuracy)
    }

    fn test(&self) -> Option<f64> {
        self.done.as_ref()?.product.test.map(|e| e.accuracy)
    }

    /// By which it is judged: test images where there are some.
    fn judged(&self) -> Option<f64> {
        self.test().or_else(|| self.accuracy())
    }
}

/// All networks of the comparison with what they cost.
pub(super) struct Results {
    pub networks: Vec<Network>,
    pub full: QuantCost,
    pub plain: QuantCost,
}

impl Results {
    pub fn of(study: &WidenSqueeze) -> Result<Results> {
        let mut networks = Vec::new();
        for (part, known) in study.parts.iter().enumerate().filter(|(_, p)| p.is_result(&study.parts)) {
            let blueprint = study.blueprint(part)?;
            networks.push(Network {
                name: known.name.clone(),
                title: known.title.clone(),
                kind: known.kind,
                widths: blueprint.widths.clone(),
                cost: blueprint.cost(),
                done: study.state.done[part].clone(),
            });
        }
        // As people compare them: full precision, then what grows, then what was squeezed and its controls.
        let rank = |n: &Network| match n.kind {
            Kind::Full => (0, 0.0),
            Kind::Plain => (1, 0.0),
            Kind::Widened(factor) => (2, factor),
            Kind::Tune(_) | Kind::Squeeze(_) => (3, 0.0),
            Kind::Random => (4, 0.0),
            Kind::Scratch => (5, 0.0),
        };
        networks.sort_by(|a, b| rank(a).0.cmp(&rank(b).0).then(rank(a).1.total_cmp(&rank(b).1)));
        let full = study.widened(1.0, false)?.cost();
        let plain = study.widened(1.0, true)?.cost();
        Ok(Results { networks, full, plain })
    }

    fn find(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|n| n.name == name)
    }
}

/// The run's outcome.
pub(super) fn outcome(study: &WidenSqueeze) -> Outcome {
    let results = match Results::of(study) {
        Ok(results) => results,
        // The same networks were built when the run began.
        Err(error) => return Outcome { verdict: error.to_string(), ..Outcome::default() },
    };
    let squeeze = last_squeeze(study);
    let mut tables = vec![accuracies(&results), costs(&results)];
    tables.extend(squeeze.map(|(title, s)| squeezed(study, title, s)));
    tables.extend(study.state.packed.map(packed));
    tables.extend(study.state.probes.as_ref().map(|p| probes(p)));
    tables.extend(failures(study));
    Outcome {
        flaws: Vec::new(),
        verdict: verdict(study, &results, squeeze.map(|(_, s)| s)),
        figures: figures(study, &results, squeeze.map(|(_, s)| s)),
        tables,
        headline: vec![
            Figure::new("squeezed_accuracy", true),
            Figure::new("gain_over_plain", true),
            Figure::new("gain_over_random", true),
            Figure::new("gain_over_scratch", true),
            Figure::new("loss_to_full", false),
            Figure::new("bits_share", false),
            Figure::new("ops_share", false),
            Figure { name: "seconds".into(), unit: "s".into(), higher_is_better: Some(false) },
        ],
    }
}

fn last_squeeze(study: &WidenSqueeze) -> Option<(&str, &Squeezed)> {
    let all = study.parts.iter().zip(&study.state.done);
    all.rev().find_map(|(part, done)| Some((part.title.as_str(), done.as_ref()?.product.squeezed.as_ref()?)))
}

fn percent(v: Option<f64>) -> String {
    v.map_or_else(|| "-".into(), |v| format!("{:.2} %", 100.0 * v))
}

fn share(a: f64, b: f64) -> String {
    format!("{:.3}", a / b.max(1.0))
}

fn words(widths: &[u32]) -> String {
    widths.iter().map(u32::to_string).collect::<Vec<_>>().join("-")
}

fn accuracies(results: &Results) -> Table {
    let full = results.full;
    let row = |n: &Network| {
        let failure = n.done.as_ref().and_then(|d| d.failure.as_ref());
        let widths = match failure {
            Some(why) if why.starts_with("diverged") => "diverged".to_owned(),
            Some(_) => "failed".to_owned(),
            None => words(&n.widths),
        };
        vec![
            n.title.clone(),
            widths,
            percent(n.test()),
            percent(n.accuracy()),
            share(n.cost.bits as f64, full.bits as f64),
            share(n.cost.ops(), full.ops()),
        ]
    };
    Table {
        title: "Accuracy, and cost against full precision".into(),
        columns: ["network", "widths", "test", "validation", "bits", "OPs"].map(String::from).to_vec(),
        rows: results.networks.iter().map(row).collect(),
    }
}

fn costs(results: &Results) -> Table {
    let row = |n: &Network| {
        let QuantCost { params, bits, bytes: size, bops, flops, .. } = n.cost;
        vec![
            n.title.clone(),
            thousands(params as f64),
            thousands(bits as f64),
            bytes(size),
            thousands(bops as f64),
            thousands(flops as f64),
            thousands(n.cost.ops()),
        ]
    };
    Table {
        title: "Cost: OPs are FLOPs and a 64th of the BOPs".into(),
        columns: ["network", "parameters", "weight bits", "storage", "BOPs", "FLOPs", "OPs"].map(String::from).to_vec(),
        rows: results.networks.iter().map(row).collect(),
    }
}

fn squeezed(study: &WidenSqueeze, title: &str, squeezed: &Squeezed) -> Table {
    let names = study.widened(1.0, true).map(|b| b.group_names()).unwrap_or_default();
    let mut rows: Vec<Vec<String>> = names
        .into_iter()
        .zip(&squeezed.groups)
        .map(|(name, g)| {
            vec![name, g.before.to_string(), g.after.to_string(), format!("{:.3}", g.mean), percent(Some(g.faint))]
        })
        .collect();
    let before = |name: &str, accuracy: Option<f64>| {
        vec![format!("{name}, before fine-tuning"), String::new(), String::new(), String::new(), percent(accuracy)]
    };
    rows.push(before("most important channels", Some(squeezed.most)));
    if study.settings.controls {
        rows.push(before("random channels", squeezed.random));
        rows.push(before("least important channels", squeezed.least));
    }
    Table {
        title: format!("Channels kept by {title} (faint: importance under 0.05; below: validation accuracy)"),
        columns: ["layer", "before", "kept", "mean importance", "faint"].map(String::from).to_vec(),
        rows,
    }
}

fn packed(check: super::packed::Check) -> Table {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    Table {
        title: format!("Packed network, {}", super::packed::FILE),
        columns: vec!["figure".into(), "value".into()],
        rows: vec![
            row("bytes claimed", thousands(check.claimed as f64)),
            row("bytes behind the header", thousands(check.payload as f64)),
            row("bytes of the file", thousands(check.file as f64)),
            row("logits equal bit for bit", format!("{} of {} images", check.same, check.images)),
            row("classes as in 32-bit sums", format!("{} of {} images", check.agree, check.images)),
        ],
    }
}

fn probes(probes: &[super::study::Probed]) -> Table {
    let row = |p: &super::study::Probed| {
        vec![p.name.clone(), p.width.to_string(), percent(Some(p.accuracy)), maybe(p.distances, 3)]
    };
    Table {
        title: "Frozen features: a linear classifier (validation), and correlation of distances with the teacher's"
            .into(),
        columns: ["network", "width", "accuracy", "distances"].map(String::from).to_vec(),
        rows: probes.iter().map(row).collect(),
    }
}

fn failures(study: &WidenSqueeze) -> Option<Table> {
    let all = study.parts.iter().zip(&study.state.done);
    let rows: Vec<Vec<String>> =
        all.filter_map(|(part, done)| Some(vec![part.name.clone(), done.as_ref()?.failure.clone()?])).collect();
    let columns = vec!["training".into(), "why".into()];
    (!rows.is_empty()).then_some(Table { title: "Trainings without a result".into(), columns, rows })
}

fn figures(study: &WidenSqueeze, results: &Results, squeeze: Option<&Squeezed>) -> BTreeMap<String, Option<f64>> {
    let mut out = BTreeMap::new();
    for n in &results.networks {
        let name = n.name.replace(['-', '.'], "_");
        out.insert(format!("test_accuracy_{name}"), n.test());
        out.insert(format!("valid_accuracy_{name}"), n.accuracy());
        out.insert(format!("params_{name}"), Some(n.cost.params as f64));
        out.insert(format!("bits_{name}"), Some(n.cost.bits as f64));
        out.insert(format!("bytes_{name}"), Some(n.cost.bytes as f64));
        out.insert(format!("bops_{name}"), Some(n.cost.bops as f64));
        out.insert(format!("flops_{name}"), Some(n.cost.flops as f64));
        out.insert(format!("ops_{name}"), Some(n.cost.ops()));
    }
    let judged = |name: &str| results.find(name).and_then(Network::judged);
    let own = judged("squeezed");
    let gain = |name: &str| own.zip(judged(name)).map(|(own, other)| own - other);
    out.insert("squeezed_accuracy".into(), own);
    for name in ["plain", "random", "scratch"] {
        out.insert(format!("gain_over_{name}"), gain(name));
    }
    out.insert("loss_to_full".into(), gain("full").map(|v| -v));
    let cost = results.find("squeezed").map(|n| n.cost);
    out.insert("bits_share".into(), cost.map(|c| c.bits as f64 / results.full.bits.max(1) as f64));
    out.insert("ops_share".into(), cost.map(|c| c.ops() / results.full.ops().max(1.0)));
    if let Some(s) = squeeze {
        out.insert("before_tuning_most".into(), Some(s.most));
        out.insert("before_tuning_random".into(), s.random);
        out.insert("before_tuning_least".into(), s.least);
        let groups = s.groups.len().max(1) as f64;
        out.insert("faint_share".into(), Some(s.groups.iter().map(|g| g.faint).sum::<f64>() / groups));
        for (i, group) in s.groups.iter().enumerate() {
            out.insert(format!("width_{}", i + 1), Some(f64::from(group.after)));
        }
    }
    for probe in study.state.probes.iter().flatten() {
        let name = probe.name.replace(['-', '.'], "_");
        out.insert(format!("probe_accuracy_{name}"), Some(probe.accuracy));
        out.insert(format!("probe_distances_{name}"), probe.distances);
    }
    out.insert("seconds".into(), Some(study.state.seconds));
    out
}

fn verdict(study: &WidenSqueeze, results: &Results, squeeze: Option<&Squeezed>) -> String {
    let own = &study.settings;
    let judged = |name: &str| results.find(name).and_then(Network::judged);
    let Some((network, accuracy)) = results.find("squeezed").and_then(|n| Some((n, n.judged()?))) else {
        let why = study.parts.iter().zip(&study.state.done).find_map(|(part, done)| {
            let why = done.as_ref()?.failure.as_ref()?;
            Some(format!("{}: {why}", part.name))
        });
        return format!("There is no squeezed network. {}", why.unwrap_or_else(|| "It was not trained".into()));
    };
    let on = if network.test().is_some() { "test" } else { "validation" };
    let mut text = format!(
        "Widened by {} and squeezed to the cost of {}, widths {}: {} {on} accuracy with {:.1} % of the bits and {:.1} % of the OPs of full \
         precision",
        own.widest(),
        own.squeeze_to,
        words(&network.widths),
        percent(Some(accuracy)),
        100.0 * network.cost.bits as f64 / results.full.bits.max(1) as f64,
        100.0 * network.cost.ops() / results.full.ops().max(1.0)
    );
    if let Some(full) = judged("full") {
        text += &format!(" ({})", percent(Some(full)));
    }
    let against = |name: &str, words: &str| {
        let other = judged(name)?;
        let word = if accuracy > other {
            "more than"
        } else if accuracy < other {
            "less than"
        } else {
            "as much as"
        };
        Some(format!("{word} {words} ({})", percent(Some(other))))
    };
    let all: Vec<String> = [
        ("plain", "plain quantisation"),
        ("random", "random channels of the same widths"),
        ("scratch", "the same cost from scratch"),
    ]
    .into_iter()
    .filter_map(|(name, words)| against(name, words))
    .collect();
    if !all.is_empty() {
        text += &format!("; {}", all.join(", "));
    }
    text += ".";
    if let Some(Squeezed { most, random: Some(random), least: Some(least), .. }) = squeeze {
        let held = most > random && random > least;
        text += &format!(
            " Before fine-tuning, importances {} what matters: {} of the most important channels, {} of random ones, {} of the least important.",
            if held { "tell" } else { "do not tell" },
            percent(Some(*most)),
            percent(Some(*random)),
            percent(Some(*least))
        );
    }
    text
}
