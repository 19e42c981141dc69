//! The store as its users see it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kiln_protocol::home::Home;
use kiln_protocol::run::{Best, Figure, Progress, Table};
use kiln_protocol::spool::{EventTail, EventWriter};
use kiln_protocol::view::{Candidate, Candidates};
use kiln_protocol::{Body, Event, Level, Outcome, RunId, RunState, RunSummary, View};

use crate::codec::tests::Noise;
use crate::{Store, StoreError};

fn id() -> RunId {
    RunId("test-0001".into())
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    (dir, path)
}

fn open(path: &Path) -> Store {
    let (store, opening) = Store::open(path).unwrap();
    assert!(opening.notices.is_empty(), "{:?}", opening.notices);
    store
}

fn with_run(path: &Path) -> Store {
    let store = open(path);
    store.insert(RunSummary::queued(id(), 1.0), "title = \"t\"").unwrap();
    store
}

fn started(attempt: u32, resumed_from: Option<u64>) -> Body {
    Body::Started {
        attempt,
        resumed_from,
        device: "cpu".into(),
        host: "h".into(),
        pid: 7,
        version: "0.1.0".into(),
        x_max: BTreeMap::from([("a".into(), 10.0), ("*".into(), 20.0)]),
        x_unit: BTreeMap::from([("a".into(), "networks".into()), ("*".into(), "epochs".into())]),
    }
}

fn log(message: impl Into<String>) -> Body {
    Body::Log { level: Level::Info, message: message.into() }
}

fn points(series: &str, points: &[[f64; 2]]) -> Body {
    Body::Points { series: series.into(), points: points.to_vec() }
}

/// Numbers bodies from 1 on.
fn events(bodies: impl IntoIterator<Item = Body>) -> Vec<Event> {
    bodies.into_iter().zip(1..).map(|(body, seq)| Event { seq, t: seq as f64, body }).collect()
}

fn bits(points: &[[f64; 2]]) -> Vec<[u64; 2]> {
    points.iter().map(|p| p.map(f64::to_bits)).collect()
}

/// What a chart has to show, computed the slow way.
fn decimated(all: &[[f64; 2]], from: Option<f64>, to: Option<f64>, columns: u32) -> (Vec<[f64; 2]>, u64) {
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return (vec![], 0) };
    let (from, to) = (from.unwrap_or(first[0]), to.unwrap_or(last[0]));
    let inside: Vec<[f64; 2]> = all.iter().copied().filter(|p| p[0] >= from && p[0] <= to).collect();
    let total = inside.len() as u64;
    if columns == 0 || total <= 2 * u64::from(columns) {
        return (inside, total);
    }
    let scale = f64::from(columns) / (to - from);
    let scale = if scale.is_finite() { scale } else { 0.0 };
    let mut buckets: BTreeMap<u32, Vec<[f64; 2]>> = BTreeMap::new();
    for p in inside {
        let column = ((p[0] - from) * scale).floor().clamp(0.0, f64::from(columns - 1));
        buckets.entry(column as u32).or_default().push(p);
    }
    let mut out = Vec::new();
    for bucket in buckets.values() {
        let finite = || bucket.iter().enumerate().filter(|p| p.1[1].is_finite());
        let min = finite().reduce(|a, b| if b.1[1] < a.1[1] { b } else { a });
        let max = finite().reduce(|a, b| if b.1[1] > a.1[1] { b } else { a });
        match (min, max) {
            (Some(min), Some(max)) if min.0 == max.0 => out.push(*min.1),
            (Some(min), Some(max)) if min.1[0] <= max.1[0] => out.extend([*min.1, *max.1]),
            (Some(min), Some(max)) => out.extend([*max.1, *min.1]),
            _ => out.push([bucket[0][0], f64::NAN]),
        }
    }
    (out, total)
}

