//! The real thing: terminal, threads, signals.

use std::io::{self, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyEventKind, MouseButton, MouseEventKind};
use kiln_protocol::Level;
use kiln_protocol::wire::ToEngine;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Size;

use crate::Error;
use crate::app::{Host, Next, Source, drive};
use crate::look::Look;
use crate::model::Model;
use crate::msg::{Effect, Msg};
use crate::options::{Launcher, Options, PresetInfo};
use crate::{link, signals, term};

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
    let (look, mistakes) = Look::new(&options, |name| std::env::var(name).ok());
    let mut look = look;
    let (width, height) = crossterm::terminal::size().map_err(Error::Terminal)?;
    let size = Size { width, height };
    let Options { connect, presets, launcher, start, mouse, .. } = options;
    let mut model = Model::new(presets, start, look.glyphs.braille, size, kiln_protocol::now());
    for mistake in mistakes {
        model.note(Level::Warn, mistake.to_string());
    }
    term::install_panic_hook(std::thread::current().id());
    let guard = term::Guard;
    term::enter(mouse).map_err(Error::Terminal)?;
    let backend = CrosstermBackend::new(term::Frames::new(io::stdout()));
    let mut terminal = Terminal::new(backend).map_err(Error::Terminal)?;
    let (out, messages) = mpsc::sync_channel(WAITING);
    signals::start(out.clone()).map_err(Error::Terminal)?;
    input(out.clone());
    let frames = link::start(connect, out.clone());
    let mut host = Program { frames, launcher, out, mouse, away: false };
    let mut source = Messages { messages, tick: Instant::now() };
    let ended = drive(&mut terminal, &mut source, &mut host, &mut model, &mut look);
    drop(guard);
    match ended {
        Err(error) if !term::is_gone(&error) => Err(Error::Terminal(error)),
        _ => Ok(()),
    }
}

/// Reads the terminal on a thread of its own. It ends with the program.
fn input(out: SyncSender<Msg>) {
    std::thread::spawn(move || {
        loop {
            let msg = match crossterm::event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Msg::Key(key.into()),
                Ok(Event::Paste(text)) => Msg::Paste(text),
                Ok(Event::Resize(width, height)) => Msg::Resize(width, height),
                Ok(Event::Mouse(mouse)) => match mouse.kind {
                    MouseEventKind::ScrollDown => Msg::Wheel(1),
                    MouseEventKind::ScrollUp => Msg::Wheel(-1),
                    MouseEventKind::Down(MouseButton::Left) => Msg::Click(mouse.column, mouse.row),
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
    mouse: bool,
    /// Suspended: the terminal belongs to the shell.
    away: bool,
}

/// What is said where reading a preset has panicked.
const PANICKED: &str = "reading the preset failed; the log says where";

impl Program {
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
            Effect::Load { preset, changes } => self.aside(move |launcher| {
                let loaded = catch_unwind(AssertUnwindSafe(|| launcher.load(&preset, &changes)));
                Msg::Loaded { preset, spec: loaded.unwrap_or_else(|_| Err(PANICKED.into())) }
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
            Effect::Look { preset, changes } => self.aside(move |launcher| {
                let looked = catch_unwind(AssertUnwindSafe(|| launcher.look(&preset, &changes)));
                let (info, settings) = looked.unwrap_or_else(|_| {
                    (PresetInfo { problem: Some(PANICKED.into()), ..PresetInfo::default() }, Vec::new())
                });
                Msg::Looked { preset, changes, info: Box::new(info), settings }
            }),
            Effect::Suspend if !signals::has_shell() => {
                return Some(Msg::Note(Level::Info, "There is no shell that could bring Kiln back.".into()));
            }
            Effect::Suspend => {
                self.away = true;
                term::leave();
                signals::stop_job();
            }
            Effect::TakeOver => {
                term::leave();
                if let Err(error) = term::enter(self.mouse) {
                    tracing::warn!(%error, "cannot take the terminal over again");
                    return Some(Msg::Leave);
                }
                self.away = false;
            }
            Effect::SwitchTheme | Effect::Redraw | Effect::Quit => {}
        }
        None
    }

    fn may_draw(&self) -> bool {
        !self.away
    }
}
