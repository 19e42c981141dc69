//! The engine as a process, with the fake worker: what it does when all goes well, and when it does not.

// Clippy's exemption of tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use kiln_engine::daemon::{self, Start};
use kiln_protocol::client::Client;
use kiln_protocol::frame;
use kiln_protocol::wire::{FromEngine, Push, Reply, Request, RunDetail, ToEngine};
use kiln_protocol::{Body, Command, RunId, RunState, View, WIRE_VERSION};
use kiln_tests::harness::{Bench, PATIENCE, SPEC};

/// The figure that stands for the weights.
fn digest(bench: &Bench, run: &RunId) -> f64 {
    bench.detail(run).outcome.unwrap().figures["digest"].unwrap()
}

#[test]
fn a_run_goes_from_launch_to_completion() {
    let bench = Bench::running("steps=120,ms=2");
    let run = bench.launch("digits");
    let summary = bench.wait_state(&run, RunState::Completed);
    assert_eq!(
        (summary.preset.as_str(), summary.title.as_str(), summary.method.as_str()),
        ("digits", "A test", "train")
    );
    assert_eq!((summary.attempts, summary.seed, summary.progress.fraction()), (1, 7, 1.0));
    assert!(summary.best.is_some() && summary.ended >= summary.started && summary.pid.is_none());
    bench.assert_store_equals_folder(&run);
    let detail = bench.detail(&run);
    assert_eq!(detail.spec.trim(), SPEC.trim());
    assert!(detail.folder.ends_with(&run.0));
    let views: Vec<&str> = detail.views.iter().map(|v| v.0.as_str()).collect();
    assert_eq!(views, ["candidates", "clusters", "early against full", "distances"]);
    // What runs are compared by leaves out only these.
    let Ok(Reply::Run { run: brief }) = bench.ask(Request::Brief { run: run.clone() }) else { panic!("no answer") };
    assert_eq!(*brief, RunDetail { views: Vec::new(), ..detail.clone() });
    let status = bench.status();
    assert_eq!((status.pid, status.running, status.queued), (bench.engine_pid(), 0, 0));
    assert_eq!(status.devices.len(), 1);
    assert!(status.store_bytes > 0);
}

#[test]
fn pause_resume_stop_and_resume_again() {
    let bench = Bench::running("steps=300,ms=4,checkpoint=20");
    let run = bench.launch("digits");
    bench.wait_step(&run, 10);
    bench.control(&run, Command::Pause).unwrap();
    let paused = bench.wait_state(&run, RunState::Paused);
    assert_eq!(paused.reason.as_deref(), Some("asked to pause"));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(bench.summary(&run).progress, paused.progress, "a paused run does not go on");
    bench.control(&run, Command::Resume).unwrap();
    bench.wait_step(&run, paused.progress.done as u64 + 5);
    bench.control(&run, Command::Set { key: "optim.lr".into(), value: "0.01".into() }).unwrap();
    bench.control(&run, Command::Stop).unwrap();
    let stopped = bench.wait_state(&run, RunState::Stopped);
    assert!(stopped.ended.is_some() && stopped.pid.is_none());
    assert!(bench.control(&run, Command::Pause).unwrap_err().contains("stopped"));
    let knobs = bench.spooled(&run).iter().filter(|e| matches!(e.body, Body::KnobSet { .. })).count();
    assert_eq!(knobs, 1);

    bench.control(&run, Command::Resume).unwrap();
    let done = bench.wait_state(&run, RunState::Completed);
    assert_eq!(done.attempts, 2);
    bench.assert_store_equals_folder(&run);
    let resumed = bench.spooled(&run).into_iter().rev().find_map(|e| match e.body {
        Body::Started { resumed_from, .. } => Some(resumed_from),
        _ => None,
    });
    assert_eq!(resumed, Some(Some(stopped.progress.done as u64)), "from the checkpoint that the stop wrote");
    let knobs = bench.spooled(&run).iter().filter(|e| matches!(e.body, Body::KnobSet { .. })).count();
    assert_eq!(knobs, 2, "the second attempt sets the knob again, and obeys the old stop no more");
}

