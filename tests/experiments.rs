//! Experiments in the engine, with the fake worker: arms, seeds, and whatever may die meanwhile.

// Clippy's exemption of tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kiln_protocol::run::Table;
use kiln_protocol::spec::seed::derive;
use kiln_protocol::wire::{Push, Reply, Request, RunDetail, Series};
use kiln_protocol::{Body, Command, Outcome, RunId, RunState, View};
use kiln_tests::harness::{Bench, PATIENCE, SPEC};

const ARMS: &str = "[[arms]]\nname = \"slow\"\n[[arms]]\nname = \"quick\"\nset = { \"optim.lr\" = 0.5 }\n";

/// Queues two arms with these seeds.
fn launch(bench: &Bench, seeds: &str, more: &str) -> RunId {
    let spec = format!("seeds = {seeds}\n{SPEC}\n{more}\n{ARMS}");
    match bench.ask(Request::Launch { preset: "digits".into(), spec, priority: 0, origin: None }) {
        Ok(Reply::Launched { run }) => run,
        other => panic!("{other:?}"),
    }
}

fn states(detail: &RunDetail) -> Vec<RunState> {
    detail.jobs.iter().map(|job| job.state).collect()
}

/// Waits until a job has come so far.
fn wait_job(bench: &Bench, run: &RunId, n: u32, step: u64) {
    bench.wait(&run.job(n), &format!("to step {step}"), |s| s.progress.done >= step as f64);
}

/// Everything that a machine reads of an outcome: figures and tables, what takes wall time left out by the fake worker.
fn found(bench: &Bench, run: &RunId) -> Outcome {
    bench.detail(run).outcome.expect("an outcome")
}

fn count(bench: &Bench, run: &RunId, what: impl Fn(&Body) -> bool) -> usize {
    bench.spooled(run).iter().filter(|e| what(&e.body)).count()
}

/// The engine knows of the experiment's own events exactly what its folder says.
fn assert_spooled(bench: &Bench, run: &RunId) {
    let events = bench.spooled(run);
    let numbers: Vec<u64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    bench.wait(run, "read to the end", |s| s.last_seq == events.len() as u64);
    let Ok(Reply::Events { events: known }) =
        bench.ask(Request::Events { run: run.clone(), after: 0, limit: u32::MAX, tail: false })
    else {
        panic!("no events")
    };
    assert_eq!(known, events.into_iter().filter(|e| e.body.is_lifecycle()).collect::<Vec<_>>());
}

/// Whether the state of an experiment is what those of its jobs allow.
fn assert_follows_from_jobs(detail: &RunDetail) {
    use RunState::{Completed, Failed, Paused, Queued, Running, Starting, Stopped, Stopping};
    let jobs = states(detail);
    let any = |wanted: &[RunState]| jobs.iter().any(|s| wanted.contains(s));
    let allowed: &[RunState] = if any(&[Running, Starting]) {
        &[Running]
    } else if any(&[Stopping]) {
        &[Stopping]
    } else if any(&[Paused]) {
        &[Paused]
    } else if any(&[Queued]) {
        // Withheld, or a process that has yet to go.
        &[Queued, Paused, Running, Stopping]
    } else if any(&[Stopped]) {
        &[Stopped, Stopping, Running]
    } else {
        &[Completed, Failed, Running]
    };
    assert!(allowed.contains(&detail.summary.state), "{} with {jobs:?}", detail.summary.state);
    let counts = detail.summary.jobs.expect("counts of jobs");
    assert_eq!(counts.total as usize, jobs.len());
    assert_eq!(counts.completed as usize, jobs.iter().filter(|s| **s == Completed).count());
    assert_eq!(counts.queued as usize, jobs.iter().filter(|s| **s == Queued).count());
}

