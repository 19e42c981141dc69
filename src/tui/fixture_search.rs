//! Views of searches for tests: a map of blocks, curves with error bars, predicted against true, a Pareto front.

use kiln_protocol::View;
use kiln_protocol::view::{
    BlockCell, BlockImportance, Candidate, Candidates, Column, Gauge, GlyphBar, Line, Lines, Scatter, ScatterGroup,
};

use crate::fixture::noise;

/// Operations of the fixture's space.
const OPS: [&str; 7] = ["k3e1", "k3e3", "k3e6", "k5e3", "k5e6", "k7e6", "skip"];

/// Stages: name, blocks, channels.
const STAGES: [(&str, u32, u64); 5] =
    [("stage1", 2, 16), ("stage2", 4, 24), ("stage3", 4, 40), ("stage4", 4, 80), ("stage5", 3, 160)];

/// A map of 17 blocks; the first of each stage is vital.
pub fn blocks() -> BlockImportance {
    let mut blocks = Vec::new();
    for (stage, (name, depth, channels)) in STAGES.into_iter().enumerate() {
        for block in 0..depth {
            let i = blocks.len() as u64;
            let vital = block == 0;
            let offered = |op: usize| !(vital && OPS[op] == "skip");
            let raw: Vec<f64> = (0..OPS.len()).map(|op| (3.0 * noise(i * 31 + op as u64)).exp()).collect();
            let total: f64 = (0..OPS.len()).filter(|op| offered(*op)).map(|op| raw[op]).sum();
            let weights: Vec<Option<f64>> = (0..OPS.len()).map(|op| offered(op).then(|| raw[op] / total)).collect();
            let best = (0..OPS.len()).max_by(|a, b| weights[*a].partial_cmp(&weights[*b]).unwrap()).unwrap();
            let size = channels * channels * (1 + best as u64) * u64::from(OPS[best] != "skip");
            blocks.push(BlockCell {
                name: format!("{name}.{block}"),
                vital,
                locked: vital,
                chosen: Some(OPS[best].into()),
                weights,
                lesion: Some(if vital { 0.35 + 0.5 * noise(i) } else { 0.09 * noise(i) }),
                weaken: (stage == 1).then_some(0.01 * noise(i + 5)),
                params: size,
                macs: size * (64 >> stage) as u64,
            });
        }
    }
    BlockImportance {
        title: "Blocks".into(),
        ops: OPS.map(String::from).to_vec(),
        blocks,
        gauges: vec![
            Gauge {
                name: "MACs".into(),
                unit: String::new(),
                limit: 4.0e6,
                chosen: Some(3.1e6),
                expected: Some(3.42e6),
                sampled: Some([1.2e6, 2.9e6, 3.98e6]),
            },
            Gauge {
                name: "latency".into(),
                unit: "ms".into(),
                limit: 1.8,
                chosen: Some(1.93),
                expected: Some(1.7),
                sampled: None,
            },
        ],
        note: "stage N · 212 of 400 steps · temperature 1.31 · beta 0.42 · accepted 0.61 · 38 steps/s".into(),
    }
}

/// Kendall's tau against the number of labels.
pub fn labels() -> Lines {
    let curve = |name: &str, at: [f64; 5]| Line {
        name: name.into(),
        points: [50.0, 100.0, 200.0, 424.0, 1000.0]
            .into_iter()
            .zip(at)
            .map(|(x, y)| [x, y, 0.04 * (1.0 - y) + 0.01 * noise((x + y) as u64)])
            .collect(),
    };
    Lines {
        title: "Kendall tau against labels".into(),
        x_label: "labels".into(),
        y_label: "tau".into(),
        log_x: true,
        lines: vec![
            curve("assessor", [0.612, 0.681, 0.709, 0.722, 0.741]),
            curve("cell-GCN", [0.624, 0.677, 0.696, 0.698, 0.699]),
            curve("MLP", [0.468, 0.526, 0.583, 0.637, 0.693]),
            curve("random forest", [0.337, 0.463, 0.539, 0.611, 0.662]),
        ],
        note: "16,484 cells, 3 seeds".into(),
    }
}

