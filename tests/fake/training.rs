//! Views of an imagined training of a generator: scores, weights, samples, layers. They follow from seed and step alone.

use kiln_protocol::spec::seed::derive;
use kiln_protocol::view::{
    HistogramGroup, HistogramMark, Histograms, Images, Layer, LayerColumn, Layers, Panel, Picture,
};
use kiln_protocol::{Body, View};

/// Pictures of a sheet, and pixels of their side: 100 kB as text.
const SAMPLES: u64 = 96;
const SIDE: u64 = 28;

/// A number in [0, 1) that belongs to `(seed, what, n)`.
fn unit(seed: u64, what: &str, n: u64) -> f64 {
    (derive(seed, what, n, 0) >> 11) as f64 / (1u64 << 53) as f64
}

fn view(name: &str, view: View) -> Body {
    Body::View { name: name.into(), view: Box::new(view) }
}

/// All views after a share of the training, 0 to 1.
pub fn views(seed: u64, done: f64) -> Vec<Body> {
    vec![
        view("scores", View::Histogram(scores(done))),
        view("weights", View::Histogram(weights(done))),
        view("samples", View::Images(samples(seed, done))),
        view("reconstructions", View::Images(reconstructions(seed, done))),
        view("layers", View::Layers(layers(seed, done))),
    ]
}

/// Counts of `n` normal values.
fn bell(edges: &[f64], n: f64, mean: f64, deviation: f64) -> Vec<f64> {
    let density = |x: f64| (-0.5 * ((x - mean) / deviation).powi(2)).exp() / (deviation * std::f64::consts::TAU.sqrt());
    edges.windows(2).map(|w| (n * (w[1] - w[0]) * density((w[0] + w[1]) / 2.0)).round()).collect()
}

fn edges(lo: f64, hi: f64, bins: u32) -> Vec<f64> {
    (0..=bins).map(|i| lo + (hi - lo) * f64::from(i) / f64::from(bins)).collect()
}

fn scores(done: f64) -> Histograms {
    let edges = edges(0.0, 1.0, 40);
    let group = |name: &str, mean, deviation| HistogramGroup {
        name: name.into(),
        counts: bell(&edges, 2048.0, mean, deviation),
    };
    let groups = vec![group("real", 0.85 - 0.35 * done, 0.1), group("fake", 0.15 + 0.3 * done, 0.08)];
    Histograms {
        title: "Scores of the critic".into(),
        x_label: "D(x)".into(),
        panels: vec![Panel {
            name: String::new(),
            edges,
            groups,
            marks: vec![HistogramMark { name: "1/2".into(), x: 0.5 }],
        }],
        note: "2,048 pictures of each kind".into(),
    }
}

fn weights(done: f64) -> Histograms {
    let panel = |i: u32| {
        let edges = edges(-1.5, 1.5, 48);
        let spread = 0.35 - 0.2 * done;
        let (low, high) = (bell(&edges, 2000.0, -done, spread), bell(&edges, 2000.0, done, spread));
        let counts = low.iter().zip(&high).map(|(a, b)| a + b).collect();
        let groups = vec![HistogramGroup { name: "weights".into(), counts }];
        Panel { name: format!("stage{}.conv{}", i / 3 + 1, i % 3 + 1), edges, groups, marks: vec![] }
    };
    Histograms {
        title: "Weights before the sign".into(),
        x_label: "weight".into(),
        panels: (0..9).map(panel).collect(),
        note: String::new(),
    }
}

/// How dark the shape of a sample is at a place: a ring, a slanted bar or a cross.
fn ink(shape: u64, x: f64, y: f64) -> f64 {
    let distance = match shape % 3 {
        0 => ((x * x + y * y).sqrt() - 0.3).abs(),
        1 => (x + 0.4 * y).abs(),
        _ => x.abs().min(y.abs()),
    };
    (1.2 - 9.0 * distance).clamp(0.0, 1.0)
}

fn place(v: u64, side: u64) -> f64 {
    (v as f64 + 0.5) / side as f64 - 0.5
}

fn samples(seed: u64, done: f64) -> Images {
    let picture = |i: u64| {
        let pixel = |n: u64| {
            let noise = unit(seed, "pixel", i * 1009 + n);
            let shape = ink(i, place(n % SIDE, SIDE), place(n / SIDE, SIDE));
            ((done * shape + (1.0 - done) * noise) * 255.0) as u8
        };
        Picture::new("", SIDE as u32, SIDE as u32, 1, &(0..SIDE * SIDE).map(pixel).collect::<Vec<_>>())
    };
    Images {
        title: "Samples".into(),
        pictures: (0..SAMPLES).map(picture).collect(),
        columns: 0,
        note: format!("{SAMPLES} fixed noise vectors"),
    }
}

fn reconstructions(seed: u64, done: f64) -> Images {
    let picture = |i: u64, label: &str, share: f64| {
        let pixel = |n: u64| {
            let (x, y) = (place(n % 32, 32), place(n / 32, 32));
            let shape = ink(i, x, y);
            [0.9 - 0.7 * shape, 0.5 + x * 0.8, 0.5 + y * 0.8 + 0.3 * shape].into_iter().enumerate().map(
                move |(c, v)| {
                    let noise = unit(seed, "colour", i * 7919 + n * 3 + c as u64);
                    ((share * v + (1.0 - share) * noise).clamp(0.0, 1.0) * 255.0) as u8
                },
            )
        };
        Picture::new(format!("{i} {label}"), 32, 32, 3, &(0..32 * 32).flat_map(pixel).collect::<Vec<_>>())
    };
    Images {
        title: "Reconstructions".into(),
        pictures: (0..8).flat_map(|i| [picture(i, "before", 1.0), picture(i, "after", done)]).collect(),
        columns: 2,
        note: format!("{:.2} bits a pixel", 8.0 - 7.5 * done),
    }
}

fn layers(seed: u64, done: f64) -> Layers {
    let column =
        |name: &str, decimals, unit: &str, full| LayerColumn { name: name.into(), decimals, unit: unit.into(), full };
    let row = |i: u64| {
        let ends = i == 0 || i == 19;
        let kept = 1.0 - 0.7 * done * unit(seed, "kept", i);
        let bits = if ends { 32.0 } else { 1.0 };
        Layer {
            name: if i == 19 { "head".into() } else { format!("stage{}.conv{}", i / 5 + 1, i % 5 + 1) },
            cells: vec![
                Some(bits),
                Some(if ends { 32.0 } else { 2.0 }),
                (!ends).then_some(100.0 * kept),
                Some(bits * kept * 18.0),
                (!ends).then_some(0.02 * unit(seed, "gap", i)),
            ],
        }
    };
    Layers {
        title: "Layers".into(),
        columns: vec![
            column("weights", 0, "bits", None),
            column("features", 0, "bits", None),
            column("kept", 0, "%", Some(100.0)),
            column("storage", 1, "KiB", None),
            column("gap", 4, "", Some(0.02)),
        ],
        rows: (0..20).map(row).collect(),
        note: format!("{:.0} % of all channels squeezed", 35.0 * done),
    }
}