#[test]
fn all_jobs_are_run_in_order_and_their_figures_compared() {
    let bench = Bench::running("steps=30,ms=1");
    let run = launch(&bench, "[3, 4, 9]", "");
    let done = bench.wait_state(&run, RunState::Completed);
    assert_eq!((done.progress.done, done.progress.total, done.attempts), (6.0, 6.0, 1));
    let counts = done.jobs.unwrap();
    assert_eq!((counts.completed, counts.ended(), done.reason), (6, 6, None));
    let detail = bench.detail(&run);
    let parts: Vec<(String, u64)> = detail.jobs.iter().map(|j| (j.arm.clone().unwrap(), j.seed)).collect();
    let part = |arm: &str, seed| (arm.to_owned(), seed);
    assert_eq!(parts[..3], [part("slow", 3), part("quick", 3), part("slow", 4)]);
    let mut order: Vec<(f64, RunId)> = detail.jobs.iter().map(|j| (j.started.unwrap(), j.id.clone())).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_eq!(order.iter().map(|o| &o.1).collect::<Vec<_>>(), detail.jobs.iter().map(|j| &j.id).collect::<Vec<_>>());
    for job in &detail.jobs {
        bench.assert_store_equals_folder(&job.id);
        let own = bench.detail(&job.id);
        assert!(!own.spec.contains("arms") && !own.spec.contains("seeds"), "{}", own.spec);
        assert_eq!(own.spec.contains("lr = 0.5"), job.arm.as_deref() == Some("quick"));
        assert_eq!(own.folder, format!("{}/jobs/{}", detail.folder, job.id.in_order().1));
    }
    assert_spooled(&bench, &run);

    // The fake worker knows of seeds alone, so the arms come out equal.
    let outcome = found(&bench, &run);
    let figure = |name: &str| outcome.figures[name];
    assert_eq!(figure("slow/valid_accuracy/n"), Some(3.0));
    assert_eq!((figure("quick/valid_accuracy/difference"), figure("quick/valid_accuracy/p")), (Some(0.0), Some(1.0)));
    let accuracy = |n: u32| bench.detail(&run.job(n)).outcome.unwrap().figures["valid_accuracy"].unwrap();
    let mean = (accuracy(1) + accuracy(3) + accuracy(5)) / 3.0;
    assert!((figure("slow/valid_accuracy/mean").unwrap() - mean).abs() < 1e-12);
    assert!(outcome.verdict.starts_with("Arm quick does not differ significantly from slow"), "{}", outcome.verdict);
    let shown = detail.views.iter().find(|v| v.0 == "arms").map(|v| v.1.clone());
    assert_eq!(shown, Some(View::Table(outcome.tables[0].clone())), "the view shows the same in the end");

    // Lists show experiments, jobs only if asked for.
    assert_eq!(bench.runs().iter().map(|r| &r.id).collect::<Vec<_>>(), [&run]);
    let Ok(Reply::Runs { runs }) = bench.ask(Request::Jobs { run: None }) else { panic!("no jobs") };
    assert_eq!(runs, detail.jobs);
}

#[test]
fn curves_of_an_experiment_are_means_with_a_spread() {
    let bench = Bench::running("steps=40,ms=1,burst=20");
    let run = launch(&bench, "[1, 2, 3]", "");
    bench.wait_state(&run, RunState::Completed);
    let names: Vec<String> = bench.detail(&run).series.iter().map(|s| s.name.clone()).collect();
    assert!(names.contains(&"slow: burst".to_owned()), "{names:?}");
    assert!(names.iter().all(|n| !n.contains("cand-")), "{names:?}");
    let ask = |names: Vec<String>, columns| -> Vec<Series> {
        match bench.ask(Request::Series { run: run.clone(), names, from: None, to: None, columns }) {
            Ok(Reply::Series { series }) => series,
            other => panic!("{other:?}"),
        }
    };
    let burst = &ask(vec!["quick: burst".into()], 0)[0];
    assert_eq!((burst.jobs, burst.total, burst.points.len()), (3, 800, 800));
    assert!(burst.spread.iter().all(|s| *s < 1e-12), "it is the same sine for every seed");
    assert!(burst.points.iter().all(|p| (p[1] - (p[0] / 10.0).sin()).abs() < 1e-12));
    assert_eq!(ask(vec!["quick: burst".into()], 50)[0].points.len(), 50);
    assert!(ask(vec!["nobody: burst".into()], 50)[0].points.is_empty());
}

