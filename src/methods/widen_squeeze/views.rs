//! The pictures of a run.

use kiln_arch::quantised::{Blueprint, Shortcut};
use kiln_nn::TrainError;
use kiln_nn::quantised::trainer::FAINT;
use kiln_nn::quantised::{LayerFigures, QuantEpoch, QuantNetwork, measure};
use kiln_protocol::View;
use kiln_protocol::view::{
    BlockCell, BlockImportance, Gauge, HistogramGroup, HistogramMark, Histograms, Layer, LayerColumn, Layers, Line,
    Lines, Panel, Scatter, ScatterGroup,
};

use super::parts::Kind;
use super::prune::Importance;
use super::report::{Network, Results};
use super::study::{Probed, WidenSqueeze};
use crate::error::Result;
use crate::text::thousands;

/// Bins of the histograms of weights, and of importances.
const WEIGHT_BINS: usize = 40;
const BINS: usize = 40;

/// What is known of every layer: bits, channels when widened and now, shares.
pub fn layers(
    title: &str,
    network: &Blueprint,
    widest: &Blueprint,
    figures: &[LayerFigures],
    last: Option<&QuantEpoch>,
) -> View {
    let bar = |name: &str| LayerColumn { name: name.into(), decimals: 2, unit: String::new(), full: Some(1.0) };
    let number = |name: &str, decimals: u8, unit: &str| LayerColumn {
        name: name.into(),
        decimals,
        unit: unit.into(),
        full: None,
    };
    let columns = vec![
        number("bits", 0, ""),
        number("widened", 0, ""),
        number("now", 0, ""),
        bar("faint"),
        number("flips", 5, ""),
        bar("dead"),
        bar("constant"),
        number("L_proj", 4, ""),
    ];
    let bits = network.bits.map_or(32.0, |b| f64::from(b.weights));
    let groups = network.feature_groups();
    let rows = network.feature_names().into_iter().enumerate().map(|(i, name)| {
        let group = groups[i];
        let looked = figures.get(i);
        let faint = last.and_then(|e| e.importances.get(group)).map(|s| s[0]);
        Layer {
            name,
            cells: vec![
                Some(if i == 0 { 32.0 } else { bits }),
                widest.widths.get(group).map(|w| f64::from(*w)),
                Some(f64::from(network.widths[group])),
                faint,
                // The first layer has no latent weights.
                last.and_then(|e| i.checked_sub(1).and_then(|u| e.flips.get(u))).copied(),
                looked.map(|f| f.dead),
                looked.map(|f| f.constant),
                last.and_then(|e| e.projection.get(i)).copied(),
            ],
        }
    });
    let note = "faint: importances under 0.05; flips: signs changed by the epoch's last step; dead: |a| > 1, where no gradient passes; \
                constant: channels of one sign";
    View::Layers(Layers { title: title.into(), columns, rows: rows.collect(), note: note.into() })
}

/// Latent weights of every quantised layer.
pub fn weights(title: &str, network: &QuantNetwork) -> Result<View, TrainError> {
    let counts = measure::weight_counts(network, WEIGHT_BINS)?;
    let names = network.blueprint().units.iter().map(|u| u.name.clone());
    let panels = names.zip(counts).map(|(name, counts)| Panel {
        name,
        edges: edges(-1.0, 1.0, WEIGHT_BINS),
        groups: vec![HistogramGroup { name: "weights".into(), counts }],
        marks: vec![HistogramMark { name: "sign".into(), x: 0.0 }],
    });
    Ok(View::Histogram(Histograms {
        title: format!("Latent weights: {title}"),
        x_label: "latent weight".into(),
        panels: panels.collect(),
        note: String::new(),
    }))
}

/// How many importances of a group lie in each bin from 0 to 2.
pub fn importance_counts(group: &[Importance]) -> Vec<f64> {
    let values: Vec<f64> = group.iter().map(|i| i[0]).collect();
    measure::counts(&values, 0.0, 2.0, BINS)
}

/// Importances of every group of channels, as counts.
pub fn importances(title: &str, names: &[String], groups: Vec<Vec<f64>>) -> View {
    let panels = names.iter().zip(groups).map(|(name, counts)| Panel {
        name: name.clone(),
        edges: edges(0.0, 2.0, BINS),
        groups: vec![HistogramGroup { name: "channels".into(), counts }],
        marks: vec![HistogramMark { name: "faint".into(), x: FAINT }],
    });
    View::Histogram(Histograms {
        title: format!("Importances: {title}"),
        x_label: "importance".into(),
        panels: panels.collect(),
        note: String::new(),
    })
}

fn edges(low: f64, high: f64, bins: usize) -> Vec<f64> {
    (0..=bins).map(|i| low + (high - low) * i as f64 / bins as f64).collect()
}

