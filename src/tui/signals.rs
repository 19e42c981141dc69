//! Signals, and being a job of a shell.

use std::io;
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

/// Forwards signals as messages, on a thread of its own.
pub fn start(out: SyncSender<Msg>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGTSTP, SIGCONT])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let sent = match signal {
                SIGTSTP => out.send(Msg::Suspend),
                SIGCONT => out.send(Msg::Continued),
                ending => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_this_process_is_found_both_ways() {
        assert_eq!(parent_of(Pid::this()), Some(Pid::parent()));
        assert_eq!(parent_of(Pid::from_raw(i32::MAX)), None);
    }
}
