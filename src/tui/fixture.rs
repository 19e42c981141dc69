//! A rich state for tests: runs in every state, a DC-NAS run with every kind of view.

use std::collections::BTreeMap;

use kiln_protocol::advice::Advice;
use kiln_protocol::run::{Best, JobCounts, Progress, Table};
use kiln_protocol::spec::MethodName;
use kiln_protocol::spec::schema::{self, Field};
use kiln_protocol::view::{
    Candidate, Candidates, ClusterPoint, Clusters, Column, GlyphBar, Matrix, Scatter, ScatterGroup,
};
use kiln_protocol::wire::{
    Folder, FromEngine, Gpu, GpuProcess, Push, Reply, RunDetail, Sample, Series, SeriesInfo, Share, System,
};
use kiln_protocol::{Body, Event, Level, Outcome, RunId, RunState, RunSummary, View};
use ratatui::layout::Size;

use crate::fixture_compare;
use crate::model::{Ask, Model};
use crate::msg::{Effect, Msg};
use crate::options::{Cost, PresetInfo, Setting, Start};
use crate::update::update;

/// The time at which everything happens.
pub const NOW: f64 = 1_790_000_000.0;

/// Pseudo-random numbers from 0 to 1, the same every time.
pub fn noise(i: u64) -> f64 {
    let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

fn summary(id: &str, state: RunState, done: f64, best: Option<f64>, created: f64) -> RunSummary {
    let preset = id.rsplit_once('-').map_or(id, |p| p.0).to_owned();
    let live = state.is_live();
    RunSummary {
        id: RunId(id.into()),
        title: if preset.starts_with("dc-nas") {
            "DC-NAS on the 8x8 digits: cluster by learning speed, then compare".into()
        } else {
            "Plain training".into()
        },
        method: if preset.starts_with("dc-nas") { "dc-nas" } else { "train" }.into(),
        preset,
        state,
        reason: match state {
            RunState::Failed => Some("CUDA out of memory: candidate 17 asked for 2.4 GiB".into()),
            RunState::Paused => Some("the disk of KILN_HOME is full: 12 MiB left".into()),
            RunState::Stopped => Some("asked for".into()),
            _ => None,
        },
        priority: 0,
        created,
        started: (state != RunState::Queued).then_some(created + 1.0),
        ended: state.is_ended().then_some(created + 1.0 + 480.0),
        worked: match state {
            RunState::Queued | RunState::Starting => None,
            RunState::Paused => Some(1_204.0),
            state if state.is_ended() => Some(480.0),
            _ => Some(NOW - 2.0 - created),
        },
        at_work: (state == RunState::Running).then_some(NOW - 1.0),
        last_event: (state != RunState::Queued).then_some(if live { NOW - 1.0 } else { created + 481.0 }),
        last_seq: 4000,
        progress: Progress {
            done: done * 1632.0,
            total: if state == RunState::Queued { 0.0 } else { 1632.0 },
            unit: "epochs".into(),
            note: if live { "full training 12/40".into() } else { String::new() },
        },
        eta: (state == RunState::Running).then_some((1.0 - done) * 175.0),
        best: best.map(|value| Best { name: "valid/accuracy".into(), value, higher_is_better: true }),
        device: (state != RunState::Queued)
            .then(|| if id.contains("fashion") { "cuda:0 NVIDIA H100".into() } else { "cpu (2 cores)".into() }),
        host: Some("node17".into()),
        pid: live.then_some(4711),
        attempts: if state == RunState::Failed { 3 } else { 1 },
        seed: 1,
        origin: None,
        arm: None,
        jobs: None,
        tags: Vec::new(),
        note: String::new(),
        figures: Vec::new(),
    }
}

/// What somebody has written about a run.
pub const NOTE: &str = "Reference for the table of section 4\n\nSame seeds as the random baseline.";

/// A run with two arms and three seeds.
pub const EXPERIMENT: &str = "dc-nas-fashion-77xp";

/// The jobs of the experiment.
pub fn jobs() -> Vec<RunSummary> {
    let states = [
        RunState::Completed,
        RunState::Completed,
        RunState::Failed,
        RunState::Paused,
        RunState::Queued,
        RunState::Queued,
    ];
    let job = |(i, state): (usize, RunState)| {
        let n = i as u32 + 1;
        let done = [1.0, 1.0, 0.44, 0.62, 0.0, 0.0][i];
        RunSummary {
            id: RunId(EXPERIMENT.into()).job(n),
            preset: EXPERIMENT[..EXPERIMENT.len() - 5].into(),
            arm: Some(if i < 3 { "clusters" } else { "random" }.into()),
            seed: 1 + i as u64 % 3,
            worked: (state != RunState::Queued).then_some(1200.0 * done),
            ..summary("dc-nas-fashion-job", state, done, (done > 0.9).then_some(0.905 + 0.001 * i as f64), NOW - 7200.0)
        }
    };
    states.into_iter().enumerate().map(job).collect()
}

/// Means of the experiment's arms, with a spread.
fn means(name: &str) -> Series {
    let points: Vec<[f64; 2]> = (1..=58).map(|i| [f64::from(i), curve(name, f64::from(i))]).collect();
    let spread = points.iter().map(|p| if p[0] > 50.0 { f64::NAN } else { 0.03 + 0.02 * (p[0] / 9.0).sin() }).collect();
    Series { name: name.into(), total: 58, jobs: 3, spread, points }
}

/// Runs in every state.
pub fn summaries() -> Vec<RunSummary> {
    vec![
        summary("dc-nas-digits-k3f7", RunState::Running, 0.584, Some(0.9612), NOW - 95.0),
        summary("train-fashion-9q0z", RunState::Running, 0.07, Some(0.8731), NOW - 310.0),
        summary("train-cifar10-b2aa", RunState::Queued, 0.0, None, NOW - 40.0),
        RunSummary {
            jobs: Some(JobCounts { total: 6, queued: 2, live: 1, completed: 2, stopped: 0, failed: 1 }),
            device: None,
            ..summary(EXPERIMENT, RunState::Paused, 0.31, Some(0.9104), NOW - 7200.0)
        },
        RunSummary {
            tags: vec!["baseline".into(), "paper".into()],
            note: NOTE.lines().next().unwrap_or_default().into(),
            figures: vec![("tau_within".into(), 0.62), ("top1_gap".into(), 0.0041)],
            ..summary("dc-nas-digits-0d3e", RunState::Completed, 1.0, Some(0.9733), NOW - 90_000.0)
        },
        summary("train-digits-w8w8", RunState::Failed, 0.44, None, NOW - 200_000.0),
        summary("train-größe-日本-m1m1", RunState::Stopped, 0.92, Some(0.1 + 0.2), NOW - 400_000.0),
        summary("train-digits-st4r", RunState::Starting, 0.0, None, NOW - 2.0),
    ]
}

fn cluster_of(i: u32) -> u32 {
    if noise(u64::from(i) + 900) < 0.12 { 2 } else { i % 2 }
}

fn arch(i: u32) -> (String, Vec<GlyphBar>) {
    let depth = 1 + i % 4;
    let width = 8 << (noise(u64::from(i) + 50) * 5.0) as u32;
    let fast = i.is_multiple_of(2);
    let bar = |l: u32| GlyphBar {
        height: if l < depth { (width as f32).log2() / 7.0 } else { 0.0 },
        class: if fast { 'F' } else { 'S' },
    };
    (format!("{}-{depth}-{width}", if fast { "fast" } else { "slow" }), (0..4).map(bar).collect())
}

fn early(i: u32) -> f64 {
    (if i.is_multiple_of(2) { 0.78 } else { 0.43 }) + 0.12 * (noise(u64::from(i) + 7) - 0.5)
}

fn last(i: u32) -> f64 {
    0.93 + 0.04 * noise(u64::from(i) + 70) + 0.02 * (early(i) - 0.6)
}

/// One view of every kind.
pub fn views() -> Vec<(String, View)> {
    let mut points: Vec<ClusterPoint> = (0..40)
        .map(|i| {
            let c = cluster_of(i);
            let (cx, cy) = [(-2.2, 0.4), (2.0, 0.9), (0.3, -1.8)][c as usize];
            ClusterPoint {
                id: i,
                x: cx + 1.5 * (noise(u64::from(i) * 3 + 1) - 0.5),
                y: cy + 1.1 * (noise(u64::from(i) * 3 + 2) - 0.5),
                cluster: Some(c),
                winner: false,
                label: format!("{}  valid/accuracy {:.4}", arch(i).0, early(i)),
            }
        })
        .collect();
    points[33].cluster = None;
    for c in 0..3 {
        if let Some(p) = points.iter_mut().find(|p| p.cluster == Some(c)) {
            p.winner = true;
        }
    }
    let winners: Vec<u32> = points.iter().filter(|p| p.winner).map(|p| p.id).collect();
    let clusters = Clusters {
        title: "Layer changes".into(),
        x_label: "first component".into(),
        y_label: "second component".into(),
        points,
        centroids: vec![[-2.2, 0.4], [2.0, 0.9], [0.3, -1.8]],
        names: vec!["slow, deep".into(), "fast".into(), "narrow".into()],
        note: "K = 3 by silhouette 0.41 · iteration 6 · J = 38.207".into(),
    };
    let candidates = Candidates {
        columns: vec![
            Column { name: "early".into(), decimals: 4, higher_is_better: Some(true) },
            Column { name: "final".into(), decimals: 4, higher_is_better: Some(true) },
            Column { name: "params".into(), decimals: 0, higher_is_better: Some(false) },
        ],
        rows: (0..40)
            .map(|i| {
                let (arch, glyph) = arch(i);
                Candidate {
                    id: i,
                    arch,
                    glyph,
                    cells: vec![Some(early(i)), (i < 12).then(|| last(i)), Some(600.0 + f64::from(i) * 1234.0)],
                    cluster: Some(cluster_of(i)),
                    winner: winners.contains(&i),
                    status: match i {
                        0..12 => "done".into(),
                        12 => "training".into(),
                        33 => "failed: loss became NaN in epoch 2".into(),
                        _ => "waiting".into(),
                    },
                }
            })
            .collect(),
    };
    let group = |g: u32, name: &str| ScatterGroup {
        name: name.into(),
        points: (0..40).filter(|i| cluster_of(*i) == g).map(|i| [early(i), last(i)]).collect(),
        labels: (0..40).filter(|i| cluster_of(*i) == g).map(|i| arch(i).0).collect(),
        ids: (0..40).filter(|i| cluster_of(*i) == g).collect(),
        trend: Some([0.02, 0.938]),
        joined: false,
    };
    let scatter = Scatter {
        title: "Early against final accuracy".into(),
        x_label: "early".into(),
        y_label: "final".into(),
        groups: vec![group(0, "slow, deep"), group(1, "fast"), group(2, "narrow")],
        note: "tau 0.204 over all, 0.387 within clusters, 0.205 ± 0.031 in random ones".into(),
        ..Scatter::default()
    };
    let similarity = Matrix {
        title: "Similarity".into(),
        row_labels: (0..40).map(|i| format!("{i:03}")).collect(),
        column_labels: (0..40).map(|i| format!("{i:03}")).collect(),
        values: (0..40)
            .map(|r| {
                (0..40).map(|c| Some(if r / 14 == c / 14 { 0.9 } else { 0.2 } - 0.2 * noise(r * 40 + c))).collect()
            })
            .collect(),
        breaks: vec![14, 28],
    };
    let table = Table {
        title: "Budget".into(),
        columns: vec!["phase".into(), "epoch-images".into(), "share".into()],
        rows: vec![
            vec!["features".into(), "46,080".into(), "28 %".into()],
            vec!["merge".into(), "115,200".into(), "72 %".into()],
        ],
    };
    vec![
        ("Clusters".into(), View::Clusters(clusters)),
        ("Candidates".into(), View::Candidates(candidates)),
        ("Ranking".into(), View::Scatter(scatter)),
        ("Similarity".into(), View::Matrix(similarity)),
        ("Budget".into(), View::Table(table)),
    ]
}

pub fn outcome() -> Outcome {
    let figures = [
        ("tau_global", Some(0.204)),
        ("tau_within", Some(0.387)),
        ("permutation_mean", Some(0.205)),
        ("permutation_p", Some(0.0033)),
        ("regret_global", Some(0.0067)),
        ("regret_clusters", Some(0.0017)),
        ("oracle_tau", None),
    ];
    let row = |cells: [&str; 4]| cells.map(String::from).to_vec();
    Outcome {
        verdict: "The ranking is better inside clusters than over all (0.387 against 0.205 ± 0.031 in random partitions, p = 0.003), and the merged winner has less regret at equal cost.".into(),
        figures: figures.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<BTreeMap<_, _>>(),
        tables: vec![Table {
            title: "Regret at equal cost".into(),
            columns: row(["pick", "final accuracy", "regret", "epoch-images"]).to_vec(),
            rows: vec![
                row(["cluster winners", "0.9716", "0.0017", "161,280"]),
                row(["global top-K", "0.9666", "0.0067", "161,280"]),
                row(["plain early stopping", "0.9666", "0.0067", "84,480"]),
            ],
        }],
        ..Outcome::default()
    }
}

/// The curve of a series at `x`.
pub fn curve(name: &str, x: f64) -> f64 {
    let jitter = 0.03 * (noise(x.to_bits() ^ name.len() as u64) - 0.5);
    match name.rsplit('/').next() {
        Some("loss") => 0.08 + 2.2 * (-x / 14.0).exp() + jitter,
        _ => 0.97 - 0.85 * (-x / 9.0).exp() + jitter,
    }
}

/// Names of the series of the experiment.
const ARMS: [&str; 4] =
    ["clusters: train/loss", "random: train/loss", "clusters: valid/accuracy", "random: valid/accuracy"];

/// Names of the series of any other run.
pub fn series_names() -> Vec<String> {
    let mut names: Vec<String> =
        ["train/loss", "valid/loss", "train/accuracy", "valid/accuracy"].map(String::from).to_vec();
    names.extend((0..12).map(|i| format!("cand-{i:03}/valid/accuracy")));
    names
}

const REACHED: f64 = 58.0;

fn points(name: &str) -> Vec<[f64; 2]> {
    let end = if name.starts_with("cand") { 20.0 } else { REACHED };
    (1..=end as u32).map(|i| [f64::from(i), curve(name, f64::from(i))]).collect()
}

pub fn spec() -> String {
    "# frozen by Kiln 0.1.0\nmethod = \"dc-nas\"\nseed = 1\n\n[data]\nset = \"digits\"\nvalid = 500\n\n[space]\nname = \"digits-mlp\"\n\n[optim]\nkind = \"sgd\"\nlr = 0.02\nmomentum = 0.9\n\n[dc-nas]\npopulation = 40\nearly-epochs = 2\nfull-epochs = 100\n".into()
}

pub fn detail(id: &RunId) -> RunDetail {
    let summary = summaries().into_iter().chain(jobs()).find(|s| s.id == *id).unwrap();
    RunDetail {
        outcome: (summary.state == RunState::Completed).then(outcome),
        summary,
        spec: spec(),
        series: if id.0 == EXPERIMENT { ARMS.map(String::from).to_vec() } else { series_names() }
            .into_iter()
            .map(|name| {
                let points = points(&name);
                let last = points[points.len() - 1];
                SeriesInfo {
                    points: points.len() as u64,
                    first_x: 1.0,
                    last_x: last[0],
                    last_y: Some(last[1]),
                    x_max: Some(100.0),
                    x_unit: "epochs".into(),
                    name,
                }
            })
            .collect(),
        views: if id.0.starts_with("train") { crate::fixture_search::views() } else { views() },
        folder: format!("/home/ada/.local/share/kiln/runs/{id}"),
        knobs: Vec::new(),
        marks: Vec::new(),
        jobs: if id.0 == EXPERIMENT { jobs() } else { vec![] },
        note: NOTE.into(),
    }
}

/// A running training, whose live settings can be changed; its epochs were.
pub fn tuned() -> RunDetail {
    let mut run = detail(&summaries()[1].id);
    (run.summary.method, run.summary.state) = ("train".into(), RunState::Running);
    run.spec = "method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n[optim]\nlr = 0.02\n[train]\nepochs = 30\n".into();
    run.knobs = vec![("train.epochs".into(), "40".into())];
    run
}

pub fn events() -> Vec<Event> {
    let log = |level, message: &str| Body::Log { level, message: message.into() };
    let mut bodies = vec![
        Body::Started {
            attempt: 1,
            resumed_from: None,
            device: "cpu (2 cores)".into(),
            host: "node17".into(),
            pid: 4711,
            version: "0.1.0".into(),
            x_max: BTreeMap::from([("*".to_owned(), 100.0)]),
            x_unit: BTreeMap::from([("*".to_owned(), "epochs".to_owned())]),
        },
        log(Level::Info, "digits: 1,797 images, 797 for training, 500 for validation, 500 for the test"),
        log(Level::Info, "space digits-mlp: 40 of 40 networks sampled, 20 of each family"),
    ];
    for i in 0..40 {
        bodies.push(log(Level::Debug, &format!("candidate {i:03} {}: early accuracy {:.4}", arch(i).0, early(i))));
    }
    bodies.extend([
        log(Level::Warn, "candidate 033 failed: its loss became NaN in epoch 2; it is left out of the clusters"),
        log(Level::Info, "K = 3 by silhouette 0.41 (2: 0.38, 4: 0.33)"),
        Body::Checkpoint { step: 320, bytes: 1_843_200, seconds: 0.031 },
        Body::Best(Best { name: "valid/accuracy".into(), value: 0.9612, higher_is_better: true }),
        log(Level::Error, "cannot write artifacts/clusters.png: the disk is full; the run goes on without it"),
    ]);
    bodies
        .into_iter()
        .enumerate()
        .map(|(i, body)| Event { seq: i as u64 + 1, t: NOW - 94.0 + i as f64 * 1.7, body })
        .collect()
}

pub fn system() -> System {
    System {
        cpu: 0.97,
        cores: 2,
        ram_used: 3_328_599_654,
        ram_total: 16_750_372_454,
        disk_free: 227_633_266_688,
        disk_total: 500_000_000_000,
        gpus: vec![Gpu {
            index: 0,
            name: "NVIDIA H100".into(),
            utilisation: 0.87,
            memory_used: 12_884_901_888,
            memory_total: 85_899_345_920,
            temperature: 64,
            power: 412.0,
            power_limit: 700.0,
            clock: 1830,
            clock_max: 1980,
            memory_clock: 2619,
            processes: vec![
                GpuProcess {
                    pid: 4711,
                    memory: 9_884_901_888,
                    name: "kiln-worker".into(),
                    run: Some(summaries()[1].id.clone()),
                },
                GpuProcess { pid: 812, memory: 2_900_000_000, name: "python3".into(), run: None },
            ],
        }],
        shares: vec![
            Share { run: summaries()[0].id.clone(), pid: 4711, cpu: 1.93, ram: 612_000_000, gpu_memory: 0 },
            Share {
                run: summaries()[1].id.clone(),
                pid: 4712,
                cpu: 0.41,
                ram: 1_912_000_000,
                gpu_memory: 9_884_901_888,
            },
        ],
        folder: Folder { kind: "nfs4".into(), network: true, latency: Some(0.0042), waiting: None },
        load: 2.31,
        t: NOW,
    }
}

/// Fills the page of the machine: history, advice, a queue of several.
pub fn machine(m: &mut Model) {
    let past = |i: u32| {
        let wave = f64::from(i) / 9.0;
        Sample {
            t: NOW - 120.0 + f64::from(i),
            cpu: 0.5 + 0.45 * wave.sin(),
            ram: 0.2,
            disk: 0.5 + f64::from(i) * 4e-4,
            gpus: vec![[0.6 + 0.3 * (wave * 1.7).cos(), 0.15]],
        }
    };
    m.machine.history = (0..120).map(past).collect();
    let mut waiting = summaries()[0].clone();
    waiting.state = RunState::Queued;
    let queued = |(i, name): (usize, &str)| RunSummary {
        id: RunId(name.into()),
        priority: i32::from(i == 0),
        created: NOW - 300.0 + 60.0 * i as f64,
        device: None,
        ..waiting.clone()
    };
    m.runs.merge(["train-digits-q1aa", "hournas-digits-q2bb"].into_iter().enumerate().map(queued).collect());
    m.machine.advice = vec![
        Advice {
            rule: "over-fitting".into(),
            level: Level::Warn,
            run: Some(summaries()[1].id.clone()),
            what: "valid/loss has risen from 0.3121 at 21 to 0.4017, while train/loss fell from 0.1904 to 0.0312."
                .into(),
            remedy: "The best checkpoint is kept: the run can be stopped.".into(),
        },
        Advice {
            rule: "plateau".into(),
            level: Level::Info,
            run: Some(summaries()[0].id.clone()),
            what: "valid/accuracy has not got better than 0.9711 since 40.".into(),
            remedy: "Lower the learning rate.".into(),
        },
    ];
}

/// The settings of a preset of the method `train`, as the launcher tells them.
pub fn settings() -> Vec<Setting> {
    let says = |field: &Field| match field.key.as_str() {
        "data.set" => "fashion".to_owned(),
        "space.name" => "conv-cells".to_owned(),
        _ => match &field.default {
            Some(default) => default.to_string().trim_matches('"').to_owned(),
            None => String::new(),
        },
    };
    let shown = |f: &Field| !matches!(f.key.as_str(), "method" | "title" | "description" | "arms" | "sweep.over");
    let fields = schema::fields(MethodName::Train).into_iter().filter(shown);
    fields.map(|field| Setting { value: says(&field), field, filed: None }).collect()
}

/// Figures of a preset; those named with another value were that before the changes.
pub fn costs(before: &[(&str, &str)]) -> Vec<Cost> {
    let cost = |(name, value): (&'static str, &str)| Cost {
        name,
        value: value.to_owned(),
        was: before.iter().find(|(n, _)| *n == name).map(|(_, was)| (*was).to_owned()),
    };
    [("parameters", "4.8 k"), ("MACs", "4.7 k"), ("time", "about 80 s"), ("memory", "264 MB")].map(cost).to_vec()
}

pub fn presets() -> Vec<PresetInfo> {
    let preset = |name: &str, title: &str, estimate: &str| {
        PresetInfo {
        name: name.into(),
        title: title.into(),
        description: "Samples 40 small networks of two speed families, trains each for two epochs, clusters them by how their layers change, and compares only within clusters.\n\nThe three mandatory comparisons (equal-cost global top-K, random partitions, plain early stopping) are part of the outcome.".into(),
        method: if name.starts_with("dc") { "dc-nas" } else { "train" }.into(),
        estimate: estimate.into(),
        problem: None,
        mistaken: false,
        default: name == "dc-nas-digits",
        known: true,
        costs: costs(&[]),
        run_as: String::new(),
    }
    };
    let mut all = vec![
        preset("dc-nas-cifar10", "DC-NAS on CIFAR-10", "about 3 h on one GPU · 2,624 epochs"),
        preset("dc-nas-digits", "DC-NAS on the 8x8 digits", "about 80 s on 2 CPU cores · 1,632 epochs"),
        preset("dc-nas-fashion", "DC-NAS on Fashion-MNIST", "about 12 min on one GPU"),
        preset("train-digits", "One network on the 8x8 digits", "about 3 s"),
    ];
    all[2].problem = Some("presets/dc-nas-fashion.toml, line 7: data.path: there is no folder `fashion-mnist`; give the folder with the four IDX files".into());
    all
}

/// A model that has heard of runs and machine, at this size.
pub fn model(size: Size) -> Model {
    let mut m = Model::new(presets(), Start::Auto, true, size, NOW);
    update(&mut m, Msg::Connected { version: "0.1.0".into(), pid: 99 });
    reply(&mut m, |ask| matches!(ask, Ask::Runs), Reply::Runs { runs: summaries() });
    push(&mut m, Push::System { system: system() });
    m
}

/// A model with the experiment open.
pub fn experiment(size: Size) -> Model {
    let mut m = model(size);
    m.runs.selected = Some(RunId(EXPERIMENT.into()));
    keys(&mut m, "enter");
    m
}

/// A model with a search open: map of blocks, curves with error bars, predictions, front.
pub fn search(size: Size) -> Model {
    let mut m = model(size);
    m.runs.selected = Some(summaries()[1].id.clone());
    keys(&mut m, "enter");
    m
}

/// A model with a training open: histograms, pictures, layers.
pub fn training(size: Size) -> Model {
    let mut m = search(size);
    let run = summaries()[1].id.clone();
    m.detail.as_mut().unwrap().views.clear();
    let view = |(i, (name, view)): (usize, (String, View))| Event {
        seq: 7000 + i as u64,
        t: NOW,
        body: Body::View { name, view: Box::new(view) },
    };
    let events = crate::fixture_training::views().into_iter().enumerate().map(view).collect();
    push(&mut m, Push::Events { run, events });
    m
}

/// A model with the first run open and loaded, its curves answered.
pub fn opened(size: Size) -> Model {
    let mut m = model(size);
    m.runs.selected = Some(summaries()[0].id.clone());
    keys(&mut m, "enter");
    m
}

pub fn push(m: &mut Model, push: Push) {
    let effects = update(m, Msg::Frame(Box::new(FromEngine::Push(push))));
    answer(m, effects);
}

/// Answers the newest question of a kind.
fn reply(m: &mut Model, which: impl Fn(&Ask) -> bool, reply: Reply) {
    let id = m.asked.find(which).unwrap();
    let effects = update(m, Msg::Frame(Box::new(FromEngine::Reply { id, reply: Ok(reply) })));
    answer(m, effects);
}

/// Presses keys, apart by blanks, and answers what they ask of the engine.
pub fn keys(m: &mut Model, keys: &str) -> Vec<Effect> {
    let mut all = Vec::new();
    for key in keys.split(' ') {
        let effects = update(m, Msg::Key(key.parse().unwrap()));
        all.extend(effects.clone());
        answer(m, effects);
    }
    all
}

/// Plays the engine and the launcher: answers questions about runs as far as the fixture knows them.
pub fn answer(m: &mut Model, effects: Vec<Effect>) {
    use kiln_protocol::wire::Request;
    for effect in effects {
        let frame = match effect {
            Effect::Send(frame) => frame,
            Effect::Compare(runs) => {
                let found = Box::new(Ok(fixture_compare::comparison()));
                let effects = update(m, Msg::Compared { runs, found });
                answer(m, effects);
                continue;
            }
            Effect::Weigh { figure, against, .. } => {
                let effects = update(m, Msg::Weighed(Box::new(fixture_compare::weighed(&figure, &against))));
                answer(m, effects);
                continue;
            }
            _ => continue,
        };
        let reply = match frame.request {
            Request::Run { run } => Reply::Run { run: Box::new(detail(&run)) },
            Request::Events { .. } => Reply::Events { events: events() },
            Request::Series { run, names, .. } => Reply::Series {
                series: names
                    .into_iter()
                    .map(|name| {
                        if let Some(series) = fixture_compare::series(&run, &name).filter(|_| m.compare.is_some()) {
                            return series;
                        }
                        if ARMS.contains(&name.as_str()) {
                            return means(&name);
                        }
                        let points = points(&name);
                        Series { total: points.len() as u64, points, name, ..Series::default() }
                    })
                    .collect(),
            },
            Request::Clock { run, names } => {
                Reply::Clock { clocks: names.iter().filter_map(|name| fixture_compare::clock(&run, name)).collect() }
            }
            Request::Watch { .. } => Reply::Done,
            Request::Past { .. } => Reply::Past { states: crate::fixture_training::past() },
            _ => continue,
        };
        let effects = update(m, Msg::Frame(Box::new(FromEngine::Reply { id: frame.id, reply: Ok(reply) })));
        answer(m, effects);
    }
}