fn check_series(store: &Store, name: &str, expected: &[[f64; 2]], noise: &mut Noise) {
    let all = store.series(&id(), name, None, None, 0).unwrap();
    assert_eq!(bits(&all.points), bits(expected));
    assert_eq!(all.total, expected.len() as u64);
    let (lo, hi) = (expected.first().map_or(0.0, |p| p[0]), expected.last().map_or(0.0, |p| p[0]));
    for round in 0..12 {
        let mut edge = |open: bool| (!open).then(|| lo + (hi - lo) * (noise.unit() * 1.2 - 0.1));
        let (from, to) = (edge(round % 3 == 0), edge(round % 4 == 0));
        for columns in [1, 2, 7, 200] {
            let got = store.series(&id(), name, from, to, columns).unwrap();
            let (points, total) = decimated(expected, from, to, columns);
            assert_eq!(got.total, total, "{name} {from:?}..{to:?}");
            assert_eq!(bits(&got.points), bits(&points), "{name} {from:?}..{to:?} in {columns}");
        }
    }
}

/// Attempts that crash and resume, batches cut anywhere, the store closed in between: always the series that a simple
/// reading of the rules gives.
#[test]
fn series_are_what_the_rules_say_however_they_came_in() {
    let mut noise = Noise(11);
    for (step, rounds) in [(1.0, 4), (1.0 / 391.0, 2)] {
        let (_dir, path) = temp();
        let mut store = with_run(&path);
        let mut model: BTreeMap<String, Vec<[f64; 2]>> = BTreeMap::new();
        let (mut seq, mut x) = (0u64, BTreeMap::<String, u64>::new());
        for attempt in 1..=rounds {
            let mut bodies = vec![started(attempt, (attempt > 1).then_some(5))];
            let mut cut: Vec<String> = vec![];
            if attempt > 1 {
                // The checkpoint lies somewhere back, for each series elsewhere.
                for at in x.values_mut() {
                    *at -= noise.bits() % (*at / 2 + 1);
                }
            }
            for _ in 0..60 {
                let name = ["a", "b", "cand-007/valid/accuracy"][noise.bits() as usize % 3].to_owned();
                let at = x.entry(name.clone()).or_default();
                let n = [1, 3, 40, 900][noise.bits() as usize % 4];
                let new: Vec<[f64; 2]> = (0..n)
                    .map(|_| {
                        *at += noise.bits() % 3;
                        let y = noise.unit();
                        let y = if y < 0.01 {
                            f64::NAN
                        } else if y < 0.015 {
                            f64::INFINITY
                        } else {
                            y
                        };
                        [*at as f64 * step, y]
                    })
                    .collect();
                let line = model.entry(name.clone()).or_default();
                if !cut.contains(&name) {
                    line.retain(|p| p[0] < new[0][0]);
                    cut.push(name.clone());
                }
                line.extend(&new);
                bodies.push(points(&name, &new));
            }
            if attempt == 2 {
                bodies.push(Body::Stopped { step: 9, reason: "asked for".into() });
            }
            let numbered: Vec<Event> = bodies
                .into_iter()
                .map(|body| {
                    seq += 1;
                    Event { seq, t: seq as f64, body }
                })
                .collect();
            let mut rest = &numbered[..];
            while !rest.is_empty() {
                let (batch, behind) = rest.split_at(rest.len().min(1 + noise.bits() as usize % 9));
                let done = store.ingest(&id(), batch, batch[batch.len() - 1].seq * 10).unwrap();
                assert_eq!((done.applied, done.problems.len()), (batch.len(), 0));
                rest = behind;
                if noise.bits().is_multiple_of(7) {
                    drop(store);
                    store = open(&path);
                }
            }
            for (name, expected) in &model {
                check_series(&store, name, expected, &mut noise);
            }
            assert_eq!(store.offset(&id()).unwrap(), seq * 10);
        }
        drop(store);
        let store = open(&path);
        for (name, expected) in &model {
            check_series(&store, name, expected, &mut noise);
        }
        assert!(model.values().any(|line| line.len() > 5000), "groups and chunks were met");
    }
}

