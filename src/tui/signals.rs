//! Signals, and being a job of a shell.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getpgrp, getsid};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::msg::Msg;
use crate::term;

/// How long the client may take to leave after a signal before it is made to: it may hang in a write to a terminal that
/// has stopped reading.
const PATIENCE: Duration = Duration::from_secs(2);

/// The program that has the terminal now, such as an editor; 0 while that is the client itself.
static BORROWER: AtomicI32 = AtomicI32::new(0);

/// Gives the terminal back to the client when dropped.
pub struct Lent;

/// Another program of this process group has the terminal: keys that make signals are meant for it, not for the client.
pub fn lend(pid: u32) -> Lent {
    BORROWER.store(i32::try_from(pid).unwrap_or(0), Ordering::SeqCst);
    Lent
}

impl Drop for Lent {
    fn drop(&mut self) {
        BORROWER.store(0, Ordering::SeqCst);
    }
}

/// Forwards signals as messages, on a thread of its own.
pub fn start(out: SyncSender<Msg>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGTSTP, SIGCONT])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let borrower = BORROWER.load(Ordering::SeqCst);
            let sent = match signal {
                SIGINT | SIGCONT if borrower > 0 => Ok(()),
                SIGTSTP if borrower > 0 => {
                    // The other program has stopped, and the client with it; without a shell that would be for ever.
                    if has_shell() {
                        stop_job()
                    } else {
                        go_on()
                    }
                    Ok(())
                }
                SIGTSTP => out.send(Msg::Suspend),
                SIGCONT => out.send(Msg::Continued),
                ending => {
                    if borrower > 0 {
                        // It would be left without a terminal. Editors save what they have when they are hung up on.
                        let _ = kill(Pid::from_raw(borrower), Signal::SIGHUP);
                    }
                    let _ = out.try_send(Msg::Leave);
                    std::thread::sleep(PATIENCE);
                    term::leave();
                    std::process::exit(128 + ending);
                }
            };
            if sent.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Whether somebody could wake this process group up again: its leader's parent is in the same session but another group, as
/// the processes of a shell's job are. Where there is no shell (`tmux new kiln`), being stopped would be for ever.
pub fn has_shell() -> bool {
    let group = getpgrp();
    let parent = if group == Pid::this() { Some(Pid::parent()) } else { parent_of(group) };
    parent.is_some_and(|parent| {
        let session = getsid(Some(parent)).ok();
        session.is_some() && session == getsid(None).ok() && getpgid(Some(parent)).ok() != Some(group)
    })
}

/// Parent of another process, from its `stat`: the fourth field, after a name in brackets that may hold anything.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit_once(')')?.1;
    after.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// Stops the whole job, as a shell's `ctrl-z` does: `make run` has to stop with the client it started.
pub fn stop_job() {
    if let Err(error) = kill(Pid::from_raw(0), Signal::SIGSTOP) {
        tracing::warn!(%error, "cannot stop");
    }
}

/// Wakes the whole job up.
fn go_on() {
    if let Err(error) = kill(Pid::from_raw(0), Signal::SIGCONT) {
        tracing::warn!(%error, "cannot go on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_this_process_is_found_both_ways() {
        assert_eq!(parent_of(Pid::this()), Some(Pid::parent()));
        assert_eq!(parent_of(Pid::from_raw(i32::MAX)), None);
    }
}
