//! How long `kiln` takes to show something: start to first frame in a pseudo-terminal, and `kiln ls`; medians of 20, warm.
//!
//! Needs the binaries of the same profile beside this bench (`make bench` builds them). An engine is started on an empty
//! home of its own and stopped at the end.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

const RUNS: usize = 20;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let home = tempfile::tempdir()?;
    let kiln = binary()?;
    run(&kiln, home.path(), &["engine", "start"])?;
    let outcome = measure(&kiln, home.path());
    run(&kiln, home.path(), &["engine", "stop"])?;
    outcome
}

fn measure(kiln: &Path, home: &Path) -> Result<()> {
    let list = median(|| {
        let start = Instant::now();
        run(kiln, home, &["ls"])?;
        Ok(start.elapsed())
    })?;
    println!("kiln ls, median of {RUNS}, warm: {:.1} ms (goal: at most 20)", list.as_secs_f64() * 1e3);
    let frame = median(|| first_frame(kiln, home))?;
    println!(
        "start of kiln to the first frame, median of {RUNS}, warm: {:.1} ms (goal: at most 50)",
        frame.as_secs_f64() * 1e3
    );
    Ok(())
}

/// The product's binary of the profile that this bench was built in: two folders above `target/<profile>/deps/bench`.
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.ancestors().nth(2).map(|dir| dir.join("kiln")).filter(|p| p.exists());
    path.ok_or_else(|| "there is no `kiln` of this profile yet: build it with `cargo build --release` first".into())
}

fn command(kiln: &Path, home: &Path) -> Command {
    let mut command = Command::new(kiln);
    command.env("KILN_HOME", home).env("KILN_CONFIG", home.join("config")).env("TERM", "xterm-256color");
    command
}

fn run(kiln: &Path, home: &Path, arguments: &[&str]) -> Result<()> {
    let output = command(kiln, home).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("kiln {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)).into())
}

/// From spawning `kiln` in a terminal of 80x24 to the last byte of its first frame, which ends a synchronised update.
fn first_frame(kiln: &Path, home: &Path) -> Result<Duration> {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None)?;
    let end = || pty.slave.try_clone().map(Stdio::from);
    let start = Instant::now();
    let mut child = command(kiln, home).stdin(end()?).stdout(end()?).stderr(end()?).spawn()?;
    let mut master = File::from(pty.master.try_clone()?);
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let elapsed = loop {
        let n = master.read(&mut buffer)?;
        seen.extend_from_slice(&buffer[..n]);
        if seen.windows(8).any(|w| w == b"\x1b[?2026l") {
            break start.elapsed();
        }
        if n == 0 {
            return Err("kiln closed its terminal before the first frame".into());
        }
    };
    child.kill()?;
    child.wait()?;
    Ok(elapsed)
}

fn median(mut once: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    once()?;
    let mut times = (0..RUNS).map(|_| once()).collect::<Result<Vec<_>>>()?;
    times.sort();
    Ok(times[RUNS / 2])
}