#[test]
fn a_run_comes_back_whole_after_the_store_was_closed() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    let row = |id: u32, status: &str| Candidate {
        id,
        arch: "a".into(),
        glyph: vec![],
        cells: vec![Some(0.5), None],
        cluster: None,
        winner: false,
        status: status.into(),
    };
    let table = |rows| Box::new(View::Candidates(Candidates { columns: vec![], rows }));
    let outcome = Outcome {
        verdict: "it held".into(),
        figures: BTreeMap::from([("tau".into(), Some(0.1 + 0.2)), ("p".into(), None)]),
        tables: vec![Table::default()],
        headline: vec![Figure::new("tau", true)],
        flaws: vec!["diverged".into()],
    };
    let best = Best { name: "valid/accuracy".into(), value: 0.9, higher_is_better: true };
    let progress = Progress { done: 3.0, total: 4.0, unit: "epochs".into(), note: "n".into() };
    let all = events([
        started(1, None),
        log("first"),
        points("a", &[[0.0, 1.0], [1.0, f64::NAN]]),
        points("b", &[[0.5, f64::INFINITY]]),
        Body::View { name: "candidates".into(), view: table(vec![row(1, "waiting"), row(2, "waiting")]) },
        Body::View { name: "other".into(), view: Box::new(View::Table(Table::default())) },
        Body::View { name: "candidates".into(), view: table(vec![row(2, "done"), row(3, "waiting")]) },
        Body::Progress(progress.clone()),
        Body::Best(best.clone()),
        Body::Beat { rss: 1, device_memory: 0 },
        Body::Completed { outcome: Box::new(outcome.clone()) },
    ]);
    let mut states = vec![];
    for event in &all {
        let done = store.ingest(&id(), std::slice::from_ref(event), event.seq).unwrap();
        if done.state_changed {
            states.push(done.summary.state);
        }
    }
    assert_eq!(states, [RunState::Running, RunState::Completed]);
    let before = store.detail(&id(), Path::new("/f")).unwrap();
    drop(store);
    let store = open(&path);
    let detail = store.detail(&id(), Path::new("/f")).unwrap();
    assert_eq!(detail, before);
    assert_eq!((detail.spec.as_str(), detail.folder.as_str()), ("title = \"t\"", "/f"));
    assert_eq!(detail.outcome, Some(outcome));
    assert_eq!((detail.summary.best, detail.summary.progress), (Some(best), progress));
    assert_eq!(detail.views.iter().map(|v| v.0.as_str()).collect::<Vec<_>>(), ["candidates", "other"]);
    let View::Candidates(candidates) = &detail.views[0].1 else { panic!() };
    let rows: Vec<_> = candidates.rows.iter().map(|r| (r.id, r.status.as_str())).collect();
    assert_eq!(rows, [(1, "waiting"), (2, "done"), (3, "waiting")]);
    let series: Vec<_> =
        detail.series.iter().map(|s| (s.name.as_str(), s.points, s.first_x, s.last_x, s.last_y, s.x_max)).collect();
    assert_eq!(series, [("a", 2, 0.0, 1.0, None, Some(10.0)), ("b", 1, 0.5, 0.5, None, Some(20.0))]);
    assert_eq!(detail.series.iter().map(|s| s.x_unit.as_str()).collect::<Vec<_>>(), ["networks", "epochs"]);
    let told: Vec<u64> = store.events(&id(), 0, 100, false).unwrap().iter().map(|e| e.seq).collect();
    assert_eq!(told, [1, 2, 9, 11], "points, views, progress and beats are no log");
    assert!(matches!(store.series(&id(), "c", None, None, 0), Err(StoreError::NoSeries { .. })));
    assert!(matches!(store.summary(&RunId("x".into())), Err(StoreError::NoRun(_))));
}

#[test]
fn events_seen_before_change_nothing() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    let all = events([started(1, None), points("a", &[[0.0, 1.0]]), log("x"), points("a", &[[1.0, 2.0]])]);
    store.ingest(&id(), &all[..3], 3).unwrap();
    let again = store.ingest(&id(), &all, 4).unwrap();
    assert_eq!(again.applied, 1);
    // A reader that lags behind tells old news: neither they nor its place count.
    assert_eq!(store.ingest(&id(), &all[..2], 2).unwrap().applied, 0);
    assert_eq!(store.offset(&id()).unwrap(), 4);
    assert_eq!(store.series(&id(), "a", None, None, 0).unwrap().points, [[0.0, 1.0], [1.0, 2.0]]);
    assert_eq!(store.events(&id(), 0, 10, false).unwrap().len(), 2);
}

