//! Views of trainings for tests: histograms, pictures, layers, detections.

use kiln_protocol::View;
use kiln_protocol::past::PastView;
use kiln_protocol::view::{
    Detection, Detections, HistogramGroup, HistogramMark, Histograms, Images, Layer, LayerColumn, Layers, Panel,
    Picture, Scene,
};

use crate::fixture::noise;

/// How many of `n` normal values fall into each bin.
fn bell(edges: &[f64], n: f64, mean: f64, deviation: f64) -> Vec<f64> {
    let density = |x: f64| (-0.5 * ((x - mean) / deviation).powi(2)).exp() / (deviation * std::f64::consts::TAU.sqrt());
    let count = |w: &[f64]| (n * (w[1] - w[0]) * density((w[0] + w[1]) / 2.0)).round();
    edges.windows(2).map(count).collect()
}

fn edges(lo: f64, hi: f64, bins: u32) -> Vec<f64> {
    (0..=bins).map(|i| lo + (hi - lo) * f64::from(i) / f64::from(bins)).collect()
}

/// Scores that a critic gives to real and made pictures.
pub fn scores() -> Histograms {
    let edges = edges(0.0, 1.0, 40);
    let group = |name: &str, counts| HistogramGroup { name: name.into(), counts };
    let groups = vec![group("real", bell(&edges, 2048.0, 0.62, 0.11)), group("fake", bell(&edges, 2048.0, 0.41, 0.09))];
    let marks = vec![HistogramMark { name: "prior".into(), x: 0.3 }, HistogramMark { name: "D* = 1/2".into(), x: 0.5 }];
    Histograms {
        title: "Scores".into(),
        x_label: "D(x)".into(),
        panels: vec![Panel { name: "epoch 12".into(), edges, groups, marks }],
        note: "2,048 pictures each · overlap 0.29".into(),
    }
}

/// Weights of six layers.
pub fn weights() -> Histograms {
    let panel = |i: u32| {
        let edges = edges(-0.5, 0.5, 32);
        let counts = bell(&edges, f64::from(400 * (i + 1)), 0.02 * f64::from(i), 0.06 + 0.02 * f64::from(i));
        let groups = vec![HistogramGroup { name: "weights".into(), counts }];
        Panel { name: format!("conv{}", i + 1), edges, groups, marks: Vec::new() }
    };
    Histograms {
        title: "Weights".into(),
        x_label: "weight".into(),
        panels: (0..6).map(panel).collect(),
        note: String::new(),
    }
}