/// The heart of it: the engine is killed at some instant, again and again.
#[test]
fn engines_may_die_at_any_instant_of_an_experiment() {
    let script = "steps=60,ms=2,checkpoint=10";
    let whole = Bench::running(script);
    let reference = launch(&whole, "[1, 2, 3]", "");
    whole.wait_state(&reference, RunState::Completed);
    let expected = found(&whole, &reference);

    let mut bench = Bench::new(script);
    bench.start();
    let run = launch(&bench, "[1, 2, 3]", "");
    for kill in 0..8 {
        std::thread::sleep(Duration::from_millis(derive(7, "kill", kill, 0) % 190));
        assert_follows_from_jobs(&bench.detail(&run));
        bench.kill_engine();
        bench.start();
        assert_follows_from_jobs(&bench.detail(&run));
    }
    bench.wait_state(&run, RunState::Completed);
    let detail = bench.detail(&run);
    assert!(detail.jobs.iter().all(|job| job.attempts == 1), "workers were adopted, not started anew");
    for job in &detail.jobs {
        bench.assert_store_equals_folder(&job.id);
        assert_eq!(count(&bench, &job.id, |b| matches!(b, Body::Completed { .. })), 1);
    }
    assert_spooled(&bench, &run);
    assert_eq!(count(&bench, &run, |b| matches!(b, Body::Completed { .. })), 1, "it ends once");
    assert_eq!(count(&bench, &run, |b| matches!(b, Body::Started { .. })), 1);
    assert_eq!(found(&bench, &run), expected, "and as if nothing had happened");

    // The store is made again from the folders alone.
    let Ok(Reply::Rebuilt { runs: 7 }) = bench.ask(Request::Rebuild) else { panic!("not rebuilt") };
    let again = bench.detail(&run);
    assert_eq!((&again.summary, &again.jobs), (&detail.summary, &detail.jobs));
    assert_eq!((&again.outcome, &again.views, &again.series), (&detail.outcome, &detail.views, &detail.series));
}

#[test]
fn an_engine_that_was_away_at_the_end_says_what_it_missed() {
    let mut bench = Bench::new("steps=60,ms=2");
    bench.var("KILN_CPU_SLOTS", "2").start();
    let run = launch(&bench, "[1]", "");
    wait_job(&bench, &run, 2, 5);
    bench.kill_engine();
    let deadline = Instant::now() + PATIENCE;
    while (1..=2).any(|n| bench.worker(&run.job(n)).unwrap().is_alive() == Some(true)) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    bench.start();
    let done = bench.wait_state(&run, RunState::Completed);
    assert_eq!(done.jobs.unwrap().completed, 2);
    assert_eq!(found(&bench, &run).figures["slow/digest/n"], Some(1.0));
    assert_spooled(&bench, &run);
}

#[test]
fn stopping_and_resuming_finishes_only_what_is_unfinished() {
    let mut bench = Bench::new("steps=80,ms=3,checkpoint=10");
    bench.start();
    let run = launch(&bench, "[1, 2]", "");
    wait_job(&bench, &run, 2, 20);
    bench.control(&run, Command::Stop).unwrap();
    let stopped = bench.wait_state(&run, RunState::Stopped);
    assert!(stopped.reason.as_ref().is_some_and(|r| r.contains("3 of 4 jobs")), "{:?}", stopped.reason);
    let detail = bench.detail(&run);
    assert_eq!(states(&detail), [RunState::Completed, RunState::Stopped, RunState::Stopped, RunState::Stopped]);
    let error = bench.control(&run, Command::Stop).unwrap_err();
    assert!(error.contains("ended already"), "{error}");
    bench.kill_engine();
    bench.start();
    assert_eq!(bench.summary(&run).state, RunState::Stopped);
    bench.control(&run, Command::Resume).unwrap();
    let done = bench.wait_state(&run, RunState::Completed);
    assert_eq!(done.attempts, 2);
    let detail = bench.detail(&run);
    assert_eq!(detail.jobs.iter().map(|j| j.attempts).collect::<Vec<_>>(), [1, 2, 1, 1]);
    assert_eq!(count(&bench, &run, |b| matches!(b, Body::Started { .. })), 2);
    assert_spooled(&bench, &run);
    let error = bench.control(&run, Command::Resume).unwrap_err();
    assert!(error.contains("completed"), "{error}");
}