#[test]
fn points_that_go_back_within_an_attempt_are_left_out_and_said() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    let all =
        events([started(1, None), points("a", &[[1.0, 1.0], [0.5, 2.0], [f64::NAN, 3.0], [1.0, 4.0], [2.0, 5.0]])]);
    let done = store.ingest(&id(), &all, 1).unwrap();
    assert!(done.problems[0].starts_with("2 points of series `a`"), "{:?}", done.problems);
    assert_eq!(store.series(&id(), "a", None, None, 0).unwrap().points, [[1.0, 1.0], [1.0, 4.0], [2.0, 5.0]]);
}

#[test]
fn a_run_started_from_the_beginning_again_shows_nothing_of_before() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    let line: Vec<[f64; 2]> = (0..2000).map(|i| [f64::from(i), 1.0]).collect();
    let view = || Body::View { name: "v".into(), view: Box::new(View::Table(Table::default())) };
    let all = events([
        started(1, None),
        points("old", &line),
        points("both", &line),
        view(),
        started(2, None),
        points("both", &[[5.0, 5.0]]),
        view(),
    ]);
    store.ingest(&id(), &all[..4], 4).unwrap();
    store.ingest(&id(), &all, 7).unwrap();
    let check = |store: &Store| {
        let detail = store.detail(&id(), Path::new("")).unwrap();
        assert_eq!(detail.series.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["both"]);
        assert_eq!(store.series(&id(), "both", None, None, 0).unwrap().points, [[5.0, 5.0]]);
        assert_eq!(detail.views.len(), 1);
        assert_eq!(store.events(&id(), 0, 10, false).unwrap().len(), 2);
    };
    check(&store);
    drop(store);
    check(&open(&path));
}

#[test]
fn the_log_is_read_from_either_end() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    // Every third event is a beat, which is no log line.
    let bodies =
        (0..1000).map(|i| if i % 3 == 0 { Body::Beat { rss: i, device_memory: 0 } } else { log(format!("{i}")) });
    let all = events(bodies);
    let lines: Vec<u64> = all.iter().filter(|e| e.body.is_lifecycle()).map(|e| e.seq).collect();
    for batch in all.chunks(37) {
        store.ingest(&id(), batch, 1).unwrap();
    }
    for after in [0, 1, 63, 64, 500, 997, 998, 999, 1000, 5000] {
        for limit in [0, 1, 10, 200, 5000] {
            let want: Vec<u64> = lines.iter().copied().filter(|seq| *seq > after).collect();
            let got =
                |tail| -> Vec<u64> { store.events(&id(), after, limit, tail).unwrap().iter().map(|e| e.seq).collect() };
            let n = want.len().min(limit as usize);
            assert_eq!(got(false), want[..n], "after {after} limit {limit}");
            assert_eq!(got(true), want[want.len() - n..], "after {after} limit {limit}, newest");
        }
    }
}

#[test]
fn a_removed_run_leaves_nothing_and_others_stay() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    let other = RunId("other-0002".into());
    store.insert(RunSummary::queued(other.clone(), 2.0), "").unwrap();
    assert!(matches!(store.insert(RunSummary::queued(other.clone(), 2.0), ""), Err(StoreError::Exists(_))));
    let line: Vec<[f64; 2]> = (0..3000).map(|i| [f64::from(i), 1.0]).collect();
    let all = events([started(1, None), points("a", &line), log("x")]);
    store.ingest(&id(), &all, 1).unwrap();
    store.ingest(&other, &all, 1).unwrap();
    assert_eq!(store.runs().unwrap().iter().map(|r| r.id.0.as_str()).collect::<Vec<_>>(), ["other-0002", "test-0001"]);
    store.remove(&other).unwrap();
    assert_eq!(store.runs().unwrap().len(), 1);
    drop(store);
    let store = open(&path);
    assert_eq!(store.runs().unwrap().len(), 1);
    assert_eq!(store.series(&id(), "a", None, None, 0).unwrap().total, 3000);
    store.insert(RunSummary::queued(other.clone(), 3.0), "").unwrap();
    assert_eq!(store.detail(&other, Path::new("")).unwrap().series.len(), 0);
    let changed = store.update(&other, |s| (s.priority, s.state) = (5, RunState::Starting)).unwrap();
    assert_eq!((changed.priority, changed.state), (5, RunState::Starting));
    drop(store);
    assert_eq!(open(&path).summary(&other).unwrap(), changed);
}

