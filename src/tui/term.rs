//! The terminal: taken over and given back, whatever happens; one write a frame.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, queue};

/// Whether the terminal is ours now: it is given back once, however many ways lead there.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the terminal over: raw mode, alternate screen, no cursor.
///
/// # Errors
/// If standard input is no terminal.
pub fn enter(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    let mut out = io::stdout();
    queue!(out, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
    if mouse {
        queue!(out, EnableMouseCapture)?;
    }
    out.flush()
}

/// Gives the terminal back. Does nothing if it is not ours; errors are of no use to anybody here.
pub fn leave() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    // A frame may have been cut short within a synchronised update. Modes that were never switched on may be switched off.
    let _ = queue!(
        out,
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableBracketedPaste,
        cursor::Show,
        LeaveAlternateScreen
    );
    let _ = out.flush();
    let _ = disable_raw_mode();
}

/// Takes the mouse while the screen is ours, or leaves it to the terminal.
pub fn mouse(on: bool) {
    let mut out = io::stdout();
    let queued = if on { queue!(out, EnableMouseCapture) } else { queue!(out, DisableMouseCapture) };
    // A terminal that cannot be written to is noticed by the next frame.
    let _ = queued.and_then(|()| out.flush());
}

/// Sends what is no part of a frame.
pub fn send(sequence: &[u8]) {
    let mut out = io::stdout();
    // As above.
    let _ = out.write_all(sequence).and_then(|()| out.flush());
}

/// What puts a text into the terminal's clipboard: OSC 52. It goes through SSH; tmux passes it on with
/// `set -s set-clipboard on`.
pub fn copying(text: &str) -> Vec<u8> {
    format!("\x1b]52;c;{}\x07", BASE64.encode(text)).into_bytes()
}

/// What tells somebody who looks elsewhere: the bell, and a banner (OSC 9) where the terminal is not known to print what it does
/// not understand. Through tmux a banner goes as it is wrapped here (tmux: `set -g allow-passthrough on`).
pub fn telling(text: &str, bell: bool, banner: bool, var: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut out = Vec::new();
    let term = var("TERM").unwrap_or_default();
    if banner && !matches!(term.as_str(), "" | "dumb" | "linux") && !term.starts_with("vt1") {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        // A number in front would be another command to some terminals.
        let text = format!("Kiln: {text}");
        let tmux = var("TMUX").is_some_and(|v| !v.is_empty());
        let sequence =
            if tmux { format!("\x1bPtmux;\x1b\x1b]9;{text}\x07\x1b\\") } else { format!("\x1b]9;{text}\x07") };
        out.extend(sequence.into_bytes());
    }
    if bell {
        out.push(0x07);
    }
    out
}

/// Gives the terminal back when dropped.
pub struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        leave();
    }
}

/// A panic of the thread that owns the screen gives the terminal back before it is told. One of another thread is only
/// logged: its message would be written over a screen that lives on.
pub fn install_panic_hook(ui: ThreadId) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!(%info, "panic");
        if std::thread::current().id() == ui {
            leave();
            before(info);
        } else if !TAKEN.load(Ordering::SeqCst) {
            before(info);
        }
    }));
}

/// Whether this error means that the terminal is gone: hung up, closed, or never coming back.
pub fn is_gone(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let gone = [Errno::EIO, Errno::ENXIO, Errno::ENOTTY, Errno::EBADF, Errno::EPIPE].map(|e| e as i32);
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error().is_some_and(|code| gone.contains(&code))
}

/// Whether the terminal still answers. Crossterm's reader does not notice that it has gone: it would spin for ever.
pub fn is_alive() -> bool {
    nix::sys::termios::tcgetattr(io::stdin()).is_ok()
}

/// Collects a frame and writes it at once, within a synchronised update, so that a terminal never shows half of it.
pub struct Frames<W: Write> {
    out: W,
    frame: Vec<u8>,
}

impl<W: Write> Frames<W> {
    pub fn new(out: W) -> Frames<W> {
        Frames { out, frame: Vec::new() }
    }
}

impl<W: Write> Write for Frames<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let mut whole = Vec::with_capacity(self.frame.len() + 16);
        queue!(whole, BeginSynchronizedUpdate)?;
        whole.append(&mut self.frame);
        queue!(whole, EndSynchronizedUpdate)?;
        self.out.write_all(&whole)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_synchronised_write() {
        let mut out = Vec::new();
        let mut frames = Frames::new(&mut out);
        frames.write_all(b"ab").unwrap();
        frames.write_all(b"c").unwrap();
        frames.flush().unwrap();
        frames.flush().unwrap();
        assert_eq!(out, b"\x1b[?2026habc\x1b[?2026l");
    }

    #[test]
    fn a_copy_is_one_sequence_that_holds_the_text() {
        assert_eq!(copying("train-k3f7"), b"\x1b]52;c;dHJhaW4tazNmNw==\x07");
        let odd = copying("\x1b]0;title\x07\n日本");
        assert_eq!(odd.iter().filter(|b| **b == 0x1b || **b == 0x07).count(), 2, "nothing of the text is a command");
    }

    #[test]
    fn telling_suits_the_terminal() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned())
        };
        let xterm = &[("TERM", "xterm-256color")];
        assert_eq!(telling("a\x07b has failed", true, true, env(xterm)), b"\x1b]9;Kiln: ab has failed\x07\x07");
        assert_eq!(telling("a", true, false, env(xterm)), b"\x07");
        assert_eq!(telling("a", false, true, env(&[("TERM", "linux")])), b"");
        let tmux = &[("TERM", "tmux-256color"), ("TMUX", "/tmp/tmux-0/default,1,0")];
        assert_eq!(telling("a", false, true, env(tmux)), b"\x1bPtmux;\x1b\x1b]9;Kiln: a\x07\x1b\\");
    }

    #[test]
    fn only_a_panic_of_the_screens_owner_gives_the_terminal_back() {
        let owner = std::thread::spawn(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(|_| {}));
            install_panic_hook(std::thread::current().id());
            TAKEN.store(true, Ordering::SeqCst);
            assert!(std::thread::spawn(|| panic!("elsewhere")).join().is_err());
            let kept = TAKEN.load(Ordering::SeqCst);
            assert!(std::panic::catch_unwind(|| panic!("here")).is_err());
            let given_back = !TAKEN.load(Ordering::SeqCst);
            std::panic::set_hook(before);
            (kept, given_back)
        });
        assert_eq!(owner.join().unwrap(), (true, true));
    }

    #[test]
    fn a_terminal_that_is_gone_is_told_from_other_errors() {
        assert!(is_gone(&io::Error::from_raw_os_error(5)));
        assert!(is_gone(&io::ErrorKind::BrokenPipe.into()));
        assert!(!is_gone(&io::ErrorKind::OutOfMemory.into()));
        assert!(!is_gone(&io::Error::from_raw_os_error(11)));
    }
}
