//! Random keys, clicks, pastes, resizes and engine events, drawn on an emulated terminal that must show what was meant.
//!
//! A short run with fixed seeds is an ordinary test. `make fuzz` goes on for ten minutes with seeds of its own; a failure names
//! its seed, and `KILN_FUZZ_SEED` runs that seed alone.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_protocol::run::{Best, Progress};
use kiln_protocol::wire::{FromEngine, Gpu, Push, Reply, Request, System, ToEngine};
use kiln_protocol::{Body, Event, Level, RunId, RunState, RunSummary};
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::{Terminal, TerminalOptions, Viewport};

use crate::action::Action;
use crate::app::draw;
use crate::colour::Depth;
use crate::fixture;
use crate::keymap::Keymap;
use crate::keys::Key;
use crate::look::Look;
use crate::model::{Model, Overlay};
use crate::msg::{Effect, Msg};
use crate::options::{PresetInfo, Start, Wanted};
use crate::term::Frames;
use crate::update::update;
use crate::view::tests::odd_views;
use crate::view::view;

/// Steps from one seed.
const STEPS: usize = 300;

/// Texts as nobody wants them: wide, combining, commands to the terminal, very long.
const ODD: [&str; 9] = [
    "",
    "plain",
    "日本語の名前",
    "größe",
    "e\u{301}te\u{301}",
    "\u{1b}[31mred\u{1b}[2J\u{7}",
    "a\tb\r\nc",
    "\u{0}\u{8}\u{85}",
    "x/y-z_0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789",
];

/// splitmix64: the same numbers from the same seed, everywhere.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must not be 0.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A figure, now and then one that is none.
    fn figure(&mut self) -> f64 {
        match self.below(12) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -1e308,
            3 => 1e308,
            4 => 0.0,
            5 => -1.0,
            _ => self.below(10_000) as f64 / 100.0,
        }
    }
}

/// What the terminal has been sent and has not read yet.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<u8>>>);

impl Wire {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client, the engine it talks to, and the terminal it draws on.
struct Fuzz {
    seed: u64,
    rng: Rng,
    model: Model,
    look: Look,
    terminal: Terminal<CrosstermBackend<Frames<Wire>>>,
    wire: Wire,
    screen: vt100::Parser,
    /// Requests that have not been answered yet.
    open: VecDeque<ToEngine>,
    seq: u64,
    keys: Vec<Key>,
    /// The last inputs, to be read after a failure.
    last: VecDeque<String>,
}

impl Drop for Fuzz {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("fuzz: seed {} failed; KILN_FUZZ_SEED={} repeats it. The last inputs:", self.seed, self.seed);
            self.last.iter().for_each(|input| eprintln!("  {input}"));
        }
    }
}

