//! The real thing: terminal, threads, signals.

use std::io::{self, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyEventKind, MouseButton, MouseEventKind};
use kiln_protocol::Level;
use kiln_protocol::compare::Weighed;
use kiln_protocol::wire::ToEngine;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Size;

use crate::Error;
use crate::app::{Host, Next, Source, drive};
use crate::colour::Depth;
use crate::config::{self, Files};
use crate::graphics::Graphics;
use crate::kept::Kept;
use crate::look::Look;
use crate::model::{Model, Overlay};
use crate::msg::{Effect, Msg};
use crate::options::{Launcher, Options, PresetInfo, Start};
use crate::{editor, link, saved, signals, term};

/// Messages that may wait. Beyond it the threads wait: an engine that talks faster than a terminal draws is slowed down, and
/// merges points meanwhile.
const WAITING: usize = 1024;

/// Takes the terminal over until the user leaves it. Runs go on afterwards.
///
/// # Errors
/// When the terminal cannot be used. A terminal that goes away (hang-up) is no error.
pub fn run(options: Options) -> Result<(), Error> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Error::NoTerminal);
    }
    let var = |name: &str| std::env::var(name).ok();
    let files = options.config.as_deref().map(Files::read).unwrap_or_default();
    let mut options = options;
    if options.theme.is_none() && var("KILN_THEME").is_none_or(|t| t.is_empty()) {
        options.theme = files.kept.theme.clone();
    }
    let (mut look, mistakes) = Look::new(&options, var);
    let (width, height) = crossterm::terminal::size().map_err(Error::Terminal)?;
    let size = Size { width, height };
    let Options { connect, presets, launcher, start, mouse, config, graphics, .. } = options;
    // Who names a run knows Kiln.
    let first = config.is_some() && !files.kept.toured && !matches!(start, Start::Run(_));
    let mut model = Model::new(presets, start, look.glyphs.braille, size, kiln_protocol::now());
    // In ASCII or without colours the user wants characters, or has nothing else.
    let pixels = look.glyphs.braille && look.theme.depth >= Depth::Ansi256;
    model.graphics = Graphics::find(graphics, cell(), var).filter(|_| pixels);
    for said in mistakes.iter().map(ToString::to_string).chain(files.said) {
        model.note(Level::Warn, said);
    }
    model.overlay = first.then_some(Overlay::Tour(0));
    (model.keymap, model.kept, model.themes) = (files.keymap, files.kept, look.themes());
    model.kept.mouse |= mouse;
    let mouse = model.kept.mouse;
    let views = config.as_deref().map(|folder| folder.join(saved::FILE));
    let (found, wrong) = saved::load(views.as_deref());
    model.begin_with(found);
    wrong.into_iter().for_each(|wrong| model.note(Level::Warn, wrong));
    term::install_panic_hook(std::thread::current().id());
    let guard = term::Guard;
    term::enter(mouse).map_err(Error::Terminal)?;
    let backend = CrosstermBackend::new(term::Frames::new(io::stdout()));
    let mut terminal = Terminal::new(backend).map_err(Error::Terminal)?;
    let (out, messages) = mpsc::sync_channel(WAITING);
    signals::start(out.clone()).map_err(Error::Terminal)?;
    let gate = Arc::new(Gate::default());
    input(out.clone(), Arc::clone(&gate));
    let frames = link::start(connect, out.clone());
    let (keeper, keeps) = config.map(|folder| keeper(folder, out.clone())).unzip();
    let mut host = Program { frames, launcher, out, gate, views, mouse, keeper, away: false };
    let mut source = Messages { messages, tick: Instant::now() };
    let ended = drive(&mut terminal, &mut source, &mut host, &mut model, &mut look);
    drop(guard);
    // What was changed last is still being written.
    drop(host);
    let _ = keeps.map(std::thread::JoinHandle::join);
    match ended {
        Err(error) if !term::is_gone(&error) => Err(Error::Terminal(error)),
        _ => Ok(()),
    }
}

/// Who reads the terminal: the thread of [`input`], or another program. Two readers would share the keys among them.
#[derive(Default)]
struct Gate {
    state: Mutex<Reading>,
    changed: Condvar,
}

#[derive(Default)]
struct Reading {
    /// The reader is to keep its hands off the terminal.
    closed: bool,
    /// It does.
    idle: bool,
}

/// How long the reader waits for a key before it looks at the gate: how long an editor may take to appear.
const LOOK: Duration = Duration::from_millis(250);

impl Gate {
    /// Waits until nobody reads the terminal.
    fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        // Longer than the reader can take, should its thread have ended.
        let done = self.changed.wait_timeout_while(state, 4 * LOOK, |state| !state.idle);
        drop(done);
    }

    fn open(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = false;
        self.changed.notify_all();
    }

    /// Called by the reader between keys: returns when the terminal may be read.
    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.closed {
            state.idle = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
    }
}

