//! `cargo bench -p kiln-tui`: what a chart costs, in time and in bytes to the terminal.
//!
//! - a frame of the whole screen with five series of 1,000,000 points, decimated to the columns of the chart as the engine
//!   does it: at most 2 ms of CPU
//! - adding one point to a chart: at most 150 bytes, all in all (synchronised update, chart, legend)

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use kiln_protocol::run::{Best, Progress};
use kiln_protocol::wire::{FromEngine, Push, Reply, Request, RunDetail, Series, SeriesInfo};
use kiln_protocol::{Body, Event, RunId, RunState, RunSummary};
use kiln_tui::Start;
use kiln_tui::app::draw;
use kiln_tui::chart::{Grid, track};
use kiln_tui::colour::Depth;
use kiln_tui::look::Look;
use kiln_tui::model::Model;
use kiln_tui::msg::{Effect, Msg};
use kiln_tui::term::Frames;
use kiln_tui::update::update;
use kiln_tui::view::view;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::{Terminal, TerminalOptions, Viewport};

const NAMES: [&str; 5] = ["train/loss", "valid/loss", "a/loss", "b/loss", "c/loss"];

fn value(series: usize, i: u64) -> f64 {
    let noise = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ series as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
    0.2 + 0.1 * series as f64 + 2.0 * (-(i as f64) / 2e5).exp() + noise as f64 / (1_u64 << 24) as f64 * 0.15
}

/// An engine that knows one run with these series.
struct Engine {
    points: u64,
    planned: f64,
    answers: BTreeMap<String, Vec<[f64; 2]>>,
}

impl Engine {
    fn summary(&self) -> RunSummary {
        RunSummary {
            id: RunId("train-fashion-k3f7".into()),
            preset: "train-fashion".into(),
            title: "Plain training".into(),
            method: "train".into(),
            state: RunState::Running,
            reason: None,
            priority: 0,
            created: 0.0,
            started: Some(0.0),
            ended: None,
            worked: None,
            at_work: None,
            last_event: Some(0.0),
            last_seq: 1,
            progress: Progress { done: 1.0, total: 2.0, unit: "epochs".into(), note: "epoch 7".into() },
            eta: Some(60.0),
            best: Some(Best { name: "train/loss".into(), value: 0.25, higher_is_better: false }),
            device: Some("cpu (2 cores)".into()),
            host: None,
            pid: None,
            attempts: 1,
            seed: 1,
            origin: None,
            arm: None,
            jobs: None,
            tags: Vec::new(),
            note: String::new(),
            figures: Vec::new(),
        }
    }

    fn info(&self, name: &str) -> SeriesInfo {
        SeriesInfo {
            name: name.into(),
            points: self.points,
            first_x: 0.0,
            last_x: self.points as f64 - 1.0,
            last_y: Some(0.25),
            x_max: Some(self.planned),
            x_unit: "steps".into(),
        }
    }

    fn answer(&mut self, m: &mut Model, effects: Vec<Effect>) {
        for effect in effects {
            let Effect::Send(frame) = effect else { continue };
            let reply = match frame.request {
                Request::Runs => Reply::Runs { runs: vec![self.summary()] },
                Request::Run { .. } => Reply::Run {
                    run: Box::new(RunDetail {
                        summary: self.summary(),
                        spec: String::new(),
                        series: NAMES.iter().map(|n| self.info(n)).collect(),
                        views: vec![],
                        outcome: None,
                        folder: "/runs/train-fashion-k3f7".into(),
                        knobs: Vec::new(),
                        marks: Vec::new(),
                        jobs: vec![],
                        note: String::new(),
                    }),
                },
                Request::Series { names, from, to, columns, .. } => Reply::Series {
                    series: names
                        .into_iter()
                        .map(|name| {
                            let all = self.answers.get(&name).cloned().unwrap_or_default();
                            let points = match (from, to) {
                                (Some(from), Some(to)) => track::decimate(&all, Grid { from, to, columns }),
                                _ => all,
                            };
                            Series { name, points, total: self.points, ..Series::default() }
                        })
                        .collect(),
                },
                _ => Reply::Done,
            };
            let frame = FromEngine::Reply { id: frame.id, reply: Ok(reply) };
            let effects = update(m, Msg::Frame(Box::new(frame)));
            self.answer(m, effects);
        }
    }

    fn open(&mut self, size: Size) -> Model {
        let mut m = Model::new(vec![], Start::Auto, true, size, 0.0);
        let effects = update(&mut m, Msg::Connected { version: "0".into(), pid: 1 });
        self.answer(&mut m, effects);
        let enter: Result<kiln_tui::keys::Key, String> = "enter".parse();
        if let Ok(enter) = enter {
            let effects = update(&mut m, Msg::Key(enter));
            self.answer(&mut m, effects);
        }
        m
    }
}

fn engine(points: u64, planned: f64) -> Engine {
    let curve = |s: usize| (0..points).map(|i| [i as f64, value(s, i)]).collect();
    Engine { points, planned, answers: NAMES.iter().enumerate().map(|(s, n)| ((*n).to_owned(), curve(s))).collect() }
}

/// Counts what is written.
#[derive(Clone, Default)]
struct Written(Rc<Cell<u64>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.set(self.0.get() + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Median milliseconds of a frame of the whole screen.
fn frame(m: &Model, look: &Look, size: Size) -> f64 {
    let mut times: Vec<f64> = (0..300)
        .map(|_| {
            let start = Instant::now();
            let mut buf = Buffer::empty(Rect::new(0, 0, size.width, size.height));
            view(&mut buf, m, look);
            std::hint::black_box(&buf);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Bytes to the terminal for each of `n` points that arrive one by one, sorted.
fn bytes(size: Size, look: &Look, known: u64, n: u64) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let mut m = engine(known, 1000.0).open(size);
    let viewport = Viewport::Fixed(Rect::new(0, 0, size.width, size.height));
    let written = Written::default();
    let backend = CrosstermBackend::new(Frames::new(written.clone()));
    let mut terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
    draw(&mut terminal, &mut m, look)?;
    draw(&mut terminal, &mut m, look)?;
    let mut all = Vec::new();
    for i in known..known + n {
        let body = Body::Points { series: NAMES[0].into(), points: vec![[i as f64, value(0, i)]] };
        let push =
            Push::Events { run: RunId("train-fashion-k3f7".into()), events: vec![Event { seq: i, t: 0.0, body }] };
        update(&mut m, Msg::Frame(Box::new(FromEngine::Push(push))));
        let before = written.0.get();
        draw(&mut terminal, &mut m, look)?;
        all.push(written.0.get() - before);
    }
    all.sort_unstable();
    Ok(all)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let look = Look::plain("dark", Depth::True, false);
    println!("a frame of the whole screen, 5 series of 1,000,000 points (limit 2 ms):");
    let mut large = engine(1_000_000, 1e6);
    for (width, height) in [(80, 24), (200, 50), (400, 100)] {
        let size = Size { width, height };
        let mut m = large.open(size);
        let plain = frame(&m, &look, size);
        if let Ok(key) = "s".parse() {
            update(&mut m, Msg::Key(key));
        }
        println!("  {width:>3}x{height:<3}  {plain:.3} ms, smoothed {:.3} ms", frame(&m, &look, size));
    }
    println!("bytes to the terminal for one more point, true colour, all in all (limit 150):");
    for (width, height) in [(80, 24), (200, 50)] {
        let all = bytes(Size { width, height }, &look, 400, 300)?;
        let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize];
        println!("  {width:>3}x{height:<3}  median {}, 95 % {}, most {}", at(0.5), at(0.95), at(1.0));
    }
    Ok(())
}