#[test]
fn a_paused_experiment_starts_nothing_whoever_dies() {
    let mut bench = Bench::new("steps=300,ms=4,checkpoint=10");
    bench.var("KILN_CPU_SLOTS", "2").start();
    let run = launch(&bench, "[1, 2]", "");
    wait_job(&bench, &run, 2, 10);
    bench.control(&run, Command::Pause).unwrap();
    bench.wait_state(&run, RunState::Paused);
    bench.kill_engine();
    bench.start();
    let paused = bench.wait_state(&run, RunState::Paused);
    assert_eq!(paused.reason.as_deref(), Some("asked to pause"));
    std::thread::sleep(Duration::from_millis(200));
    let detail = bench.detail(&run);
    assert_eq!(states(&detail), [RunState::Paused, RunState::Paused, RunState::Queued, RunState::Queued]);
    let why = detail.jobs[3].reason.clone();
    assert!(why.as_ref().is_some_and(|r| r.contains("experiment is paused")), "{why:?}");
    let error = bench.control(&run, Command::Pause).unwrap_err();
    assert!(error.contains("paused"), "{error}");
    bench.control(&run, Command::Resume).unwrap();
    bench.wait_state(&run, RunState::Completed);
    assert!(bench.detail(&run).jobs.iter().all(|j| j.attempts == 1));
    assert_spooled(&bench, &run);
    // One that has not begun can be paused, too.
    bench.control(&launch(&bench, "[1]", ""), Command::Pause).unwrap();
}

#[test]
fn a_job_that_fails_is_named_and_the_others_go_on() {
    let mut bench = Bench::new("steps=30,ms=1,fail_at=10,only_job=2");
    bench.start();
    let run = launch(&bench, "[1, 2]", "");
    let done = bench.wait_state(&run, RunState::Completed);
    let reason = done.reason.unwrap();
    assert!(reason.contains("1 of 4 jobs failed: job 2 (arm quick, seed 1): the script says to fail"), "{reason}");
    let outcome = found(&bench, &run);
    assert!(outcome.verdict.contains("1 of 4 jobs failed: job 2 (arm quick, seed 1)"), "{}", outcome.verdict);
    assert_eq!(outcome.figures["quick/digest/n"], Some(1.0));
    let rows = |table: &Table| table.rows.len();
    assert_eq!(rows(outcome.tables.last().unwrap()), 3);
    // Asked for again without what made it fail, the whole is completed anew.
    bench.terminate_engine();
    bench.var("KILN_FAKE", "steps=30,ms=1").start();
    bench.control(&run, Command::Resume).unwrap();
    bench.wait(&run, "complete without failures", |s| s.state == RunState::Completed && s.reason.is_none());
    assert_eq!(found(&bench, &run).figures["quick/digest/n"], Some(2.0));
    assert_spooled(&bench, &run);
}

#[test]
fn an_arm_without_any_result_fails_the_experiment() {
    let bench = Bench::running("steps=30,ms=1,fail_at=10,only_job=2");
    let run = launch(&bench, "[1]", "");
    let failed = bench.wait_state(&run, RunState::Failed);
    let reason = failed.reason.unwrap();
    assert!(reason.starts_with("all jobs of arm quick failed, first job 2 (arm quick, seed 1)"), "{reason}");
    assert!(bench.detail(&run).views.iter().any(|v| v.0 == "arms"), "what the others found is still shown");
}

