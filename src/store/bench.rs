//! What a million points cost: processor time to take in, bytes on disk, time to draw. `cargo bench -p kiln-store`.

use std::error::Error;
use std::time::{Duration, Instant};

use kiln_protocol::{Body, Event, RunId, RunSummary};
use kiln_store::Store;

const POINTS: usize = 1_000_000;
const COLUMNS: u32 = 200;

/// Processor seconds of this process so far, in steps of the kernel's tick of 10 ms.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: f64 = [fields.next()?, fields.next()?].iter().filter_map(|t| t.parse::<f64>().ok()).sum();
    Some(ticks / 100.0)
}

/// Curves as runs make them; `unit` is noise in 0..1.
type Curve = fn(i: usize, unit: f64) -> [f64; 2];

const CURVES: [(&str, Curve); 4] = [
    ("32-bit loss each step", |i, unit| [i as f64 / 469.0, f64::from(falling(i, unit) as f32)]),
    ("32-bit loss now and then", |i, unit| [(i * 17 + i * i % 13) as f64 / 469.0, f64::from(falling(i, unit) as f32)]),
    ("accuracy of 1000 images", |i, unit| [i as f64, (800.0 + 100.0 * unit).round() / 1000.0]),
    ("64-bit loss each step", |i, unit| [i as f64 / 469.0, falling(i, unit)]),
];

fn falling(i: usize, unit: f64) -> f64 {
    2.3 * (-(i as f64) / 3e5).exp() + 0.1 * unit
}

fn curve(of: Curve) -> Vec<[f64; 2]> {
    let mut state = 1_u64;
    let mut unit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..POINTS).map(|i| of(i, unit())).collect()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{POINTS} points; charts of {COLUMNS} columns\n");
    println!(
        "{:<26} {:>7} {:>9} {:>9} {:>8} {:>9} {:>9} {:>9}",
        "curve", "a batch", "cpu s", "wall s", "bytes/pt", "chart ms", "zoomed ms", "first ms"
    );
    for (name, of) in CURVES {
        measure(name, &curve(of), 10_000)?;
    }
    let (name, of) = CURVES[0];
    measure(name, &curve(of), 1000)?;
    experiment(15, &curve(of)[..100_000])
}

/// What the mean over the jobs of an experiment costs.
fn experiment(jobs: u32, points: &[[f64; 2]]) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("store");
    let store = Store::open(&path)?.0;
    let run = RunId("bench-0002".into());
    store.insert(RunSummary::queued(run.clone(), 0.0), "")?;
    for n in 1..=jobs {
        let job = run.job(n);
        store.insert(RunSummary::queued(job.clone(), 0.0), "")?;
        for (seq, batch) in (1..).zip(points.chunks(10_000)) {
            let body = Body::Points { series: "train/loss".into(), points: batch.to_vec() };
            store.ingest(&job, &[Event { seq, t: 0.0, body }], seq)?;
        }
    }
    drop(store);
    let store = Store::open(&path)?.0;
    let time = || {
        let begin = Instant::now();
        store.series(&run, "train/loss", None, None, COLUMNS).map(|_| begin.elapsed())
    };
    let first = time()?;
    let times = (0..21).map(|_| time()).collect::<Result<Vec<Duration>, _>>()?;
    println!(
        "\nmean and deviation of {jobs} jobs with {} points each: {:.2} ms (first time {:.1} ms)",
        points.len(),
        median(times),
        first.as_secs_f64() * 1e3
    );
    Ok(())
}

fn measure(name: &str, points: &[[f64; 2]], batch: usize) -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("store");
    let (store, _) = Store::open(&path)?;
    let run = RunId("bench-0001".into());
    store.insert(RunSummary::queued(run.clone(), 0.0), "")?;
    let events: Vec<Event> = points
        .chunks(batch)
        .zip(1..)
        .map(|(points, seq)| {
            let body = Body::Points { series: "y".into(), points: points.to_vec() };
            Event { seq, t: 0.0, body }
        })
        .collect();

    let (cpu, wall) = (cpu_seconds(), Instant::now());
    for event in &events {
        store.ingest(&run, std::slice::from_ref(event), event.seq)?;
    }
    let cpu = cpu_seconds().zip(cpu).map_or(f64::NAN, |(after, before)| after - before);
    let wall = wall.elapsed().as_secs_f64();

    let last = points.last().map_or(0.0, |p| p[0]);
    let chart = |store: &Store, from: f64, to: f64| -> Result<f64, Box<dyn Error>> {
        let mut times = Vec::new();
        for _ in 0..51 {
            let begun = Instant::now();
            store.series(&run, "y", Some(from), Some(to), COLUMNS)?;
            times.push(begun.elapsed());
        }
        Ok(median(times))
    };
    let (whole, zoomed) = (chart(&store, 0.0, last)?, chart(&store, last * 0.4, last * 0.5)?);
    let bytes = store.bytes_on_disk() as f64 / points.len() as f64;
    drop(store);

    let (store, _) = Store::open(&path)?;
    let begun = Instant::now();
    store.series(&run, "y", None, None, COLUMNS)?;
    let first = begun.elapsed().as_secs_f64() * 1e3;
    println!("{name:<26} {batch:>7} {cpu:>9.2} {wall:>9.2} {bytes:>8.2} {whole:>9.2} {zoomed:>9.2} {first:>9.2}");
    Ok(())
}