impl Fuzz {
    fn new(seed: u64) -> Fuzz {
        let mut rng = Rng(seed);
        let ascii = rng.chance(25);
        let depth = *rng.pick(&[Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True]);
        let size = Size { width: 80, height: 24 };
        let start = if rng.chance(80) { Start::Auto } else { Start::Launcher("train-digits".into()) };
        let mut model = Model::new(fixture::presets(), start, !ascii, size, fixture::NOW);
        if rng.chance(50) {
            model.overlay = Some(Overlay::Tour(0));
        }
        let wire = Wire::default();
        let viewport = Viewport::Fixed(Rect::new(0, 0, size.width, size.height));
        let backend = CrosstermBackend::new(Frames::new(wire.clone()));
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport }).unwrap();
        let keymap = Keymap::default();
        let mut keys: Vec<Key> = Action::ALL.iter().flat_map(|action| keymap.keys(*action)).copied().collect();
        keys.extend("abcdefghijklmnopqrstuvwxyz0123456789 -/:.>".chars().map(|c| {
            let name = if c == ' ' { "space".to_owned() } else { c.to_string() };
            name.parse::<Key>().unwrap()
        }));
        let theme = *rng.pick(&crate::theme::SHIPPED.map(|s| s.0));
        let mut fuzz = Fuzz {
            seed,
            rng,
            model,
            look: Look::plain(theme, depth, ascii),
            terminal,
            wire,
            screen: vt100::Parser::new(cells(size.height), cells(size.width), 0),
            open: VecDeque::new(),
            seq: 10_000,
            keys,
            last: VecDeque::new(),
        };
        fuzz.tell(Msg::Connected { version: "0.1.0".into(), pid: 1 });
        fuzz
    }

    fn tell(&mut self, msg: Msg) {
        let mut words = format!("{msg:?}");
        if words.len() > 200 {
            let end = words.char_indices().map(|c| c.0).take_while(|at| *at <= 200).last().unwrap_or(0);
            words.truncate(end);
        }
        self.last.push_back(words);
        if self.last.len() > 40 {
            self.last.pop_front();
        }
        let effects = update(&mut self.model, msg);
        for effect in effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            // A real engine answers in an instant, most often; what is held back is answered later, in any order, or never.
            Effect::Send(frame) if self.rng.chance(75) => self.answer(frame),
            Effect::Send(frame) => {
                self.open.push_back(frame);
                if self.open.len() > 50 {
                    self.open.pop_front();
                }
            }
            Effect::Load(Wanted { preset, .. }) => {
                let spec = if self.rng.chance(60) { Ok(fixture::spec()) } else { Err((*self.rng.pick(&ODD)).into()) };
                self.tell(Msg::Loaded { preset, spec });
            }
            Effect::Text(Wanted { preset, .. }) => {
                let text = if self.rng.chance(80) { Ok(fixture::spec()) } else { Err((*self.rng.pick(&ODD)).into()) };
                self.tell(Msg::Text { preset, text });
            }
            Effect::EditText { what, text, .. } => {
                let odd = (*self.rng.pick(&ODD)).to_owned();
                let left = self.rng.chance(80).then(|| text + &odd).ok_or(odd);
                self.tell(Msg::Edited { what, text: left });
            }
            Effect::Save { wanted, name } => {
                let saved = if self.rng.chance(70) { Ok((name, "Saved.".to_owned())) } else { Err("no room".into()) };
                self.tell(Msg::Saved { preset: wanted.preset, saved });
            }
            Effect::Look(wanted) => {
                let preset = wanted.preset.clone();
                let problem = self.rng.chance(30).then(|| (*self.rng.pick(&ODD)).to_owned());
                let info = Box::new(PresetInfo {
                    name: preset,
                    problem,
                    known: true,
                    costs: fixture::costs(&[]),
                    ..PresetInfo::default()
                });
                self.tell(Msg::Looked { wanted, info, settings: fixture::settings() });
            }
            Effect::Estimate(spec) => {
                let words = if self.rng.chance(60) { Ok("about 3 s".into()) } else { Err("no estimate".into()) };
                self.tell(Msg::Estimated { spec, words });
            }
            Effect::UseTheme(name) => {
                self.look.dress(&name);
            }
            Effect::SwitchTheme => {
                let next = self.look.next();
                self.look.dress(&next);
                self.tell(Msg::Themed { name: next, problems: vec![] });
            }
            _ => {}
        }
    }

    fn answer(&mut self, frame: ToEngine) {
        let known = |run: &RunId| fixture::summaries().iter().chain(&fixture::jobs()).any(|r| r.id == *run);
        let reply = match &frame.request {
            _ if self.rng.chance(6) => Err((*self.rng.pick(&ODD)).to_owned()),
            _ if self.rng.chance(3) => Ok(Reply::Done),
            Request::Run { run } | Request::Events { run, .. } | Request::Series { run, .. } if !known(run) => {
                Err(format!("there is no run {run}"))
            }
            Request::Runs => Ok(Reply::Runs { runs: fixture::summaries() }),
            Request::Launch { .. } => Ok(Reply::Launched { run: fixture::summaries()[0].id.clone() }),
            Request::Control { .. } | Request::Priority { .. } | Request::Remove { .. } => Ok(Reply::Done),
            _ => return self.fixture_says(frame),
        };
        self.tell(Msg::Frame(Box::new(FromEngine::Reply { id: frame.id, reply })));
    }

    /// Lets the fixture answer, which knows the rest.
    fn fixture_says(&mut self, frame: ToEngine) {
        fixture::answer(&mut self.model, vec![Effect::Send(frame)]);
    }

    /// One random thing happens.
    fn step(&mut self) {
        match self.rng.below(100) {
            0..58 => {
                let key = *self.rng.pick(&self.keys);
                // Whoever quits starts again; here it is only not asked for all the time.
                self.tell(Msg::Key(key));
            }
            58..66 => {
                let (width, height) = match self.rng.below(3) {
                    0 => (self.rng.below(12), self.rng.below(6)),
                    1 => (self.rng.below(100), self.rng.below(40)),
                    _ => (80 + self.rng.below(140), 20 + self.rng.below(40)),
                };
                self.resize(width as u16, height as u16);
            }
            66..72 => {
                let (x, y) = (self.rng.below(230) as u16, self.rng.below(70) as u16);
                self.tell(Msg::Click(x, y));
            }
            72..75 => {
                let by = self.rng.below(7) as i32 - 3;
                self.tell(Msg::Wheel(by));
            }
            75..77 => {
                let text = (*self.rng.pick(&ODD)).to_owned();
                self.tell(Msg::Paste(text));
            }
            77..80 => {
                let now = self.model.now + self.rng.below(100) as f64 / 10.0;
                self.tell(Msg::Tick(now));
            }
            80..82 if self.rng.chance(40) => {
                let reason = (*self.rng.pick(&ODD)).to_owned();
                self.open.clear();
                self.tell(Msg::Disconnected { reason, retry: 0.5 });
            }
            82..84 => self.tell(Msg::Connected { version: "0.1.0".into(), pid: 2 }),
            84..88 => {
                if let Some(frame) =
                    (!self.open.is_empty()).then(|| self.rng.below(self.open.len())).and_then(|i| self.open.remove(i))
                {
                    self.answer(frame);
                }
            }
            _ => {
                let push = self.push();
                self.tell(Msg::Frame(Box::new(FromEngine::Push(push))));
            }
        }
    }

    fn resize(&mut self, width: u16, height: u16) {
        self.tell(Msg::Resize(width, height));
        self.screen.screen_mut().set_size(cells(height), cells(width));
        self.terminal.resize(Rect::new(0, 0, width, height)).unwrap();
    }

    fn some_run(&mut self) -> RunSummary {
        let mut all = fixture::summaries();
        all.extend(fixture::jobs());
        self.rng.pick(&all).clone()
    }

    fn push(&mut self) -> Push {
        let open = self.model.detail.as_ref().map(|d| d.id.clone());
        match self.rng.below(10) {
            0..3 => {
                let n = 1 + self.rng.below(3);
                Push::Runs { runs: (0..n).map(|_| self.summary()).collect() }
            }
            3..7 => {
                let run = match open {
                    Some(run) if self.rng.chance(90) => run,
                    _ => self.some_run().id,
                };
                let n = 1 + self.rng.below(4);
                Push::Events { run, events: (0..n).map(|_| self.event()).collect() }
            }
            7 => {
                let run = open.unwrap_or_else(|| self.some_run().id);
                let series = fixture::series_names();
                Push::Grown { run, series: vec![self.rng.pick(&series).clone(), (*self.rng.pick(&ODD)).into()] }
            }
            8 if self.rng.chance(30) => Push::Removed { runs: vec![self.some_run().id] },
            8 if self.rng.chance(30) => Push::Bye { reason: (*self.rng.pick(&ODD)).into() },
            8 => Push::Jobs { runs: fixture::jobs() },
            _ => Push::System { system: self.system() },
        }
    }

    /// A run in any state, in odd words.
    fn summary(&mut self) -> RunSummary {
        use RunState::*;
        let state = *self.rng.pick(&[Queued, Starting, Running, Paused, Stopping, Stopped, Completed, Failed]);
        let mut run = self.some_run();
        if self.rng.chance(10) {
            run.id = RunId(format!("odd-{:04}", self.rng.below(20)));
            run.title = (*self.rng.pick(&ODD)).into();
            run.device = Some((*self.rng.pick(&ODD)).into());
        }
        run.reason = self.rng.chance(40).then(|| (*self.rng.pick(&ODD)).into());
        let (done, total) = (self.rng.figure(), self.rng.figure());
        run.progress = Progress { done, total, unit: "epochs".into(), note: (*self.rng.pick(&ODD)).into() };
        run.eta = self.rng.chance(50).then(|| self.rng.figure());
        run.best = self.rng.chance(50).then(|| Best {
            name: "valid/accuracy".into(),
            value: self.rng.figure(),
            higher_is_better: true,
        });
        RunSummary { state, ..run }
    }

    fn event(&mut self) -> Event {
        self.seq += self.rng.below(3) as u64;
        let body = match self.rng.below(9) {
            0..3 => {
                let names = fixture::series_names();
                let series =
                    if self.rng.chance(90) { self.rng.pick(&names).clone() } else { (*self.rng.pick(&ODD)).into() };
                let n = self.rng.below(5);
                Body::Points { series, points: (0..n).map(|_| [self.rng.figure(), self.rng.figure()]).collect() }
            }
            3..5 => {
                let mut views = odd_views();
                views.extend(fixture::views());
                let (name, view) = views.swap_remove(self.rng.below(views.len()));
                Body::View { name, view: Box::new(view) }
            }
            5 => Body::Completed { outcome: Box::new(fixture::outcome()) },
            6 => Body::Best(Best { name: "train/loss".into(), value: self.rng.figure(), higher_is_better: false }),
            7 => fixture::events()[0].body.clone(),
            _ => {
                let level = *self.rng.pick(&[Level::Debug, Level::Info, Level::Warn, Level::Error]);
                Body::Log { level, message: (*self.rng.pick(&ODD)).into() }
            }
        };
        Event { seq: self.seq, t: self.rng.figure(), body }
    }

    fn system(&mut self) -> System {
        let gpu = |rng: &mut Rng| Gpu {
            index: 0,
            name: (*rng.pick(&ODD)).into(),
            utilisation: rng.figure(),
            memory_used: rng.next(),
            memory_total: rng.next() >> rng.below(64),
            temperature: rng.below(200) as u32,
            power: rng.figure(),
            ..Gpu::default()
        };
        let n = self.rng.below(10);
        System {
            cpu: self.rng.figure(),
            ram_used: self.rng.next() >> 20,
            ram_total: self.rng.next() >> 20,
            disk_free: self.rng.next() >> 20,
            gpus: (0..n).map(|_| gpu(&mut self.rng)).collect(),
            ..System::default()
        }
    }

    /// Draws, and compares what the terminal then shows with what was meant.
    fn look(&mut self) {
        self.model.dirty = false;
        draw(&mut self.terminal, &mut self.model, &self.look).unwrap();
        self.screen.process(&self.wire.take());
        let Size { width, height } = self.model.size;
        let mut meant = Buffer::empty(Rect::new(0, 0, width, height));
        view(&mut meant, &self.model, &self.look);
        for y in 0..height {
            let mut skip = 0;
            for x in 0..width {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let symbol = meant[(x, y)].symbol();
                assert!(!symbol.chars().any(char::is_control), "a control character at {x},{y}: {symbol:?}");
                skip = crate::text::width(symbol).saturating_sub(1);
                let shown = self.screen.screen().cell(y, x).map(|c| c.contents().to_owned()).unwrap_or_default();
                let shown = if shown.is_empty() { " " } else { &shown };
                assert_eq!(shown, symbol, "at {x},{y} of {width}x{height}:\n{}", self.screen.screen().contents());
            }
        }
    }
}

