//! What came of it.

use kiln_arch::{Shape, Site};
use kiln_nn::Eval;
use kiln_protocol::run::{Figure, Outcome, Table};
use kiln_protocol::spec::{RegulariserKind, RegulariserSettings, Spec};

use super::watch::Snapshot;
use crate::text::maybe;

/// The training's own outcome with what the regulariser did.
pub fn outcome(spec: &Spec, sites: &[Site], plain: Outcome, train: Option<Eval>, last: Option<&Snapshot>) -> Outcome {
    let mut outcome = plain;
    let own = |name: &str| outcome.figures.get(name).copied().flatten();
    let (test, valid) = (own("test_accuracy"), own("valid_accuracy"));
    let held_out = test.or(valid);
    let train = train.map(|eval| eval.accuracy);
    let gap = train.zip(held_out).map(|(train, held_out)| train - held_out);
    let complexity = |i: usize| last.and_then(|s| s.mean(|site| site.complexity.map(|c| c[i])));
    let (clean, distorted) = (complexity(0), complexity(1));
    let figures = [
        ("train_accuracy", train),
        ("train_accuracy_distorted", last.and_then(|s| s.distorted).map(|eval| eval.accuracy)),
        ("gap", gap),
        ("kept", last.and_then(|s| s.mean(|site| Some(site.kept)))),
        ("noise", last.and_then(|s| s.mean(|site| site.noise))),
        ("complexity", clean),
        ("complexity_distorted", distorted),
        ("operators", Some(sites.len() as f64)),
    ];
    outcome.figures.extend(figures.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if let (Some(train), Some(gap)) = (train, gap) {
        let what = if test.is_some() { "test" } else { "validation" };
        outcome.verdict += &format!(
            " With {} its accuracy on the training images is {:.2} %, {:.2} points {} that on {what} images.",
            words(&spec.regulariser, sites),
            100.0 * train,
            100.0 * gap.abs(),
            if gap < 0.0 { "below" } else { "above" },
        );
        if spec.data.label_noise > 0.0 {
            let share = 100.0 * spec.data.label_noise;
            outcome.verdict += &format!(" Of the training labels {share:.0} % are wrong on purpose.");
        }
    }
    if let (Some(clean), Some(distorted)) = (clean, distorted) {
        let word = if distorted < clean { "lower" } else { "no lower" };
        outcome.verdict += &format!(
            " Measured on one batch, the complexity behind the operators is {word} with the distortion than without ({} and {}).",
            maybe(Some(distorted), 4),
            maybe(Some(clean), 4)
        );
    }
    if let Some(table) = outcome.tables.first_mut() {
        let row = |name: &str, value: Option<f64>| vec![name.to_owned(), maybe(value, 4)];
        for own in table.rows.iter_mut().filter(|row| row.first().is_some_and(|name| name == "regulariser")) {
            *own = vec!["regulariser".into(), words(&spec.regulariser, sites)];
        }
        table.rows.push(row("accuracy on the training images", train));
        table.rows.push(row("gap to images not trained on", gap));
    }
    if let Some(last) = last.filter(|_| !sites.is_empty()) {
        outcome.tables.push(operators(sites, last));
    }
    outcome.headline = vec![
        Figure::new("test_accuracy", true),
        Figure::new("gap", false),
        Figure { name: "train_accuracy".into(), ..Figure::default() },
        Figure::new("valid_accuracy", true),
        Figure { name: "seconds".into(), unit: "s".into(), higher_is_better: Some(false) },
    ];
    outcome
}

/// `disout (p 0.09, blocks of 6, alpha 5) behind 18 layers`.
fn words(settings: &RegulariserSettings, sites: &[Site]) -> String {
    if !settings.is_on() {
        return "no regulariser".into();
    }
    let mut said = format!("{} (p {}", settings.kind, settings.p);
    // Vectors have single entries.
    if settings.kind.has_blocks() && sites.iter().any(|site| matches!(site.shape, Shape::Image(..))) {
        said += &format!(", blocks of {}", settings.block);
    }
    if matches!(settings.kind, RegulariserKind::Disout | RegulariserKind::Isotropic) {
        said += &format!(", alpha {}", settings.alpha);
    }
    let layers = if sites.len() == 1 { "layer" } else { "layers" };
    said + &format!(") behind {} {layers}", sites.len())
}

/// The operators as the last epoch left them.
fn operators(sites: &[Site], last: &Snapshot) -> Table {
    let rows = sites.iter().zip(&last.sites).map(|(site, figures)| {
        vec![
            site.name.clone(),
            site.shape.to_string(),
            site.next.as_ref().map_or("-".into(), |next| next.name.clone()),
            maybe(Some(figures.p), 3),
            maybe(Some(1.0 - figures.kept), 3),
            maybe(figures.noise, 3),
            maybe(figures.coefficient.map(|c| c[0]), 4),
            maybe(figures.complexity.map(|c| c[0]), 4),
            maybe(figures.complexity.map(|c| c[1]), 4),
        ]
    });
    Table {
        title: "Operators".into(),
        columns: [
            "behind",
            "values",
            "read by",
            "p",
            "distorted",
            "noise/std",
            "mean |c|",
            "complexity",
            "when distorted",
        ]
        .map(String::from)
        .to_vec(),
        rows: rows.collect(),
    }
}
