//! What a person sees while a pair trains: curves, the scores of both kinds of image, the classes that are made.

use kiln_nn::GanReading;
use kiln_protocol::View;
use kiln_protocol::figures::number;
use kiln_protocol::view::{HistogramGroup, HistogramMark, Histograms, Panel};

use crate::cx::StepCx;

/// Bins of the score distributions.
const BINS: usize = 32;

/// Series of a reading. `target` is where theory puts both mean logits.
pub fn reading(cx: &mut StepCx, r: &GanReading, pu: bool, target: Option<f64>) {
    let x = r.step as f64;
    let mut tell = |name: &str, y: f64| cx.scalar(name, x, y);
    tell("critic/loss", r.critic);
    match r.prior {
        Some(prior) => {
            tell("pi-a/risk", prior * r.a);
            tell("c/risk", r.c);
            tell("pi-b/risk", prior * r.b);
            tell("neg/risk", r.neg);
            tell("clip-fraction", r.clipped);
            tell("prior", prior);
        }
        // The warm-up of the positive-unlabelled risk is plain as well.
        None => {
            tell("real/risk", r.a);
            tell("fake/risk", r.c);
            if pu {
                tell("clip-fraction", 0.0);
            }
        }
    }
    tell("real/logit", r.logits[0]);
    tell("fake/logit", r.logits[1]);
    if let Some(target) = target {
        tell("optimum/logit", target);
    }
    tell("real/score", r.scores[0]);
    tell("fake/score", r.scores[1]);
    tell("generator/loss", r.generator);
    tell("critic/gradient", r.critic_norm);
    tell("generator/gradient", r.generator_norm);
    if r.penalty != 0.0 {
        tell("critic/penalty", r.penalty);
    }
    tell("train/lr", r.lr);
}

/// Distributions of the logits of real and generated images, with the optimum that theory gives.
pub fn scores(title: String, real: &[f64], fake: &[f64], target: Option<f64>) -> Option<View> {
    let all = || real.iter().chain(fake).copied().filter(|x| x.is_finite());
    let (low, high) = all().chain(target).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    all().next()?;
    // All in one place still makes a bin of some width.
    let (low, high) = if high - low < 1e-6 { (low - 0.5, high + 0.5) } else { (low, high) };
    let width = (high - low) / BINS as f64;
    let edges: Vec<f64> = (0..=BINS).map(|i| low + width * i as f64).collect();
    let shares = |values: &[f64]| {
        let mut counts = vec![0.0; BINS];
        for x in values.iter().filter(|x| x.is_finite()) {
            counts[(((x - low) / width) as usize).min(BINS - 1)] += 1.0 / values.len() as f64;
        }
        counts
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let marks = target.map(|x| HistogramMark { name: "optimum".into(), x }).into_iter().collect();
    let groups = vec![
        HistogramGroup { name: "real".into(), counts: shares(real) },
        HistogramGroup { name: "generated".into(), counts: shares(fake) },
    ];
    Some(View::Histogram(Histograms {
        title,
        x_label: "logit of the discriminator".into(),
        panels: vec![Panel { name: "share of images".into(), edges, groups, marks }],
        note: format!("mean logit {} of real, {} of generated images", number(mean(real)), number(mean(fake))),
    }))
}

/// Classes that the classifier sees in real and in generated images.
pub fn classes(title: String, names: &[String], real: &[u64], fake: &[u64], evenness: [Option<f64>; 2]) -> View {
    let edges = (0..=names.len()).map(|i| i as f64).collect();
    let shares = |counts: &[u64]| {
        let total: u64 = counts.iter().sum();
        counts.iter().map(|n| *n as f64 / total.max(1) as f64).collect()
    };
    let groups = vec![
        HistogramGroup { name: "real".into(), counts: shares(real) },
        HistogramGroup { name: "generated".into(), counts: shares(fake) },
    ];
    let [of_real, of_fake] = evenness.map(|e| e.map_or_else(|| "-".to_owned(), |e| format!("{e:.3}")));
    View::Histogram(Histograms {
        title,
        x_label: "class".into(),
        panels: vec![Panel { name: "share of images".into(), edges, groups, marks: Vec::new() }],
        note: format!(
            "entropy {of_real} of real, {of_fake} of generated images, as a share of that of equal classes; in order: {}",
            names.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_share_their_bins_and_count_everything() {
        let view = scores("t".into(), &[-1.0, 0.0, 1.0, f64::NAN], &[3.0, 3.0], Some(-2.0)).unwrap();
        let View::Histogram(h) = view else { panic!("no histogram") };
        let panel = &h.panels[0];
        assert_eq!((panel.edges.len(), panel.edges[0], panel.edges[BINS]), (BINS + 1, -2.0, 3.0));
        let sums: Vec<f64> = panel.groups.iter().map(|g| g.counts.iter().sum()).collect();
        assert!((sums[0] - 0.75).abs() < 1e-12 && (sums[1] - 1.0).abs() < 1e-12);
        assert_eq!(panel.groups[1].counts[BINS - 1], 1.0);
        assert_eq!(panel.marks[0].x, -2.0);
        assert!(scores("t".into(), &[f64::NAN], &[], None).is_none());
        assert!(scores("t".into(), &[1.0], &[1.0], None).is_some());
    }

    #[test]
    fn classes_are_shares() {
        let names = ["a".to_owned(), "b".to_owned()];
        let View::Histogram(h) = classes("t".into(), &names, &[3, 1], &[0, 0], [Some(0.81), None]) else { panic!() };
        assert_eq!(h.panels[0].groups[0].counts, [0.75, 0.25]);
        assert_eq!(h.panels[0].groups[1].counts, [0.0, 0.0]);
        assert!(h.note.contains("0.810") && h.note.contains("a, b"));
    }
}