/// A terminal has at least one of each.
fn cells(n: u16) -> NonZero<u16> {
    NonZero::new(n).unwrap_or(NonZero::<u16>::MIN)
}

/// One seed from beginning to end.
fn run(seed: u64) {
    let mut fuzz = Fuzz::new(seed);
    fuzz.look();
    for _ in 0..STEPS {
        fuzz.step();
        if fuzz.rng.chance(60) {
            fuzz.look();
        }
    }
    fuzz.look();
}

#[test]
fn random_inputs_break_nothing() {
    (1..=5).for_each(run);
}

/// `make fuzz`.
#[test]
#[ignore = "runs as long as KILN_FUZZ_SECONDS says, 600 if it does not: `make fuzz`"]
fn random_inputs_for_long() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("KILN_FUZZ_SEED") {
        return run(seed);
    }
    let limit = Duration::from_secs(number("KILN_FUZZ_SECONDS").unwrap_or(600));
    let began = Instant::now();
    let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.as_secs()) << 20;
    let mut seeds = 0;
    while began.elapsed() < limit {
        run(first + seeds);
        seeds += 1;
    }
    println!(
        "fuzz: {seeds} seeds of {STEPS} inputs in {:.0} s, from seed {first} on: no panic, no broken screen",
        began.elapsed().as_secs_f64()
    );
}
