//! The command line in a home of a test's own, with a fake worker behind the real engine.
//!
//! Everything here panics when something is not as it should be; it is for tests only.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// A preset of the default method on data that is only there to be found.
pub const PRESET: &str = r#"method = "dc-nas"
title = "A search for tests"
[data]
set = "digits"
path = "digits.csv"
train = 576
[space]
name = "digits-mlp"
[optim]
batch = 32
"#;

/// A home of its own, a preset, and an engine that ends with it.
pub struct Kiln {
    folder: tempfile::TempDir,
    fake: &'static str,
}

impl Kiln {
    /// `fake` scripts the worker, see `fake_worker.rs`.
    pub fn new(fake: &'static str) -> Kiln {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("digits.csv"), "").unwrap();
        std::fs::write(folder.path().join("search.toml"), PRESET).unwrap();
        Kiln { folder, fake }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::program("kiln"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("KILN_HOME", self.path("home"))
            .env("KILN_CONFIG", self.path("config"))
            .env("KILN_WORKER", crate::program("kiln-fake-worker"))
            .env("KILN_FAKE", self.fake)
            .env_remove("KILN_SHARE")
            .env("TERM", "dumb")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(&self.command(arguments).output().unwrap())
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(0), "kiln {}: {said:?}", arguments.join(" "));
        said.out
    }

    pub fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits until the newest run is in that state.
    pub fn until(&self, state: &str) -> Json {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let runs = self.json(&["ls", "--json"]);
            if runs[0]["state"] == state {
                return runs[0].clone();
            }
            assert!(Instant::now() < deadline, "the run does not get {state}: {}", runs[0]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a file that ends so to be written into the folder where the command line was started, and reads it.
    pub fn until_file(&self, end: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        let read = || {
            let files = std::fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| entry.path());
            let mut found = files.filter(|f| f.to_string_lossy().ends_with(end) && !f.ends_with("digits.csv"));
            found.next().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default()
        };
        loop {
            let before = read();
            std::thread::sleep(Duration::from_millis(50));
            // Whole once nothing is added any more.
            if !before.is_empty() && before == read() {
                return before;
            }
            assert!(Instant::now() < deadline, "no file `*{end}` was written");
        }
    }
}

impl Drop for Kiln {
    fn drop(&mut self) {
        // A worker that is left would write into a folder that is being removed.
        let runs: Json = serde_json::from_str(&self.run(&["ls", "--json"]).out).unwrap_or_default();
        for run in runs.as_array().into_iter().flatten() {
            if !["completed", "failed", "stopped"].iter().any(|s| run["state"] == *s) {
                self.run(&["stop", "--wait", run["id"].as_str().unwrap_or_default()]);
            }
        }
        self.run(&["engine", "stop"]);
    }
}

#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: &Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}
