//! What the comparison says: tables, figures, and one sentence.

use std::collections::BTreeMap;

use kiln_metrics::{ENOUGH_PAIRS, Summary};
use kiln_protocol::run::{Figure as Headline, Outcome, Table};
use kiln_protocol::spec::Predictor;

use super::results::{Figure, Results};
use crate::text::maybe;

/// Gain over the random forest at few labels that the card expects.
const OVER_FOREST: f64 = 0.03;

/// Labels up to which there are "few".
const FEW: u32 = 200;

/// Tables, figures and verdict.
pub fn outcome(results: &Results, seconds: f64) -> Outcome {
    let settings = results.settings;
    let mut figures: BTreeMap<String, Option<f64>> = BTreeMap::new();
    for &predictor in &settings.methods {
        for (i, n) in settings.labels.iter().enumerate() {
            let mut add = |name: &str, figure: Figure| {
                figures
                    .insert(format!("{name}/{predictor}/{n}"), results.summary(predictor, i, figure).map(|s| s.mean));
            };
            add("tau", |s| s.tau);
            add("regret", |s| s.regret);
            add("mse", |s| s.mse);
        }
    }
    figures.insert("seconds".into(), Some(seconds));
    let headline = settings
        .methods
        .iter()
        .rev()
        .flat_map(|p| settings.labels.iter().map(move |n| Headline::new(&format!("tau/{p}/{n}"), true)));
    Outcome {
        flaws: Vec::new(),
        verdict: verdict(results),
        figures,
        tables: tables(results),
        headline: headline.take(settings.labels.len()).collect(),
    }
}

fn tables(results: &Results) -> Vec<Table> {
    let settings = results.settings;
    let repeats = settings.repeats;
    let mut out = vec![
        by_labels(
            results,
            format!("Kendall tau on {} test cells: mean and deviation over {repeats} repeats", settings.test),
            3,
            |s| s.tau,
        ),
        by_labels(results, format!("Regret@{} in percentage points", settings.top), 2, |s| s.regret),
        by_labels(results, format!("Squared error, accuracies below {} counting as that", settings.clip), 2, |s| s.mse),
    ];
    let gains = gains(results);
    out.extend((!gains.rows.is_empty()).then_some(gains));
    out.push(Table {
        title: format!("Labels needed for tau {}, and seconds of a training with the most labels", settings.tau_target),
        columns: ["predictor", "labels", "seconds"].map(String::from).into(),
        rows: settings
            .methods
            .iter()
            .map(|&p| {
                let last = settings.labels.len().saturating_sub(1);
                let seconds = results.summary(p, last, |s| Some(s.seconds)).map(|s| s.mean);
                let needed = results.labels_needed(p, settings.tau_target);
                vec![p.to_string(), needed.to_string(), format!("{} s", maybe(seconds, 1))]
            })
            .collect(),
    });
    let failed: Vec<Vec<String>> = results
        .jobs
        .iter()
        .zip(results.scored)
        .filter_map(|(job, scored)| Some((job, scored.as_ref()?.failure.clone()?)))
        .map(|(job, why)| vec![job.predictor.to_string(), settings.labels[job.labels].to_string(), why])
        .collect();
    out.extend((!failed.is_empty()).then(|| Table {
        title: "Trainings that failed".into(),
        columns: ["predictor", "labels", "why"].map(String::from).into(),
        rows: failed,
    }));
    out
}

fn spread(summary: Option<Summary>, digits: usize) -> String {
    summary.map_or_else(|| "-".into(), |s| format!("{:.digits$} ± {:.digits$}", s.mean, s.std))
}

fn by_labels(results: &Results, title: String, digits: usize, figure: Figure) -> Table {
    let settings = results.settings;
    let numbers = settings.labels.iter().map(|n| format!("{n} labels"));
    Table {
        title,
        columns: std::iter::once("predictor".to_owned()).chain(numbers).collect(),
        rows: settings
            .methods
            .iter()
            .map(|&p| {
                let cells = (0..settings.labels.len()).map(|i| spread(results.summary(p, i, figure), digits));
                std::iter::once(p.to_string()).chain(cells).collect()
            })
            .collect(),
    }
}