#[test]
fn a_job_that_dies_is_taken_up_again() {
    let bench = Bench::running("steps=40,ms=1,checkpoint=10,die_at=25,only_job=3");
    let run = launch(&bench, "[1, 2]", "");
    let done = bench.wait_state(&run, RunState::Completed);
    assert_eq!((done.jobs.unwrap().failed, done.reason), (0, None));
    assert_eq!(bench.detail(&run).jobs.iter().map(|j| j.attempts).collect::<Vec<_>>(), [1, 1, 2, 1]);
}

#[test]
fn an_experiment_goes_with_its_jobs_and_no_job_alone() {
    let bench = Bench::running("steps=200,ms=3");
    let run = launch(&bench, "[1]", "");
    wait_job(&bench, &run, 1, 3);
    let error = bench.ask(Request::Remove { run: run.clone() }).unwrap_err();
    assert!(error.contains("stop it first"), "{error}");
    let error = bench.ask(Request::Remove { run: run.job(2) }).unwrap_err();
    assert!(error.contains(&format!("kiln rm {run}")), "{error}");
    bench.ask(Request::Priority { run: run.clone(), priority: 4 }).unwrap();
    assert_eq!((bench.summary(&run).priority, bench.summary(&run.job(2)).priority), (4, 4));
    bench.control(&run, Command::Stop).unwrap();
    bench.wait_state(&run, RunState::Stopped);
    bench.ask(Request::Remove { run: run.clone() }).unwrap();
    assert!(bench.runs().is_empty() && !bench.home.run_dir(&run).exists());
    assert!(bench.ask(Request::Run { run: run.job(1) }).unwrap_err().contains("no run"));
    let Ok(Reply::Runs { runs }) = bench.ask(Request::Jobs { run: None }) else { panic!("no answer") };
    assert!(runs.is_empty());
}

#[test]
fn whoever_watches_an_experiment_hears_of_its_jobs() {
    let bench = Bench::running("steps=60,ms=5");
    let run = launch(&bench, "[1]", "");
    let mut watcher = bench.client();
    watcher.request(&Request::Watch { run: Some(run.clone()) }).unwrap();
    let (mut jobs, mut grown, mut ended) = (BTreeSet::new(), BTreeSet::new(), false);
    while !ended || grown.is_empty() {
        match watcher.next_push(PATIENCE).unwrap().unwrap() {
            Push::Runs { runs } => assert!(runs.iter().all(|r| r.id == run), "no jobs among runs: {runs:?}"),
            Push::Jobs { runs } => jobs.extend(runs.into_iter().map(|r| (r.id, r.state.as_str()))),
            Push::Grown { run: of, series } => {
                assert_eq!(of, run);
                grown.extend(series);
            }
            Push::Events { run: of, events } => {
                assert_eq!(of, run);
                ended |= events.iter().any(|e| matches!(e.body, Body::Completed { .. }));
            }
            Push::System { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(jobs.contains(&(run.job(2), "running")) && jobs.contains(&(run.job(1), "completed")), "{jobs:?}");
    assert!(grown.iter().all(|name| name.starts_with("slow: ") || name.starts_with("quick: ")), "{grown:?}");
}

#[test]
fn what_cannot_be_run_is_refused_and_leaves_nothing() {
    let bench = Bench::running("");
    let spec = format!("{SPEC}\n[[arms]]\nname = \"a\"\nset = {{ \"run.device\" = \"cuda:7\" }}\n");
    let error = bench.ask(Request::Launch { preset: "x".into(), spec, priority: 0, origin: None }).unwrap_err();
    assert!(error.contains("cuda:7"), "{error}");
    let spec = format!("{SPEC}\n[[arms]]\nname = \"a\"\nset = {{ \"optim.lr\" = -1 }}\n");
    let error = bench.ask(Request::Launch { preset: "x".into(), spec, priority: 0, origin: None }).unwrap_err();
    assert!(error.contains("optim.lr") && error.contains("in arm `a`"), "{error}");
    assert_eq!(std::fs::read_dir(bench.home.runs_dir()).unwrap().count(), 0);
}