/// Validation accuracy against operations and against bits, with the front.
pub(super) fn pareto(results: &Results) -> [(&'static str, View); 2] {
    let scatter = |title: &str, label: &str, cost: &dyn Fn(&Network) -> f64| {
        let known: Vec<(&Network, f64, f64)> =
            results.networks.iter().filter_map(|n| Some((n, cost(n), n.accuracy()?))).collect();
        let mut groups: Vec<ScatterGroup> = Vec::new();
        for (network, x, y) in &known {
            let name = match network.kind {
                Kind::Full => "full precision",
                Kind::Plain => "plain",
                Kind::Widened(_) => "widened",
                Kind::Squeeze(_) | Kind::Tune(_) => "squeezed",
                Kind::Scratch | Kind::Random => "controls",
            };
            let words = format!("{}: {:.4} at {} {label}", network.title, y, thousands(*x));
            match groups.iter_mut().find(|g| g.name == name) {
                Some(group) => {
                    group.points.push([*x, *y]);
                    group.labels.push(words);
                }
                None => groups.push(ScatterGroup {
                    name: name.into(),
                    points: vec![[*x, *y]],
                    labels: vec![words],
                    ..ScatterGroup::default()
                }),
            }
        }
        let pairs: Vec<(f64, f64)> = known.iter().map(|(_, x, y)| (*x, *y)).collect();
        let front = kiln_metrics::pareto_front(&pairs);
        groups.push(ScatterGroup {
            name: "front".into(),
            points: front.iter().map(|&i| [pairs[i].0, pairs[i].1]).collect(),
            labels: front.iter().map(|&i| known[i].0.title.clone()).collect(),
            joined: true,
            ..ScatterGroup::default()
        });
        View::Scatter(Scatter {
            title: title.into(),
            x_label: label.into(),
            y_label: "validation accuracy".into(),
            groups,
            note: format!("{} of {} networks on the front", front.len(), known.len()),
            ..Scatter::default()
        })
    };
    [
        ("accuracy-ops", scatter("Accuracy against operations", "OPs", &|n| n.cost.ops())),
        ("accuracy-bits", scatter("Accuracy against size", "bits", &|n| n.cost.bits as f64)),
    ]
}

/// The squeezed network's layers, and how its cost stands against the limit and against full precision.
pub(super) fn budget(study: &WidenSqueeze, results: &Results) -> Result<Option<View>> {
    let Some(part) = study.parts.iter().rposition(|p| matches!(p.kind, Kind::Tune(_))) else { return Ok(None) };
    let network = study.blueprint(part)?;
    let limit = study.widened(study.settings.squeeze_to, true)?.cost();
    let (own, full, budget) = (network.cost(), results.full, study.settings.budget);
    let gauge = |name: &str, limit: f64, chosen: f64| Gauge {
        name: name.into(),
        limit,
        chosen: Some(chosen),
        ..Gauge::default()
    };
    let blocks = network.layers().into_iter().map(|layer| BlockCell {
        vital: !network.units.iter().any(|u| u.name == layer.name && u.shortcut != Shortcut::None),
        name: layer.name,
        chosen: Some(if layer.bits == 1 { "1 bit".to_owned() } else { format!("{} bits", layer.bits) }),
        params: layer.cost.params,
        macs: layer.cost.ops().round() as u64,
        ..BlockCell::default()
    });
    let share = |a: f64, b: f64| 100.0 * a / b.max(1.0);
    Ok(Some(View::BlockImportance(BlockImportance {
        title: "Cost of the squeezed network".into(),
        ops: Vec::new(),
        blocks: blocks.collect(),
        gauges: vec![
            gauge(kiln_arch::quantised::cost::unit(budget), limit.of(budget), own.of(budget)),
            gauge("OPs full", full.ops(), own.ops()),
            gauge("bit full", full.bits as f64, own.bits as f64),
            gauge("OPs k=1", results.plain.ops(), own.ops()),
            gauge("bit k=1", results.plain.bits as f64, own.bits as f64),
        ],
        note: format!(
            "widths {:?}; {:.1} % of the bits and {:.1} % of the OPs of full precision",
            network.widths,
            share(own.bits as f64, full.bits as f64),
            share(own.ops(), full.ops())
        ),
    })))
}

/// Accuracy of linear classifiers on features of different widths.
pub(super) fn probes(probes: &[Probed]) -> View {
    let line = |name: &str, wanted: &dyn Fn(&Probed) -> bool, y: &dyn Fn(&Probed) -> Option<f64>| {
        let mut points: Vec<[f64; 3]> =
            probes.iter().filter(|p| wanted(p)).filter_map(|p| Some([f64::from(p.width), y(p)?, 0.0])).collect();
        points.sort_by(|a, b| a[0].total_cmp(&b[0]));
        Line { name: name.into(), points }
    };
    let wide = |p: &Probed| p.name == "plain" || p.name.starts_with("wide-");
    let accuracy = |p: &Probed| Some(p.accuracy);
    View::Lines(Lines {
        title: "Linear classifiers on frozen features".into(),
        x_label: "width of the last features".into(),
        y_label: "validation accuracy".into(),
        log_x: true,
        lines: vec![
            line("full precision", &|p| p.name == "full", &accuracy),
            line("quantised", &wide, &accuracy),
            line("squeezed", &|p| p.name == "squeezed", &accuracy),
            line("distances kept", &wide, &|p| p.distances),
        ],
        note: "distances kept: correlation of pairwise distances with those in the teacher's features".into(),
    })
}

/// Features in the plane in which they vary most, one colour a class.
pub(super) fn plane(name: &str, points: &[([f64; 2], i64)], classes: &[String]) -> View {
    let group = |(class, name): (usize, &String)| {
        let own = points.iter().filter(|(_, label)| *label == class as i64);
        let own: Vec<[f64; 2]> = own.map(|(at, _)| *at).collect();
        let labels = own.iter().map(|_| format!("class {name}")).collect();
        ScatterGroup { name: name.clone(), points: own, labels, ..ScatterGroup::default() }
    };
    View::Scatter(Scatter {
        title: format!("Last features of `{name}` in their principal plane"),
        x_label: "first component".into(),
        y_label: "second component".into(),
        groups: classes.iter().enumerate().map(group).collect(),
        note: format!("{} validation images", points.len()),
        ..Scatter::default()
    })
}