/// Writes down what is kept, in order, on a thread of its own: home folders may lie on a network. It ends with its sender.
fn keeper(folder: PathBuf, out: SyncSender<Msg>) -> (mpsc::Sender<Kept>, std::thread::JoinHandle<()>) {
    let (keep, kept) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        for kept in kept {
            if let Err(said) = config::keep(&folder, &kept) {
                let _ = out.try_send(Msg::Note(Level::Warn, said));
            }
        }
    });
    (keep, thread)
}

/// Pixels of a cell, if the terminal says.
fn cell() -> Option<(u16, u16)> {
    let size = crossterm::terminal::window_size().ok()?;
    let (width, height) = (size.width.checked_div(size.columns)?, size.height.checked_div(size.rows)?);
    (width > 0 && height > 0).then_some((width, height))
}

/// Reads the terminal on a thread of its own. It ends with the program.
fn input(out: SyncSender<Msg>, gate: Arc<Gate>) {
    std::thread::spawn(move || {
        loop {
            gate.pass();
            let event = match crossterm::event::poll(LOOK) {
                Ok(false) => continue,
                Ok(true) => crossterm::event::read(),
                Err(error) => Err(error),
            };
            let msg = match event {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Msg::Key(key.into()),
                Ok(Event::Paste(text)) => Msg::Paste(text),
                Ok(Event::Resize(width, height)) => {
                    // Another size may mean another font.
                    if out.send(Msg::Cell(cell())).is_err() {
                        return;
                    }
                    Msg::Resize(width, height)
                }
                Ok(Event::Mouse(mouse)) => match mouse.kind {
                    MouseEventKind::ScrollDown => Msg::Wheel(1),
                    MouseEventKind::ScrollUp => Msg::Wheel(-1),
                    MouseEventKind::Down(MouseButton::Left) => Msg::Click(mouse.column, mouse.row),
                    MouseEventKind::Drag(MouseButton::Left) => Msg::Drag(mouse.column, mouse.row),
                    MouseEventKind::Moved => Msg::Hover(mouse.column, mouse.row),
                    _ => continue,
                },
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the terminal");
                    let _ = out.send(Msg::Leave);
                    return;
                }
            };
            if out.send(msg).is_err() {
                return;
            }
        }
    });
}

/// Messages of all threads, and the clock.
struct Messages {
    messages: Receiver<Msg>,
    /// When the next tick is due.
    tick: Instant,
}

impl Source for Messages {
    fn next(&mut self, wait: Option<Duration>) -> Next {
        let now = Instant::now();
        let until_tick = self.tick.saturating_duration_since(now);
        if until_tick.is_zero() {
            self.tick = now + Duration::from_secs(1);
            return Next::Msg(if term::is_alive() { Msg::Tick(kiln_protocol::now()) } else { Msg::Leave });
        }
        match self.messages.recv_timeout(wait.map_or(until_tick, |w| w.min(until_tick))) {
            Ok(msg) => Next::Msg(msg),
            Err(RecvTimeoutError::Timeout) => Next::Idle,
            Err(RecvTimeoutError::Disconnected) => Next::Closed,
        }
    }
}

/// Carries effects out.
struct Program {
    frames: mpsc::Sender<ToEngine>,
    launcher: Arc<dyn Launcher>,
    out: SyncSender<Msg>,
    gate: Arc<Gate>,
    /// The file of saved views.
    views: Option<PathBuf>,
    mouse: bool,
    /// Writes down what is kept, where there is a folder for it.
    keeper: Option<mpsc::Sender<Kept>>,
    /// Suspended: the terminal belongs to the shell.
    away: bool,
}

/// What is said where reading a preset has panicked.
const PANICKED: &str = "reading the preset failed; the log says where";

impl Program {
    /// Makes the terminal ours again. A message, if that cannot be done.
    fn take_over(&mut self) -> Option<Msg> {
        term::leave();
        if let Err(error) = term::enter(self.mouse) {
            tracing::warn!(%error, "cannot take the terminal over again");
            return Some(Msg::Leave);
        }
        self.away = false;
        None
    }

    /// Asks the launcher on a thread of its own: presets are read from disks that may be slow.
    fn aside(&self, ask: impl FnOnce(&dyn Launcher) -> Msg + Send + 'static) {
        let (launcher, out) = (Arc::clone(&self.launcher), self.out.clone());
        std::thread::spawn(move || {
            let _ = out.send(ask(&*launcher));
        });
    }
}