#[test]
fn a_killed_worker_is_followed_by_one_that_ends_in_the_same_way() {
    let bench = Bench::running("steps=150,ms=3,checkpoint=20");
    let whole = bench.launch("whole");
    bench.wait_state(&whole, RunState::Completed);
    let killed = bench.launch("killed");
    for step in [25, 70] {
        bench.wait_step(&killed, step);
        bench.kill_worker(&killed);
        let attempts = bench.summary(&killed).attempts;
        let again = bench.wait(&killed, "another attempt", |s| s.attempts > attempts && s.state == RunState::Running);
        assert!(again.reason.as_ref().is_some_and(|r| r.contains("signal 9")), "{:?}", again.reason);
    }
    let done = bench.wait_state(&killed, RunState::Completed);
    assert_eq!(done.attempts, 3);
    bench.assert_store_equals_folder(&killed);
    assert_eq!(digest(&bench, &killed), digest(&bench, &whole));
    let warnings = bench
        .spooled(&killed)
        .iter()
        .filter(|e| matches!(&e.body, Body::Log { message, .. } if message.contains("retry")))
        .count();
    assert_eq!(warnings, 2, "each death is in the run's log");
}

#[test]
fn a_run_that_dies_again_and_again_fails_and_can_be_asked_for_again() {
    let mut bench = Bench::running("steps=60,ms=1,die_at=30,die_times=3,checkpoint=10");
    let run = bench.launch_with("digits", 0, "[run]\nretries = 2\n");
    let failed = bench.wait_state(&run, RunState::Failed);
    assert_eq!(failed.attempts, 3, "{failed:?}");
    let reason = failed.reason.unwrap();
    assert!(reason.contains("signal 9") && reason.contains("2 times") && reason.contains("run.retries"), "{reason}");
    bench.assert_store_equals_folder(&run);
    // Another engine comes to the same conclusion.
    bench.kill_engine();
    bench.start();
    assert_eq!(bench.wait_state(&run, RunState::Failed).reason.as_deref(), Some(reason.as_str()));
    bench.control(&run, Command::Resume).unwrap();
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
}

#[test]
fn a_worker_that_gives_up_is_quoted_and_not_tried_again() {
    let bench = Bench::running("steps=60,ms=1,exit_at=5");
    let run = bench.launch("digits");
    let failed = bench.wait_state(&run, RunState::Failed);
    assert!(failed.reason.as_ref().is_some_and(|r| r.contains("give up at step 5")), "{:?}", failed.reason);
    assert_eq!(failed.attempts, 1);

    let bench = Bench::running("steps=60,ms=1,fail_at=5");
    let run = bench.launch("digits");
    let failed = bench.wait_state(&run, RunState::Failed);
    assert_eq!(failed.reason.as_deref(), Some("the script says to fail at step 5"));
}

#[test]
fn a_worker_that_is_not_there_is_named() {
    let mut bench = Bench::new("");
    bench.var("KILN_WORKER", "/no/such/worker").start();
    let run = bench.launch("digits");
    let failed = bench.wait_state(&run, RunState::Failed);
    assert!(failed.reason.as_ref().is_some_and(|r| r.contains("/no/such/worker")), "{:?}", failed.reason);
    bench.assert_store_equals_folder(&run);
}

/// The heart of it: the engine is killed at some instant of a run, again and again; nothing is lost or doubled.
#[test]
fn engines_may_die_at_any_instant() {
    let mut bench = Bench::new("steps=400,ms=3,checkpoint=40");
    bench.start();
    let run = bench.launch("digits");
    // Odd times, so that they hit starts, batches, views and checkpoints; the first two hit the worker's start.
    for pause in [0, 3, 11, 37, 53, 101, 173, 211] {
        std::thread::sleep(Duration::from_millis(pause));
        bench.kill_engine();
        bench.start();
    }
    let running = bench.wait(&run, "going", |s| s.progress.done > 0.0 && s.state.is_live());
    assert_eq!(running.attempts, 1, "the worker was adopted every time, not started anew");
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
    assert_eq!(bench.summary(&run).attempts, 1);
    let deadline = Instant::now() + PATIENCE;
    while bench.status().devices[0].run.is_some() {
        assert!(Instant::now() < deadline, "the device is never free again");
    }
}