#[test]
fn more_runs_than_are_kept_in_memory() {
    let (_dir, path) = temp();
    let store = open(&path);
    let name = |i: u32| RunId(format!("r-{i:04}"));
    for round in 0..3u32 {
        for i in 0..40 {
            if round == 0 {
                store.insert(RunSummary::queued(name(i), f64::from(i)), "").unwrap();
            }
            let x = f64::from(round);
            let event = Event { seq: u64::from(round) + 1, t: 1.0, body: points("a", &[[x, f64::from(i)]]) };
            store.ingest(&name(i), &[event], 1).unwrap();
        }
    }
    for i in 0..40 {
        let y = f64::from(i);
        let read = store.series(&name(i), "a", None, None, 0).unwrap().points;
        assert_eq!(read, [[0.0, y], [1.0, y], [2.0, y]]);
    }
}

/// A million points: on disk in few bytes, decimated right from the coarse levels.
#[test]
fn a_million_points() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    let mut noise = Noise(5);
    let line: Vec<[f64; 2]> = (0..1_000_000)
        .map(|i| {
            let x = f64::from(i) / 469.0;
            let y = 2.3 * (-x / 300.0).exp() + 0.1 * noise.unit();
            [x, if i % 100_003 == 7 { f64::NAN } else { f64::from(y as f32) }]
        })
        .collect();
    for (i, batch) in line.chunks(4000).enumerate() {
        let event = Event { seq: i as u64 + 1, t: 1.0, body: points("train/loss", batch) };
        store.ingest(&id(), &[event], 1).unwrap();
    }
    for (from, to, columns) in
        [(None, None, 200), (Some(100.0), Some(1900.5), 200), (Some(700.0), Some(700.9), 200), (None, Some(0.0), 3)]
    {
        let got = store.series(&id(), "train/loss", from, to, columns).unwrap();
        let (want, total) = decimated(&line, from, to, columns);
        assert_eq!((bits(&got.points), got.total), (bits(&want), total));
    }
    drop(store);
    let bytes = crate::database::bytes_on_disk(&path) as f64 / 1e6;
    assert!(bytes <= 8.0, "{bytes} bytes a point");
    let store = open(&path);
    let got = store.series(&id(), "train/loss", None, None, 200).unwrap();
    assert_eq!(bits(&got.points), bits(&decimated(&line, None, None, 200).0));
}

/// Many small batches, as a run brings them all day: sled must go on reusing its room, and must not lock up while it does
/// (see `Changes::apply`).
#[test]
fn many_small_batches_reuse_their_room() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut noise = Noise(8);
        for seq in 1..=3000_u32 {
            let line: Vec<[f64; 2]> =
                (0..20).map(|i| [f64::from(seq * 20 + i), f64::from(noise.unit() as f32)]).collect();
            let event = Event { seq: u64::from(seq), t: 1.0, body: points("a", &line) };
            store.ingest(&id(), &[event], u64::from(seq)).unwrap();
        }
        let _ = done.send(store.bytes_on_disk());
    });
    let bytes = finished.recv_timeout(std::time::Duration::from_secs(300)).expect("sled has locked up");
    assert!(bytes < 3 << 20, "{bytes} bytes for 60,000 points");
}

// Other processes: the tests run themselves again with this variable.
const CHILD: &str = "KILN_TEST_STORE";