impl Host for Program {
    fn perform(&mut self, effect: Effect) -> Option<Msg> {
        match effect {
            Effect::Send(frame) => {
                // The writing thread lives as long as this sender.
                let _ = self.frames.send(frame);
            }
            Effect::Load(wanted) => self.aside(move |launcher| {
                let loaded = catch_unwind(AssertUnwindSafe(|| launcher.load(&wanted)));
                Msg::Loaded { preset: wanted.preset, spec: loaded.unwrap_or_else(|_| Err(PANICKED.into())) }
            }),
            Effect::Text(wanted) => self.aside(move |launcher| {
                let text = catch_unwind(AssertUnwindSafe(|| launcher.text(&wanted)));
                Msg::Text { preset: wanted.preset, text: text.unwrap_or_else(|_| Err(PANICKED.into())) }
            }),
            Effect::Save { wanted, name } => self.aside(move |launcher| {
                let saved = catch_unwind(AssertUnwindSafe(|| launcher.save(&wanted, &name)));
                Msg::Saved { preset: wanted.preset, saved: saved.unwrap_or_else(|_| Err(PANICKED.into())) }
            }),
            Effect::Estimate(spec) => self.aside(move |launcher| {
                let said = catch_unwind(AssertUnwindSafe(|| launcher.estimate(&spec)));
                Msg::Estimated { words: said.unwrap_or_else(|_| Err(PANICKED.into())), spec }
            }),
            Effect::Export { run, candidate } => {
                self.aside(move |launcher| match catch_unwind(AssertUnwindSafe(|| launcher.export(&run, candidate))) {
                    Ok(Ok(said)) => Msg::Exported(Level::Info, said),
                    Ok(Err(said)) => Msg::Exported(Level::Warn, said),
                    Err(_) => {
                        Msg::Exported(Level::Error, format!("writing the network of {run} failed; the log says where"))
                    }
                })
            }
            Effect::Take { runs, what } => {
                self.aside(move |launcher| match catch_unwind(AssertUnwindSafe(|| launcher.take(&runs, what))) {
                    Ok(Ok(said)) => Msg::Exported(Level::Info, said),
                    Ok(Err(said)) => Msg::Exported(Level::Warn, said),
                    Err(_) => Msg::Exported(Level::Error, "nothing was written; the log says where it failed".into()),
                })
            }
            Effect::Views(change) => {
                let path = self.views.clone();
                self.aside(move |_| {
                    let said = saved::change(path.as_deref(), &change);
                    Msg::Views { views: saved::load(path.as_deref()).0, said }
                });
            }
            Effect::Look(wanted) => self.aside(move |launcher| {
                let looked = catch_unwind(AssertUnwindSafe(|| launcher.look(&wanted)));
                let (info, settings) = looked.unwrap_or_else(|_| {
                    (PresetInfo { problem: Some(PANICKED.into()), ..PresetInfo::default() }, Vec::new())
                });
                Msg::Looked { wanted, info: Box::new(info), settings }
            }),
            Effect::Compare(runs) => self.aside(move |launcher| {
                let found = catch_unwind(AssertUnwindSafe(|| launcher.compare(&runs)));
                let found = found.unwrap_or_else(|_| Err("Comparing these runs failed; the log says where.".into()));
                Msg::Compared { runs, found: Box::new(found) }
            }),
            Effect::Weigh { comparison, figure, against } => self.aside(move |launcher| {
                let weighed = catch_unwind(AssertUnwindSafe(|| launcher.weigh(&comparison, &figure, &against)));
                let failed = "weighing the settings failed; the log says where".to_owned();
                Msg::Weighed(Box::new(weighed.unwrap_or_else(|_| Weighed {
                    figure,
                    against,
                    why_not: failed,
                    ..Weighed::default()
                })))
            }),
            Effect::Suspend if !signals::has_shell() => {
                return Some(Msg::Note(Level::Info, "There is no shell that could bring Kiln back.".into()));
            }
            Effect::Suspend => {
                self.away = true;
                term::leave();
                signals::stop_job();
            }
            Effect::TakeOver => return self.take_over(),
            Effect::EditText { what, text, suffix } => {
                self.gate.close();
                term::leave();
                let editor = editor::chosen(|name| std::env::var(name).ok());
                let text = editor::edit(&editor, &text, suffix);
                let lost = self.take_over();
                self.gate.open();
                return lost.or(Some(Msg::Edited { what, text }));
            }
            Effect::Keep(kept) => {
                if let Some(keeper) = &self.keeper {
                    let _ = keeper.send(*kept);
                }
            }
            Effect::Copy(text) => term::send(&term::copying(&text)),
            Effect::Notify { text, bell, banner } => {
                term::send(&term::telling(&text, bell, banner, |name| std::env::var(name).ok()));
            }
            Effect::Mouse(on) => {
                self.mouse = on;
                term::mouse(on);
            }
            Effect::SwitchTheme | Effect::UseTheme(_) | Effect::Redraw | Effect::Quit => {}
        }
        None
    }

    fn may_draw(&self) -> bool {
        !self.away
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn nobody_reads_while_the_gate_is_closed() {
        let gate = Arc::new(Gate::default());
        let reads = Arc::new(AtomicU32::new(0));
        let (theirs, counted) = (Arc::clone(&gate), Arc::clone(&reads));
        let (seen, news) = mpsc::channel();
        std::thread::spawn(move || {
            loop {
                theirs.pass();
                counted.fetch_add(1, Ordering::SeqCst);
                if seen.send(()).is_err() {
                    return;
                }
                std::thread::yield_now();
            }
        });
        for _ in 0..20 {
            news.recv().unwrap();
            gate.close();
            let before = reads.load(Ordering::SeqCst);
            for _ in 0..100 {
                std::thread::yield_now();
            }
            assert_eq!(reads.load(Ordering::SeqCst), before);
            while news.try_recv().is_ok() {}
            gate.open();
        }
        news.recv().unwrap();
    }
}