#[test]
fn an_adopted_worker_is_obeyed_followed_and_if_it_dies_replaced() {
    let mut bench = Bench::new("steps=300,ms=3,checkpoint=20");
    bench.start();
    let run = bench.launch("digits");
    bench.wait_step(&run, 10);
    bench.kill_engine();
    bench.start();
    bench.wait_state(&run, RunState::Running);
    assert_eq!(bench.status().devices[0].run.as_ref(), Some(&run), "its device is taken");
    bench.control(&run, Command::Pause).unwrap();
    bench.wait_state(&run, RunState::Paused);
    bench.kill_engine();
    bench.start();
    assert_eq!(bench.wait_state(&run, RunState::Paused).reason.as_deref(), Some("asked to pause"));
    bench.control(&run, Command::Resume).unwrap();
    bench.wait_step(&run, 50);
    bench.kill_worker(&run);
    bench.wait(&run, "a second attempt", |s| s.attempts == 2);
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
}

#[test]
fn a_paused_run_stays_paused_whoever_dies() {
    let mut bench = Bench::new("steps=100,ms=3,checkpoint=10");
    bench.start();
    let run = bench.launch("digits");
    bench.wait_step(&run, 15);
    bench.control(&run, Command::Pause).unwrap();
    bench.wait_state(&run, RunState::Paused);
    bench.kill_worker(&run);
    bench.wait(&run, "paused again", |s| s.attempts == 2 && s.state == RunState::Paused);
    bench.kill_engine();
    bench.kill_worker(&run);
    bench.start();
    bench.wait(&run, "paused a third time", |s| s.attempts == 3 && s.state == RunState::Paused);
    bench.control(&run, Command::Resume).unwrap();
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
}

#[test]
fn engine_and_worker_may_die_together() {
    let mut bench = Bench::new("steps=200,ms=3,checkpoint=20");
    bench.start();
    let run = bench.launch("digits");
    bench.wait_step(&run, 30);
    bench.kill_engine();
    bench.kill_worker(&run);
    bench.start();
    let again = bench.wait(&run, "a second attempt", |s| s.attempts == 2);
    assert!(again.reason.as_ref().is_some_and(|r| r.contains("vanished")), "{:?}", again.reason);
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
}

#[test]
fn a_run_that_ended_while_no_engine_looked_is_known_by_the_next() {
    let mut bench = Bench::new("steps=60,ms=2");
    bench.start();
    let (run, waiting) = (bench.launch("digits"), bench.launch_with("waits", 5, ""));
    bench.wait_step(&run, 5);
    assert!(bench.terminate_engine().success(), "SIGTERM is a clean end");
    assert!(!bench.home.socket().exists());
    let deadline = Instant::now() + PATIENCE;
    while bench.worker(&run).unwrap().is_alive() == Some(true) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    bench.start();
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
    let waited = bench.wait_state(&waiting, RunState::Completed);
    assert_eq!((waited.priority, waited.preset.as_str()), (5, "waits"), "what was queued still was");
}

#[test]
fn a_second_engine_is_refused_with_the_pid_of_the_first() {
    let bench = Bench::running("");
    let second = bench.engine_command().output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains(&bench.engine_pid().to_string()), "{said}");
    bench.client();
}