fn child(test: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::{test}"), "--nocapture", "--quiet"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn inside() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// The event of a number: what the killed child ingests and what the parent expects.
fn numbered(seq: u64) -> Event {
    let body = match seq {
        1 => started(1, None),
        n if n.is_multiple_of(5) => log(format!("line {n}")),
        n => points(["a", "b"][n as usize % 2], &[[n as f64, (n as f64).sin()], [n as f64 + 0.5, f64::NAN]]),
    };
    Event { seq, t: seq as f64, body }
}

#[test]
fn a_kill_at_any_instant_loses_nothing_flushed_and_doubles_nothing() {
    if let Some(path) = inside() {
        let store = Store::open(&path).unwrap().0;
        let mut seq = store.offset(&id()).unwrap();
        let mut noise = Noise(seq);
        loop {
            let n = 1 + noise.bits() % 400;
            let batch: Vec<Event> = (seq + 1..=seq + n).map(numbered).collect();
            seq += n;
            store.ingest(&id(), &batch, seq).unwrap();
            println!("flushed {seq}");
        }
    }
    let (_dir, path) = temp();
    drop(with_run(&path));
    let mut noise = Noise(3);
    let mut last = 0;
    for round in 0..12 {
        let mut child = child("a_kill_at_any_instant_loses_nothing_flushed_and_doubles_nothing", &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Wait for the first flush, then for an instant.
        let first = lines.find(|l| l.as_ref().is_ok_and(|l| l.starts_with("flushed"))).unwrap().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(noise.bits() % 60));
        child.kill().unwrap();
        child.wait().unwrap();
        let told = lines.map_while(Result::ok).filter(|l| l.starts_with("flushed")).last().unwrap_or(first);
        let flushed: u64 = told.split(' ').nth(1).unwrap().parse().unwrap();

        let (store, _) = Store::open(&path).unwrap();
        let offset = store.offset(&id()).unwrap();
        assert!(offset >= flushed, "round {round}: {offset} < {flushed}");
        assert!(offset > last, "the child goes on where the last one was killed");
        last = offset;
        assert_eq!(store.summary(&id()).unwrap().last_seq, offset);
        let mut expected: BTreeMap<&str, Vec<[f64; 2]>> = BTreeMap::new();
        let mut lines = vec![];
        let all: Vec<Event> = (1..=offset).map(numbered).collect();
        for event in &all {
            match &event.body {
                Body::Points { series, points } => expected.entry(series).or_default().extend(points),
                _ => lines.push(event.clone()),
            }
        }
        for (name, points) in expected {
            assert_eq!(bits(&store.series(&id(), name, None, None, 0).unwrap().points), bits(&points), "round {round}");
        }
        assert_eq!(store.events(&id(), 0, u32::MAX, false).unwrap(), lines, "round {round}");
    }
}

/// A limit on the size of files answers as a full disk does, and needs no disk of its own.
#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    if let Some(path) = inside() {
        let store = Store::open(&path).unwrap().0;
        let mut seq = store.offset(&id()).unwrap();
        let full = loop {
            let batch: Vec<Event> = (seq + 1..=seq + 2000).map(numbered).collect();
            match store.ingest(&id(), &batch, seq + 2000) {
                Ok(_) => seq += 2000,
                Err(e) => break e,
            }
            assert!(seq < 1_000_000, "the limit was never met");
        };
        // Later questions either work or say so; none hangs or panics.
        let again = store.offset(&id()).map(|offset| assert!(offset <= seq + 2000));
        println!("full: {} {full}; then: {again:?}", full.is_disk_full());
        std::process::exit(0);
    }
    let (_dir, path) = temp();
    let store = with_run(&path);
    store.ingest(&id(), &(1..=500).map(numbered).collect::<Vec<_>>(), 500).unwrap();
    drop(store);
    let test = "tests::a_full_disk_is_an_error_and_nothing_is_lost";
    let script = format!("trap '' XFSZ; ulimit -f 2048 || exit 9; exec \"$0\" --exact {test} --nocapture --quiet");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env(CHILD, &path);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("full: true"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (store, _) = Store::open(&path).unwrap();
    let offset = store.offset(&id()).unwrap();
    assert!(offset >= 500);
    let expected = (1..=offset).filter(|seq| matches!(numbered(*seq).body, Body::Points { .. })).count() as u64 * 2;
    let stored: u64 = store.detail(&id(), Path::new("")).unwrap().series.iter().map(|s| s.points).sum();
    assert_eq!(stored, expected);
}

