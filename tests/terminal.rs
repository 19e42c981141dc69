//! A program in a pseudo-terminal whose screen can be read: what a person would see.
//!
//! Everything here panics when something is not as it should be; it is for tests and benches only.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use crate::harness::PATIENCE;

/// What the reader knows, and a bell for who waits for it to change.
type Shared = Arc<(Mutex<vt100::Parser>, Condvar)>;

/// What ends a frame.
const FRAME: &[u8] = b"\x1b[?2026l";

/// A program, and the terminal that it thinks it has. Dropping it ends the program.
pub struct Terminal {
    child: Child,
    master: File,
    screen: Shared,
    bytes: Arc<AtomicU64>,
}

impl Terminal {
    /// Starts a program on a screen of that size.
    pub fn open(mut command: Command, columns: u16, rows: u16) -> Terminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child =
            command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").env_remove("NO_COLOR").env_remove("TMUX");
        let child = child.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let master = File::from(pty.master);
        let screen: Shared = Arc::new((Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)), Condvar::new()));
        let bytes = Arc::new(AtomicU64::new(0));
        let (mut from, to, count) = (master.try_clone().unwrap(), Arc::clone(&screen), Arc::clone(&bytes));
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            let mut waiting: Vec<u8> = Vec::new();
            // An error is the end: the program has closed its side.
            while let Ok(n) = from.read(&mut buffer) {
                if n == 0 {
                    return;
                }
                count.fetch_add(n as u64, Ordering::Relaxed);
                // A frame is one synchronised update: no terminal shows half of it, and neither does this one.
                waiting.extend_from_slice(&buffer[..n]);
                let whole = waiting.windows(FRAME.len()).rposition(|w| w == FRAME).map_or(0, |at| at + FRAME.len());
                to.0.lock().unwrap_or_else(PoisonError::into_inner).process(&waiting[..whole]);
                waiting.drain(..whole);
                to.1.notify_all();
            }
        });
        // The slave's last handle of ours goes here: the reader ends with the program.
        drop(pty.slave);
        Terminal { child, master, screen, bytes }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes that the program has sent so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The screen as text, without blanks at the ends of lines.
    pub fn text(&self) -> String {
        let screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        screen.screen().contents()
    }

    /// The first row that is selected: one whose cells have a background of their own.
    pub fn selected(screen: &vt100::Screen) -> Option<u16> {
        let (rows, columns) = (screen.size().0.get(), screen.size().1.get());
        let marked = |row: &u16| {
            let cell = screen.cell(*row, columns / 2);
            cell.is_some_and(|c| c.inverse() || c.bgcolor() != vt100::Color::Default)
        };
        (0..rows).find(marked)
    }

    /// What is on the screen now, with its attributes.
    pub fn screen(&self) -> vt100::Screen {
        self.screen.0.lock().unwrap_or_else(PoisonError::into_inner).screen().clone()
    }

    /// Presses keys, apart by blanks: `enter`, `esc`, `ctrl-p`, or what is typed as it stands.
    pub fn press(&mut self, keys: &str) {
        for key in keys.split(' ') {
            let bytes = match key {
                "enter" => "\r".to_owned(),
                "esc" => "\x1b".to_owned(),
                "tab" => "\t".to_owned(),
                "space" => " ".to_owned(),
                "backspace" => "\x7f".to_owned(),
                "up" => "\x1b[A".to_owned(),
                "down" => "\x1b[B".to_owned(),
                "right" => "\x1b[C".to_owned(),
                "left" => "\x1b[D".to_owned(),
                "f2" => "\x1bOQ".to_owned(),
                _ => match (key.strip_prefix("ctrl-").and_then(|k| k.bytes().next()), key.strip_prefix("alt-")) {
                    (Some(letter), _) => char::from(letter & 0x1f).to_string(),
                    (None, Some(rest)) => format!("\x1b{rest}"),
                    (None, None) => key.to_owned(),
                },
            };
            self.master.write_all(bytes.as_bytes()).unwrap();
            if key == "esc" {
                // What follows an escape at once is read as one sequence with it.
                std::thread::sleep(Duration::from_millis(60));
            }
        }
    }

    /// Types text, blanks and all.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the screen is as wanted, and returns it. `what` is said if that never happens.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_within(PATIENCE, wanted).unwrap_or_else(|text| panic!("the screen never shows {what}:\n{text}"))
    }

    /// Waits until the screen contains a text.
    pub fn wait(&self, text: &str) -> String {
        self.wait_for(&format!("`{text}`"), |screen| screen.contains(text))
    }

    /// As [`Terminal::wait_for`]; the screen as it was at last where it did not come to that.
    pub fn wait_within(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
        self.wait_screen(limit, |screen| wanted(&screen.contents()))
    }

    /// As [`Terminal::wait_within`], for what colours and attributes say.
    pub fn wait_screen(&self, limit: Duration, wanted: impl Fn(&vt100::Screen) -> bool) -> Result<String, String> {
        let deadline = Instant::now() + limit;
        let mut screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if wanted(screen.screen()) {
                return Ok(screen.screen().contents());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(screen.screen().contents());
            }
            screen = self.screen.1.wait_timeout(screen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the program's end.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the program does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn cells(n: u16) -> NonZero<u16> {
    NonZero::new(n).unwrap_or(NonZero::<u16>::MIN)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