#[test]
fn the_socket_is_for_this_user_alone_and_survives_a_stale_one() {
    let mut bench = Bench::running("");
    let meta = std::fs::metadata(bench.home.socket()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let home = std::fs::metadata(bench.home.root()).unwrap();
    assert_eq!(home.permissions().mode() & 0o077, 0, "nor can others see into the home");
    bench.kill_engine();
    assert!(bench.home.socket().exists(), "left behind");
    assert!(Client::connect(&bench.home.socket()).is_err());
    bench.start();
}

#[test]
fn a_home_too_deep_for_a_socket_works_all_the_same() {
    let mut bench = Bench::in_folder("steps=20,ms=1", &"a-rather-long-name/".repeat(10));
    bench.start();
    assert!(bench.home.socket().as_os_str().len() <= 107);
    assert!(!bench.home.socket().starts_with(bench.home.root()));
    assert_eq!(std::fs::metadata(bench.home.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let run = bench.launch("digits");
    bench.wait_state(&run, RunState::Completed);
    bench.terminate_engine();
    assert!(!bench.home.socket().exists());
}

#[test]
fn another_version_is_told_how_to_restart() {
    let bench = Bench::running("");
    let mut stream = UnixStream::connect(bench.home.socket()).unwrap();
    let hello = Request::Hello { wire: WIRE_VERSION + 1, version: "99.0.0".into() };
    frame::write(&mut stream, &ToEngine { id: 1, request: hello }).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let (reply, used) = frame::decode::<FromEngine>(&rest).unwrap().unwrap();
    assert_eq!(used, rest.len(), "the connection ends after it");
    let FromEngine::Reply { id: 1, reply: Err(said) } = reply else { panic!("{reply:?}") };
    assert!(said.contains("99.0.0") && said.contains("kiln engine stop"), "{said}");
    // Nonsense ends its own connection and nothing else.
    let mut stream = UnixStream::connect(bench.home.socket()).unwrap();
    stream.write_all(&[0xff; 100]).unwrap();
    let _ = stream.read_to_end(&mut rest);
    bench.client();
}

#[test]
fn the_queue_goes_by_priority_then_age_and_can_be_changed() {
    let bench = Bench::running("steps=30,ms=2");
    let first = bench.launch("first");
    let runs: Vec<RunId> =
        [("old", 0), ("young", 0), ("urgent", 9), ("late", -1)].map(|(n, p)| bench.launch_with(n, p, "")).into();
    let unwanted = bench.launch("unwanted");
    assert_eq!(bench.summary(&runs[0]).state, RunState::Queued);
    bench.ask(Request::Priority { run: runs[1].clone(), priority: 4 }).unwrap();
    bench.control(&unwanted, Command::Stop).unwrap();
    assert_eq!(bench.summary(&unwanted).state, RunState::Stopped);
    let mut all = runs.clone();
    all.push(first.clone());
    all.iter().for_each(|run| drop(bench.wait_state(run, RunState::Completed)));
    let mut order: Vec<(f64, RunId)> = all.iter().map(|r| (bench.summary(r).started.unwrap(), r.clone())).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let order: Vec<&RunId> = order.iter().map(|(_, run)| run).collect();
    assert_eq!(order, [&first, &runs[2], &runs[1], &runs[0], &runs[3]]);
    let error = bench.ask(Request::Priority { run: first, priority: 1 }).unwrap_err();
    assert!(error.contains("completed"), "{error}");
}

#[test]
fn ended_runs_can_be_removed_and_others_not() {
    let bench = Bench::running("steps=200,ms=5");
    let run = bench.launch("digits");
    bench.wait_step(&run, 3);
    let error = bench.ask(Request::Remove { run: run.clone() }).unwrap_err();
    assert!(error.contains("stop it first"), "{error}");
    bench.control(&run, Command::Stop).unwrap();
    bench.wait_state(&run, RunState::Stopped);
    let mut watcher = bench.client();
    watcher.request(&Request::Watch { run: None }).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while let Err(e) = bench.ask(Request::Remove { run: run.clone() }) {
        assert!(e.contains("still ending") && Instant::now() < deadline, "{e}");
    }
    assert!(!bench.home.run_dir(&run).exists());
    assert_eq!(std::fs::read_dir(bench.home.runs_dir()).unwrap().count(), 0);
    assert!(bench.runs().is_empty());
    assert!(bench.ask(Request::Run { run: run.clone() }).unwrap_err().contains("no run"));
    loop {
        match watcher.next_push(PATIENCE).unwrap() {
            Some(Push::Removed { runs }) => break assert_eq!(runs, [run]),
            Some(_) => {}
            None => panic!("the watcher was not told"),
        }
    }
}

#[test]
fn a_rebuilt_store_equals_the_one_that_grew() {
    let mut bench = Bench::running("steps=80,ms=2,checkpoint=20,die_at=50");
    let runs = [bench.launch("one"), bench.launch_with("two", 3, "")];
    runs.iter().for_each(|run| drop(bench.wait_state(run, RunState::Completed)));
    let all = |bench: &Bench| {
        let events = |run: &RunId| bench.ask(Request::Events { run: run.clone(), after: 0, limit: 9999, tail: false });
        let series = |run: &RunId| {
            let names = bench.detail(run).series.into_iter().map(|s| s.name).collect();
            bench.ask(Request::Series { run: run.clone(), names, from: None, to: None, columns: 0 })
        };
        let of = |run: &RunId| (bench.detail(run), events(run).unwrap(), series(run).unwrap());
        (bench.runs(), runs.each_ref().map(of))
    };
    let grown = all(&bench);
    assert_eq!(bench.ask(Request::Rebuild), Ok(Reply::Rebuilt { runs: 2 }));
    assert_eq!(all(&bench), grown, "rebuilt by request");
    bench.terminate_engine();
    std::fs::remove_dir_all(bench.home.store_dir()).unwrap();
    bench.start();
    runs.iter().for_each(|run| drop(bench.wait_state(run, RunState::Completed)));
    assert_eq!(all(&bench), grown, "rebuilt because it was gone");
}

#[test]
fn tags_and_notes_outlive_engine_store_and_the_events_of_a_run() {
    let mut bench = Bench::running("steps=300,ms=4");
    let run = bench.launch("digits");
    bench.wait_state(&run, RunState::Running);
    let tag = |bench: &Bench, add: &[&str], remove: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
        bench.ask(Request::Tag { run: run.clone(), add: words(add), remove: words(remove) })
    };
    let labels = |bench: &Bench| {
        let detail = bench.detail(&run);
        (detail.summary.tags, detail.summary.note, detail.note)
    };
    let mut watcher = bench.client();
    watcher.request(&Request::Watch { run: None }).unwrap();
    assert_eq!(tag(&bench, &["paper", "b"], &[]), Ok(Reply::Done));
    let told =
        |push: Option<Push>| matches!(push, Some(Push::Runs { runs }) if runs.iter().any(|r| r.tags == ["b", "paper"]));
    while !told(watcher.next_push(PATIENCE).unwrap()) {}
    assert_eq!(tag(&bench, &["a"], &["b"]), Ok(Reply::Done));
    let note = "# Why\n\nSame seeds as before.";
    assert_eq!(bench.ask(Request::Note { run: run.clone(), note: note.into() }), Ok(Reply::Done));
    let written = (vec!["a".to_owned(), "paper".to_owned()], "Why".to_owned(), note.to_owned());
    assert_eq!(labels(&bench), written);
    assert!(tag(&bench, &["two words"], &[]).unwrap_err().contains("no tag"));
    let nobody = Request::Note { run: RunId("nobody-0001".into()), note: String::new() };
    assert!(bench.ask(nobody).unwrap_err().contains("there is no run"));

    bench.kill_engine();
    bench.start();
    assert_eq!(labels(&bench), written, "the next engine knows them");
    bench.wait_state(&run, RunState::Completed);
    assert_eq!(labels(&bench), written, "whatever came in meanwhile");
    let figures = bench.summary(&run).figures;
    assert!(figures.iter().any(|(name, _)| name == "digest"), "{figures:?}");
    bench.ask(Request::Rebuild).unwrap();
    assert_eq!((labels(&bench), bench.summary(&run).figures), (written.clone(), figures));

    // What is not ours to read is not written over.
    let file = bench.home.run_dir(&run).join("labels.json");
    std::fs::write(&file, "{").unwrap();
    assert!(tag(&bench, &["c"], &[]).unwrap_err().contains("labels.json"));
    std::fs::remove_file(&file).unwrap();
    bench.terminate_engine();
    bench.start();
    assert_eq!(labels(&bench), (vec![], String::new(), String::new()), "the folder is the truth");
}

#[test]
fn a_rebuild_in_mid_run_loses_nothing() {
    let bench = Bench::running("steps=200,ms=3");
    let run = bench.launch("digits");
    for step in [20, 60, 150] {
        bench.wait_step(&run, step);
        bench.ask(Request::Rebuild).unwrap();
    }
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
}

/// A client that watches a chatty run and reads nothing: the engine goes on at its pace, and the client gets merged
/// points and every lifecycle event once it reads.
#[test]
fn a_slow_client_holds_up_nobody() {
    let bench = Bench::running("steps=200,ms=5,burst=3000,checkpoint=10");
    let run = bench.launch("digits");
    let mut slow = bench.client();
    slow.request(&Request::Watch { run: Some(run.clone()) }).unwrap();
    bench.wait_step(&run, 2);
    let mut slowest = Duration::ZERO;
    let mut client = bench.client();
    while bench.summary(&run).state != RunState::Completed {
        let begun = Instant::now();
        client.request(&Request::Runs).unwrap();
        slowest = slowest.max(begun.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
    let (mut seen, mut points, mut last) = (Vec::new(), 0, 0);
    while !seen.iter().any(|b| matches!(b, Body::Completed { .. })) {
        match slow.next_push(PATIENCE).unwrap().expect("the end of the run") {
            Push::Events { events, .. } => {
                for event in events {
                    assert!(event.seq > last, "events come in order and once");
                    last = event.seq;
                    match event.body {
                        Body::Points { series, points: some } if series == "burst" => points += some.len(),
                        body if body.is_lifecycle() => seen.push(body),
                        _ => {}
                    }
                }
            }
            Push::Bye { reason } => panic!("cut off: {reason}"),
            _ => {}
        }
    }
    let checkpoints =
        |all: &mut dyn Iterator<Item = &Body>| all.filter(|b| matches!(b, Body::Checkpoint { .. })).count();
    let spooled = bench.spooled(&run);
    let written = checkpoints(&mut spooled.iter().map(|e| &e.body));
    // The watch began some steps after the start, so one or two of the first may be missing.
    assert!(written - checkpoints(&mut seen.iter()) <= 2, "no checkpoint was dropped");
    assert!(points > 1000 && points < 600_000, "{points} points: merged, not all and not none");
}

#[test]
fn sheets_of_pictures_reach_store_and_watcher_and_only_the_newest_waits() {
    let bench = Bench::running("steps=120,ms=5,pictures=1");
    let run = bench.launch("digits");
    let mut slow = bench.client();
    slow.request(&Request::Watch { run: Some(run.clone()) }).unwrap();
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
    let sheets = |bodies: &mut dyn Iterator<Item = Body>| -> Vec<View> {
        let of = |body| match body {
            Body::View { name, view } if name == "samples" => Some(*view),
            _ => None,
        };
        bodies.filter_map(of).collect()
    };
    let written = sheets(&mut bench.spooled(&run).into_iter().map(|e| e.body));
    let sheet = serde_json::to_string(&written[0]).unwrap();
    assert!(written.len() == 120 && sheet.len() > 100_000, "{} sheets of {} bytes", written.len(), sheet.len());
    let newest = written.last().unwrap();
    let stored = bench.detail(&run).views.into_iter().find(|v| v.0 == "samples");
    assert_eq!(stored.as_ref().map(|v| &v.1), Some(newest));
    // The client has read nothing meanwhile: what did not fit its socket was replaced by what came later.
    let (mut bodies, mut ended) = (Vec::new(), false);
    while !ended {
        if let Push::Events { events, .. } = slow.next_push(PATIENCE).unwrap().expect("the end of the run") {
            ended = events.iter().any(|e| matches!(e.body, Body::Completed { .. }));
            bodies.extend(events.into_iter().map(|e| e.body));
        }
    }
    let seen = sheets(&mut bodies.into_iter());
    assert!(seen.len() < 60, "{} of 120 sheets were sent to a client that did not read", seen.len());
    assert_eq!(seen.last(), Some(newest));
    assert_eq!(bench.ask(Request::Rebuild), Ok(Reply::Rebuilt { runs: 1 }));
    assert_eq!(bench.detail(&run).views.into_iter().find(|v| v.0 == "samples"), stored);
}

#[test]
fn a_watcher_gets_a_snapshot_then_what_changes() {
    let bench = Bench::running("steps=100,ms=5");
    let other = bench.launch("other");
    bench.wait_state(&other, RunState::Completed);
    let mut watcher = bench.client();
    watcher.request(&Request::Watch { run: None }).unwrap();
    let Some(Push::Runs { runs }) = watcher.next_push(PATIENCE).unwrap() else { panic!("a snapshot comes first") };
    assert_eq!((runs.len(), runs[0].state), (1, RunState::Completed));
    let run = bench.launch("digits");
    watcher.request(&Request::Watch { run: Some(run.clone()) }).unwrap();
    let (mut states, mut figures, mut progress, mut ended) = (vec![], 0, 0, false);
    while !ended || figures == 0 {
        match watcher.next_push(PATIENCE).unwrap().unwrap() {
            Push::Runs { runs } => states.extend(runs.into_iter().filter(|r| r.id == run).map(|r| r.state)),
            Push::Events { run: of, events } => {
                assert_eq!(of, run);
                progress += events.iter().filter(|e| matches!(e.body, Body::Progress(_))).count();
                ended |= events.iter().any(|e| matches!(e.body, Body::Completed { .. }));
            }
            Push::System { system } => {
                assert!(system.ram_total > 0 && system.disk_total > 0, "{system:?}");
                figures += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    states.dedup();
    assert_eq!(states.first(), Some(&RunState::Starting), "{states:?}");
    assert!(states.contains(&RunState::Running), "{states:?}");
    assert!(progress > 2, "it came bit by bit");
}

#[test]
fn a_full_disk_keeps_runs_queued_with_the_reason() {
    let mut bench = Bench::new("steps=20,ms=1");
    bench.var("KILN_MIN_FREE_MB", "1000000000000").start();
    let run = bench.launch("digits");
    std::thread::sleep(Duration::from_millis(200));
    let waits = bench.wait_state(&run, RunState::Queued);
    assert!(waits.reason.as_ref().is_some_and(|r| r.contains("room") && r.contains("MB free")), "{:?}", waits.reason);
    bench.terminate_engine();
    bench.var("KILN_MIN_FREE_MB", "1").start();
    let done = bench.wait_state(&run, RunState::Completed);
    assert_eq!(done.reason, None);
}

/// The kernel's limit on the size of files, lowered and lifted while the engine runs, is as good as a full disk.
#[test]
fn a_disk_that_fills_up_under_the_store_loses_nothing() {
    let mut bench = Bench::new("steps=200,ms=5,burst=200");
    let mut command = bench.engine_command();
    let engine = std::mem::replace(&mut command, std::process::Command::new("sh"));
    command.args(["-c", "trap '' XFSZ; exec \"$0\""]).arg(engine.get_program());
    command.envs(engine.get_envs().filter_map(|(k, v)| Some((k, v?))));
    bench.start_as(command);
    let run = bench.launch("digits");
    bench.wait_step(&run, 20);
    let limit = |bytes: &str| {
        let pid = bench.engine_pid().to_string();
        let set = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
        assert!(set.unwrap().success());
    };
    limit("1000");
    std::thread::sleep(Duration::from_millis(700));
    bench.client();
    assert!(bench.output().contains("File too large"), "the disk was not full: {}", bench.output());
    limit("unlimited");
    bench.wait_state(&run, RunState::Completed);
    bench.assert_store_equals_folder(&run);
    assert_eq!(bench.summary(&run).attempts, 1);
}

#[test]
fn a_worker_without_room_is_shown_as_paused() {
    let bench = Bench::running("steps=60,ms=2,enospc=10,enospc_ms=400");
    let run = bench.launch("digits");
    let paused = bench.wait_state(&run, RunState::Paused);
    assert!(paused.reason.as_ref().is_some_and(|r| r.contains("disk is full")), "{:?}", paused.reason);
    bench.wait_state(&run, RunState::Completed);
}

#[test]
fn bad_requests_are_answered_with_sentences_and_make_no_run() {
    let bench = Bench::running("");
    let launch = |spec: &str| {
        bench.ask(Request::Launch { preset: "x".into(), spec: spec.into(), priority: 0, origin: None }).unwrap_err()
    };
    let typo = launch(&SPEC.replace("seed", "sede"));
    assert!(typo.contains("sede"), "{typo}");
    let device = launch(&format!("{SPEC}\n[run]\ndevice = \"cuda:5\"\n"));
    assert!(device.contains("cuda:5") && device.contains("cpu"), "{device}");
    assert_eq!(std::fs::read_dir(bench.home.runs_dir()).unwrap().count(), 0);
    let nobody = RunId("nobody-0000".into());
    for request in [
        Request::Run { run: nobody.clone() },
        Request::Brief { run: nobody.clone() },
        Request::Control { run: nobody.clone(), command: Command::Pause },
        Request::Remove { run: nobody.clone() },
        Request::Watch { run: Some(nobody.clone()) },
        Request::Events { run: nobody.clone(), after: 0, limit: 1, tail: false },
        Request::Run { run: RunId("../../etc".into()) },
    ] {
        let error = bench.ask(request.clone()).unwrap_err();
        assert!(error.contains("no run"), "{request:?}: {error}");
    }
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let bench = Bench::new("");
    std::fs::write(bench.home.root(), "a file").unwrap();
    let output = bench.engine_command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&bench.home.root().display().to_string()), "{said}");
}

#[test]
fn an_idle_engine_ends_and_a_busy_or_watched_one_does_not() {
    let mut bench = Bench::new("steps=60,ms=50");
    bench.var("KILN_IDLE_EXIT", "1").start();
    let client = bench.client();
    let run = bench.launch("digits");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(bench.summary(&run).state, RunState::Running);
    bench.control(&run, Command::Stop).unwrap();
    bench.wait_state(&run, RunState::Stopped);
    std::thread::sleep(Duration::from_millis(1700));
    bench.client();
    drop(client);
    assert!(bench.wait_engine().success());
    assert!(!bench.home.socket().exists());
}

#[test]
fn an_engine_is_started_where_there_is_none_and_stopped_again() {
    let bench = Bench::new("");
    let start = |program: &str| Start { program: program.into(), arguments: vec![], wait: PATIENCE };
    let program = kiln_tests::program("kiln-test-engine").display().to_string();
    assert!(!daemon::stop(&bench.home, PATIENCE).unwrap(), "there was none");
    let first = daemon::ensure_running(&bench.home, &start(&program)).unwrap();
    let pid = first.engine_pid;
    assert_ne!(pid, std::process::id());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session: u32 = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_eq!(session, pid, "it has a session of its own");
    assert_eq!(daemon::ensure_running(&bench.home, &start(&program)).unwrap().engine_pid, pid, "the same one");
    assert!(daemon::stop(&bench.home, PATIENCE).unwrap());
    // At once again: nothing of the first is in the way.
    let second = daemon::ensure_running(&bench.home, &start(&program)).unwrap().engine_pid;
    assert_ne!(second, pid);
    assert!(daemon::stop(&bench.home, PATIENCE).unwrap());
    let error = daemon::ensure_running(&bench.home, &start("/bin/false")).err().unwrap().to_string();
    assert!(error.contains("ended right after its start") && error.contains("engine.log"), "{error}");
    let error = daemon::ensure_running(&bench.home, &start("/no/such/kiln")).err().unwrap().to_string();
    assert!(error.contains("/no/such/kiln"), "{error}");
}