#[test]
fn a_second_engine_is_told_who_has_the_store() {
    if let Some(path) = inside() {
        let _store = Store::open(&path).unwrap().0;
        println!("open");
        loop {
            std::thread::park();
        }
    }
    let (_dir, path) = temp();
    let mut child = child("a_second_engine_is_told_who_has_the_store", &path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap() == "open"));
    let second = Store::open(&path).err().unwrap();
    assert!(matches!(second, StoreError::InUse { pid, .. } if pid == child.id()), "{second}");
    assert!(second.to_string().contains(&child.id().to_string()));
    child.kill().unwrap();
    child.wait().unwrap();
    open(&path);
}

#[test]
fn a_torn_snapshot_is_repaired() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    store.ingest(&id(), &events([started(1, None), points("a", &[[0.0, 1.0]])]), 77).unwrap();
    drop(store);
    for torn in [&b""[..], &[7; 13], &[0; 5000]] {
        for entry in fs::read_dir(&path).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        fs::write(path.join("snap.00000000000000FF"), torn).unwrap();
        let (store, opening) = Store::open(&path).unwrap();
        assert!(opening.moved_aside.is_none());
        assert!(opening.notices[0].contains("torn snapshot"), "{:?}", opening.notices);
        assert_eq!(store.offset(&id()).unwrap(), 77);
        assert_eq!(store.series(&id(), "a", None, None, 0).unwrap().points, [[0.0, 1.0]]);
    }
}

#[test]
fn a_store_of_a_newer_kiln_is_refused_and_left_alone() {
    let (_dir, path) = temp();
    drop(with_run(&path));
    let (db, _) = crate::database::open(&path, 1 << 20).unwrap();
    db.open_tree("meta").unwrap().insert("schema", &99_u32.to_be_bytes()).unwrap();
    drop(db);
    let newer = Store::open(&path).err().unwrap();
    assert!(matches!(newer, StoreError::Newer { found: 99, .. }), "{newer}");
    assert!(path.is_dir());
}

/// A home with two runs: one of a few events, one of many.
fn home(dir: &Path) -> Home {
    let home = Home::new(dir.join("home")).unwrap();
    home.create().unwrap();
    for (name, n) in [("short-0001", 3), ("train-x-0002", 400)] {
        let folder = home.run_folder(&RunId(name.into()));
        folder.create("method = \"nonsense\"").unwrap();
        let mut writer = EventWriter::open(&folder).unwrap();
        for seq in 1..=n {
            writer.append(numbered(seq).body).unwrap();
        }
    }
    home
}

#[test]
fn run_folders_are_caught_up_with_and_rebuilt_from() {
    let (dir, path) = temp();
    let home = home(dir.path());
    let store = open(&path);
    let done = store.catch_up(&home).unwrap();
    assert_eq!((done.runs, done.events), (2, 403));
    assert!(done.problems[0].contains("spec.toml"), "{:?}", done.problems);
    let long = RunId("train-x-0002".into());
    let summary = store.summary(&long).unwrap();
    assert_eq!((summary.preset.as_str(), summary.last_seq, summary.state), ("train-x", 400, RunState::Running));
    assert_eq!(store.spec(&long).unwrap(), "method = \"nonsense\"");
    let before = store.detail(&long, Path::new("")).unwrap();
    assert_eq!(store.catch_up(&home).unwrap().events, 0, "nothing is read twice");

    // More events, a torn one, one of a newer kiln; a folder that is gone.
    let folder = home.run_folder(&long);
    EventWriter::open(&folder).unwrap().append(log("more")).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(folder.events()).unwrap();
    file.write_all(b"{\"seq\":402,\"t\":1.0,\"type\":\"hologram\"}\n{\"seq\":403,\"t\"").unwrap();
    fs::remove_dir_all(home.run_dir(&RunId("short-0001".into()))).unwrap();
    let done = store.catch_up(&home).unwrap();
    assert_eq!((done.runs, done.events), (1, 1));
    assert!(done.problems[0].contains("hologram"), "{:?}", done.problems);
    assert_eq!(store.offset(&long).unwrap(), EventTail::open(&folder, 0).poll().unwrap().offset);
    assert_eq!(store.runs().unwrap().len(), 1);

    let now = store.detail(&long, Path::new("")).unwrap();
    let done = store.rebuild(&home).unwrap();
    assert_eq!((done.runs, done.events), (1, 401));
    assert_eq!(store.detail(&long, Path::new("")).unwrap(), now);
    assert_eq!(now.series, before.series);

    // Events replaced by others, shorter.
    fs::write(folder.events(), "{\"seq\":1,\"t\":5.0,\"type\":\"log\",\"level\":\"info\",\"message\":\"new\"}\n")
        .unwrap();
    let done = store.catch_up(&home).unwrap();
    assert!(done.problems.iter().any(|p| p.contains("were replaced")), "{:?}", done.problems);
    assert_eq!(store.summary(&long).unwrap().last_seq, 1);
}