/// A ring, a bar or a cross, in grey.
fn shape(i: u64, side: u32) -> Vec<u8> {
    let place = |v: u32| (f64::from(v) + 0.5) / f64::from(side) - 0.5;
    let ink = |x: f64, y: f64| match i % 3 {
        0 => 1.0 - (((x * x + y * y).sqrt() - 0.3).abs() * 9.0),
        1 => 1.0 - (x + 0.3 * y).abs() * 8.0,
        _ => 1.0 - x.abs().min(y.abs()) * 9.0,
    };
    let pixel = |x: u32, y: u32| {
        let grain = 0.12 * noise(i * 977 + u64::from(y * side + x));
        ((ink(place(x), place(y)).max(0.0) + grain).min(1.0) * 255.0) as u8
    };
    (0..side).flat_map(|y| (0..side).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect()
}

/// Samples from fixed noise.
pub fn samples() -> Images {
    Images {
        title: "Samples".into(),
        pictures: (0..64).map(|i| Picture::new("", 16, 16, 1, &shape(i, 16))).collect(),
        columns: 0,
        note: "step 4,000 of 20,000 · 64 fixed noise vectors".into(),
    }
}

/// Pictures before and after, in colour.
pub fn pairs() -> Images {
    let colour = |i: u64, levels: u32| -> Vec<u8> {
        let level = |v: u32| (v * levels / 256 * 255 / (levels - 1)) as u8;
        let grey = shape(i, 32);
        let pixel = |n: usize| {
            let (x, y, v) = (n as u32 % 32 * 8, n as u32 / 32 * 8, u32::from(grey[n]));
            [level(v), level((v + x) / 2), level(255 - (v + y) / 2)]
        };
        (0..grey.len()).flat_map(pixel).collect()
    };
    let pair = |i: u64| {
        [
            Picture::new(format!("{i} before"), 32, 32, 3, &colour(i, 256)),
            Picture::new(format!("{i} after"), 32, 32, 3, &colour(i, 4)),
        ]
    };
    Images {
        title: "Reconstructions".into(),
        pictures: (0..6).flat_map(pair).collect(),
        columns: 2,
        note: "0.41 bits a pixel".into(),
    }
}

/// A street with cars and people: what was found, and what is there.
pub fn street() -> Detections {
    let pixel = |x: u32, y: u32| -> [u8; 3] {
        let road = y > 28;
        let car = (8..28).contains(&x) && (24..36).contains(&y);
        let walker = (44..49).contains(&x) && (18..38).contains(&y);
        match (car, walker, road) {
            (true, ..) => [190, 40, 40],
            (_, true, _) => [230, 190, 60],
            (_, _, true) => [70, 70, 78],
            _ => [90 + (y * 3) as u8, 130 + (y * 2) as u8, 200],
        }
    };
    let bytes: Vec<u8> = (0..48).flat_map(|y| (0..64).flat_map(move |x| pixel(x, y))).collect();
    let found = |class, score, place| Detection { class, score, place };
    let scene = |i: u32| Scene {
        picture: Picture::new(format!("street {i}"), 64, 48, 3, &bytes),
        found: vec![
            found(1, Some(0.71), [43.0, 17.0, 7.0, 22.0]),
            found(0, Some(0.94), [7.0, 23.0, 22.0, 14.0]),
            found(1, Some(0.22), [55.0, 2.0, 6.0, 9.0]),
        ],
        truth: vec![found(0, None, [8.0, 24.0, 20.0, 12.0]), found(1, None, [44.0, 18.0, 5.0, 20.0])],
    };
    Detections {
        title: "Detections".into(),
        classes: vec!["car".into(), "person".into()],
        scenes: (1..=2).map(scene).collect(),
        note: "AP50 0.61 on 2 pictures".into(),
    }
}

/// How the weights came to be what they are.
pub fn past() -> Vec<PastView> {
    let state = |i: u32| {
        let share = f64::from(i) / 20.0;
        let mut histograms = weights();
        for panel in &mut histograms.panels {
            let edges = edges(-1.0 - share, 1.0 + share, 40);
            for group in &mut panel.groups {
                group.counts = bell(&edges, 1000.0, share, 0.1 + 0.4 * (1.0 - share));
            }
            panel.edges = edges;
        }
        PastView { t: crate::fixture::NOW - 600.0 + 30.0 * f64::from(i), view: View::Histogram(histograms) }
    };
    (0..20).map(state).collect()
}

/// Bits, channels and storage of a quantised network.
pub fn layers() -> Layers {
    let column =
        |name: &str, decimals, unit: &str, full| LayerColumn { name: name.into(), decimals, unit: unit.into(), full };
    let row = |i: u32| {
        let (first, last) = (i == 0, i == 13);
        let bits = if first || last { 32.0 } else { 1.0 };
        let kept = 0.35 + 0.6 * noise(u64::from(i));
        Layer {
            name: if last { "head".into() } else { format!("stage{}.conv{}", i / 4 + 1, i % 4 + 1) },
            cells: vec![
                Some(bits),
                Some(bits.min(2.0)),
                (!last).then_some(100.0 * kept),
                Some((64.0 * kept).round()),
                Some(bits * 1.3 * f64::from(1 + i)),
                (!first && !last).then_some(0.02 * noise(u64::from(i) + 9)),
            ],
        }
    };
    Layers {
        title: "Layers".into(),
        columns: vec![
            column("weights", 0, "bits", None),
            column("activations", 0, "bits", None),
            column("kept", 1, "%", Some(100.0)),
            column("channels", 0, "", None),
            column("storage", 1, "KiB", Some(45.0)),
            column("distortion", 4, "", Some(0.02)),
        ],
        rows: (0..14).map(row).collect(),
        note: "61.2 KiB packed · 1 in 28.9 of full precision".into(),
    }
}

/// All of them.
pub fn views() -> Vec<(String, View)> {
    vec![
        ("Scores".into(), View::Histogram(scores())),
        ("Weights".into(), View::Histogram(weights())),
        ("Samples".into(), View::Images(samples())),
        ("Pairs".into(), View::Images(pairs())),
        ("Layers".into(), View::Layers(layers())),
    ]
}