/// Assessors, and what each of them has to beat: the same encoder without some of its parts, and the forest.
fn rivals(assessor: Predictor) -> Option<Vec<Predictor>> {
    use Predictor::{
        AeCell, AeConv, AeFlat, AssessorCell, AssessorConv, AssessorFlat, Forest, GcnCell, GcnConv, GcnFlat, MlpCell,
        MlpConv, MlpFlat, NeuralPredictor,
    };
    match assessor {
        AssessorFlat => Some(vec![MlpFlat, AeFlat, GcnFlat, Forest]),
        AssessorConv => Some(vec![MlpConv, AeConv, GcnConv, Forest]),
        AssessorCell => Some(vec![MlpCell, AeCell, GcnCell, NeuralPredictor, Forest]),
        _ => None,
    }
}

fn gains(results: &Results) -> Table {
    let settings = results.settings;
    let mut rows = Vec::new();
    for &assessor in &settings.methods {
        for rival in rivals(assessor).unwrap_or_default().into_iter().filter(|r| settings.methods.contains(r)) {
            let cells = (0..settings.labels.len()).map(|i| {
                let gain = results.paired(assessor, rival, i, |s| s.tau);
                gain.map_or_else(|| "-".into(), |g| format!("{:+.3} ± {:.3}", g.mean, g.std))
            });
            rows.push(std::iter::once(format!("{assessor} - {rival}")).chain(cells).collect());
        }
    }
    Table {
        title: "Gain in tau, repeat by repeat".into(),
        columns: std::iter::once("difference".to_owned())
            .chain(settings.labels.iter().map(|n| format!("{n} labels")))
            .collect(),
        rows,
    }
}

/// Says of every assessor where it gains and where it loses: what a paired t-test over the repeats calls no chance.
fn verdict(results: &Results) -> String {
    let settings = results.settings;
    let mut said = Vec::new();
    for &assessor in &settings.methods {
        let Some(rivals) = rivals(assessor) else { continue };
        for rival in rivals.into_iter().filter(|r| settings.methods.contains(r)) {
            said.extend(comparison(results, assessor, rival));
        }
    }
    if said.is_empty() {
        let best = |i: usize| {
            let mean = |p: &Predictor| results.summary(*p, i, |s| s.tau).map(|s| s.mean);
            let ranked = settings.methods.iter().filter_map(|p| Some((p, mean(p)?)));
            ranked.max_by(|a, b| a.1.total_cmp(&b.1))
        };
        let told = settings.labels.iter().enumerate().filter_map(|(i, n)| {
            let (p, tau) = best(i)?;
            Some(format!("{p} is best with {n} labels (tau {tau:.3})"))
        });
        said.extend(told);
    }
    if said.is_empty() { "nothing could be measured".into() } else { said.join("; ") }
}

fn comparison(results: &Results, assessor: Predictor, rival: Predictor) -> Option<String> {
    let settings = results.settings;
    let gains: Vec<(u32, f64)> = settings
        .labels
        .iter()
        .enumerate()
        .filter_map(|(i, &n)| Some((n, results.paired(assessor, rival, i, |s| s.tau)?.mean)))
        .collect();
    if gains.is_empty() {
        return None;
    }
    let clear = |n: u32| {
        let i = settings.labels.iter().position(|labels| *labels == n)?;
        let test = results.test(assessor, rival, i, |s| s.tau)?;
        Some(test.count >= ENOUGH_PAIRS && test.p < 0.05)
    };
    let (clear, open): (Vec<_>, Vec<_>) = gains.iter().partition(|(n, _)| clear(*n) == Some(true));
    let (wins, losses): (Vec<_>, Vec<_>) = clear.into_iter().partition(|(_, gain)| *gain > 0.0);
    let at = |list: &[(u32, f64)]| list.iter().map(|(n, g)| format!("{g:+.3} at {n}")).collect::<Vec<_>>().join(", ");
    let parts = [("beats", &wins), ("loses to", &losses), ("does not differ by more than chance from", &open)];
    let parts = parts.iter().filter(|(_, list)| !list.is_empty());
    let said: Vec<String> = parts.map(|(how, list)| format!("{how} {rival} ({})", at(list))).collect();
    let mut text = format!("{assessor} {}", said.join(", "));
    let few: Vec<f64> = gains.iter().filter(|(n, _)| *n <= FEW).map(|(_, gain)| *gain).collect();
    if rival == Predictor::Forest && !few.is_empty() {
        let held = few.iter().all(|gain| *gain >= OVER_FOREST);
        let word = if held { "as expected, by 0.03 and more" } else { "not by the 0.03 that was expected everywhere" };
        text += &format!(", up to {FEW} labels {word}");
    }
    Some(text)
}