#[test]
fn a_run_known_by_its_folder_alone_has_its_preset_s_title() {
    let (dir, path) = temp();
    let home = Home::new(dir.path().join("home")).unwrap();
    let run = RunId("my-digits-0001".into());
    let spec = include_str!("../../presets/train-digits.toml");
    home.run_folder(&run).create(spec).unwrap();
    let store = open(&path);
    assert_eq!(store.catch_up(&home).unwrap().problems, [] as [String; 0]);
    let summary = store.summary(&run).unwrap();
    assert_eq!((summary.preset.as_str(), summary.method.as_str()), ("my-digits", "train"));
    assert_eq!((summary.title.as_str(), summary.seed), ("Plain training on 8x8 digits", 1));
    assert_eq!((summary.state, store.spec(&run).unwrap().as_str()), (RunState::Queued, spec));
    assert!((kiln_protocol::now() - summary.created).abs() < 60.0);
}

#[test]
fn a_database_beyond_repair_is_moved_aside_and_made_anew() {
    let (dir, path) = temp();
    let home = home(dir.path());
    let long = RunId("train-x-0002".into());
    let store = open(&path);
    store.catch_up(&home).unwrap();
    let before = store.detail(&long, Path::new("")).unwrap();
    drop(store);
    let whole = fs::read(path.join("db")).unwrap();
    let damage: [&dyn Fn(); 3] = [
        &|| fs::write(path.join("conf"), "this is no sled").unwrap(),
        &|| {
            let mut bad = whole.clone();
            bad.iter_mut().skip(20).step_by(3).for_each(|b| *b ^= 0x5a);
            fs::write(path.join("db"), bad).unwrap();
        },
        &|| {
            fs::remove_dir_all(&path).unwrap();
            fs::write(&path, "a file where a folder should be").unwrap();
        },
    ];
    for (i, damage) in damage.iter().enumerate() {
        damage();
        let (store, opening) = Store::open(&path).unwrap();
        let moved = opening.moved_aside.is_some();
        assert!(moved || store.runs().unwrap().is_empty(), "damage {i}: {:?}", opening.notices);
        if let Some(to) = &opening.moved_aside {
            assert!(to.exists() && to.to_string_lossy().contains("store.broken-"));
            assert!(opening.notices.iter().any(|n| n.contains("store.broken-")), "{:?}", opening.notices);
        }
        store.catch_up(&home).unwrap();
        assert_eq!(store.detail(&long, Path::new("")).unwrap(), before, "damage {i}");
    }
}

#[test]
fn changes_of_live_settings_are_kept_once_each() {
    let (_dir, path) = temp();
    let store = with_run(&path);
    let knob = |key: &str, value: &str, x: f64| Body::KnobSet { key: key.into(), value: value.into(), x };
    let all = events([
        started(1, None),
        knob("optim.lr", "0.1", 3.0),
        knob("train.epochs", "9", 3.5),
        Body::Stopped { step: 4, reason: "asked for".into() },
        started(2, Some(4)),
        knob("optim.lr", "0.1", 4.0),
        knob("optim.lr", "0.05", 6.0),
    ]);
    store.ingest(&id(), &all, 100).unwrap();
    drop(store);
    let marks = open(&path).detail(&id(), Path::new("/f")).unwrap().marks;
    let said: Vec<(&str, &str, f64)> = marks.iter().map(|m| (m.key.as_str(), m.value.as_str(), m.x)).collect();
    assert_eq!(said, [("optim.lr", "0.1", 3.0), ("train.epochs", "9", 3.5), ("optim.lr", "0.05", 6.0)]);
    assert_eq!(marks[0].t, 2.0);
}