/// Predicted against true accuracy of held-out cells.
pub fn predicted() -> Scatter {
    let pair = |i: u64| {
        let truth = 0.86 + 0.09 * noise(i).sqrt();
        [truth, truth + 0.02 * (noise(i + 999) - 0.5)]
    };
    let group = |name: &str, range: std::ops::Range<u64>| ScatterGroup {
        name: name.into(),
        points: range.clone().map(pair).collect(),
        labels: range.map(|i| format!("cell {i}")).collect(),
        ..ScatterGroup::default()
    };
    Scatter {
        title: "Predicted against true".into(),
        x_label: "true".into(),
        y_label: "predicted".into(),
        groups: vec![group("held out", 0..140), group("labelled", 140..170)],
        note: "tau 0.681 · r 0.902 · MSE 3.1e-05".into(),
        diagonal: true,
        ..Scatter::default()
    }
}

/// Accuracy against cost of all candidates, with the front.
pub fn pareto() -> Scatter {
    let all: Vec<[f64; 2]> = (0..60)
        .map(|i| {
            let cost = 4e5 + 3.5e6 * noise(i * 5 + 3);
            [cost, 0.9 + 0.06 * (1.0 - (-cost / 1.2e6).exp()) - 0.03 * noise(i * 7)]
        })
        .collect();
    let mut front: Vec<(u32, [f64; 2])> = (0..60)
        .map(|i| (i as u32, all[i]))
        .filter(|(_, p)| !all.iter().any(|o| o != p && o[0] <= p[0] && o[1] >= p[1]))
        .collect();
    front.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]));
    let group = |name: &str, members: Vec<(u32, [f64; 2])>, joined| ScatterGroup {
        name: name.into(),
        labels: members.iter().map(|m| format!("{:03}  {}", m.0, search_arch(m.0))).collect(),
        ids: members.iter().map(|m| m.0).collect(),
        points: members.into_iter().map(|m| m.1).collect(),
        joined,
        ..ScatterGroup::default()
    };
    let others = (0..60_u32).map(|i| (i, all[i as usize])).filter(|m| !front.contains(m)).collect();
    Scatter {
        title: "Accuracy against cost".into(),
        x_label: "MACs".into(),
        y_label: "valid/accuracy".into(),
        groups: vec![group("on the front", front, true), group("dominated", others, false)],
        ..Scatter::default()
    }
}

/// An architecture of the space `digits-mlp`.
fn search_arch(i: u32) -> String {
    let family = if i.is_multiple_of(2) { "fast" } else { "slow" };
    format!("{family}-{}-{}", 1 + i % 4, [8, 16, 32, 64][(i / 4 % 4) as usize])
}

/// Candidates of a random search.
fn candidates() -> Candidates {
    Candidates {
        columns: vec![Column { name: "accuracy".into(), decimals: 4, higher_is_better: Some(true) }],
        rows: (0..60)
            .map(|i| Candidate {
                id: i,
                arch: search_arch(i),
                glyph: (0..1 + i % 4).map(|_| GlyphBar { height: 0.6, class: 'F' }).collect(),
                cells: vec![Some(0.9 + 0.06 * noise(u64::from(i)))],
                cluster: None,
                winner: i == 7,
                status: "done".into(),
            })
            .collect(),
    }
}

/// All of them.
pub fn views() -> Vec<(String, View)> {
    vec![
        ("Blocks".into(), View::BlockImportance(blocks())),
        ("Labels".into(), View::Lines(labels())),
        ("Predicted".into(), View::Scatter(predicted())),
        ("Pareto".into(), View::Scatter(pareto())),
        ("Candidates".into(), View::Candidates(candidates())),
    ]
}
