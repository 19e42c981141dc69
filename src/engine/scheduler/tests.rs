use super::*;

fn id(name: &str) -> RunId {
    RunId(name.into())
}

/// A scheduler with a clock that goes on by a second with each input.
struct Bench {
    scheduler: Scheduler,
    now: f64,
}

impl Bench {
    fn new(devices: &[Device]) -> Bench {
        Bench { scheduler: Scheduler::new(devices), now: 0.0 }
    }

    fn cpu() -> Bench {
        Bench::new(&[Device::Cpu])
    }

    fn tell(&mut self, input: Input) -> Result<Vec<Effect>, String> {
        self.now += 1.0;
        self.scheduler.handle(self.now, input)
    }

    fn add(&mut self, run: &str, wants: Wants, priority: i32, retries: u32) -> Vec<Effect> {
        let job = Job::queued(wants, priority, retries, self.now);
        self.tell(Input::Add { run: id(run), job }).unwrap()
    }

    fn control(&mut self, run: &str, command: Command) -> Result<Vec<Effect>, String> {
        self.tell(Input::Control { run: id(run), command })
    }

    fn event(&mut self, run: &str, body: Body) -> Vec<Effect> {
        self.tell(Input::Event { run: id(run), body }).unwrap()
    }

    fn exit(&mut self, run: &str, exit: Exit) -> Vec<Effect> {
        self.tell(Input::Exited { run: id(run), exit, said: None }).unwrap()
    }

    fn state(&self, run: &str) -> RunState {
        self.scheduler.job(&id(run)).unwrap().state
    }

    fn reason(&self, run: &str) -> String {
        self.scheduler.reason(&id(run)).unwrap_or_default()
    }
}

fn started() -> Body {
    kiln_protocol::testing::started(1, None)
}

fn completed() -> Body {
    Body::Completed { outcome: Box::default() }
}

fn stopped() -> Body {
    Body::Stopped { step: 3, reason: "asked to".into() }
}

fn spawns(effects: &[Effect]) -> Vec<(String, String)> {
    let spawn = |e: &Effect| match e {
        Effect::Spawn { run, device } => Some((run.0.clone(), device.to_string())),
        _ => None,
    };
    effects.iter().filter_map(spawn).collect()
}

fn pair(a: &str, b: &str) -> Vec<(String, String)> {
    vec![(a.into(), b.into())]
}

fn controls(effects: &[Effect]) -> Vec<Command> {
    let control = |e: &Effect| match e {
        Effect::Control { command, .. } => Some(command.clone()),
        _ => None,
    };
    effects.iter().filter_map(control).collect()
}

fn reports(effects: &[Effect]) -> Vec<Report> {
    let report = |e: &Effect| match e {
        Effect::Report { report, .. } => Some(report.clone()),
        _ => None,
    };
    effects.iter().filter_map(report).collect()
}

#[test]
fn a_run_goes_from_the_queue_to_completion() {
    let mut b = Bench::cpu();
    assert_eq!(spawns(&b.add("a", Wants::Auto, 0, 3)), pair("a", "cpu"));
    assert_eq!(b.state("a"), RunState::Starting);
    b.event("a", started());
    assert_eq!(b.state("a"), RunState::Running);
    b.event("a", completed());
    assert_eq!(b.state("a"), RunState::Completed);
    assert_eq!(b.scheduler.counts(), (0, 1), "the process is still there");
    assert!(reports(&b.exit("a", Exit::Status(0))).is_empty());
    assert_eq!(b.scheduler.counts(), (0, 0));
    assert_eq!(b.scheduler.slots().next(), Some((Device::Cpu, None)));
}

#[test]
fn the_queue_goes_by_priority_then_age() {
    let mut b = Bench::cpu();
    b.add("first", Wants::Auto, 0, 0);
    for (run, priority) in [("old", 0), ("young", 0), ("urgent", 5), ("idle", -1)] {
        assert!(spawns(&b.add(run, Wants::Auto, priority, 0)).is_empty(), "{run} must wait");
    }
    b.tell(Input::Priority { run: id("idle"), priority: 1 }).unwrap();
    let mut order = Vec::new();
    let mut running = "first".to_string();
    for _ in 0..4 {
        b.event(&running, completed());
        let next = spawns(&b.exit(&running, Exit::Status(0)));
        running = next[0].0.clone();
        order.push(running.clone());
    }
    assert_eq!(order, ["urgent", "idle", "old", "young"]);
}

#[test]
fn auto_takes_a_gpu_where_there_is_one_and_never_the_cpu_then() {
    let mut b = Bench::new(&[Device::Cuda(0), Device::Cuda(1), Device::Cpu]);
    assert_eq!(spawns(&b.add("second", Wants::Cuda(Some(1)), 0, 0)), pair("second", "cuda:1"));
    assert_eq!(spawns(&b.add("auto", Wants::Auto, 0, 0)), pair("auto", "cuda:0"));
    assert!(spawns(&b.add("waits", Wants::Auto, 9, 0)).is_empty());
    assert_eq!(spawns(&b.add("cpu", Wants::Cpu, 0, 0)), pair("cpu", "cpu"), "one that waits holds up nobody else");
    b.event("second", completed());
    assert_eq!(spawns(&b.exit("second", Exit::Status(0))), pair("waits", "cuda:1"));
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let mut b = Bench::cpu();
    let error = b.scheduler.suits(Wants::Cuda(Some(3))).unwrap_err();
    assert!(error.contains("`cuda:3`") && error.contains("cpu"), "{error}");
    assert!(b.scheduler.suits(Wants::Auto).is_ok());
    // A queue made on a machine with a GPU, found on one without: it waits and says for what.
    assert!(spawns(&b.add("g", Wants::Cuda(None), 0, 0)).is_empty());
    assert!(b.reason("g").contains("`cuda`"), "{}", b.reason("g"));
}

#[test]
fn a_worker_that_dies_is_followed_by_another_up_to_the_cap() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 2);
    for n in 1..=2 {
        b.event("a", started());
        let effects = b.exit("a", Exit::Signal(9));
        assert_eq!(spawns(&effects), pair("a", "cpu"));
        let report = &reports(&effects)[0];
        assert!(
            matches!(report, Report::Warn { message } if message.contains(&format!("retry {n} of 2"))),
            "{report:?}"
        );
        let position = |f: fn(&Effect) -> bool| effects.iter().position(f).unwrap();
        assert!(
            position(|e| matches!(e, Effect::Report { .. })) < position(|e| matches!(e, Effect::Spawn { .. })),
            "the engine must have written before the next worker opens the file"
        );
        assert!(b.reason("a").contains("signal 9"), "{}", b.reason("a"));
    }
    let effects = b.exit("a", Exit::Signal(11));
    assert!(spawns(&effects).is_empty());
    assert_eq!(b.state("a"), RunState::Failed);
    assert!(b.reason("a").contains("signal 11") && b.reason("a").contains("2 times"), "{}", b.reason("a"));
    assert!(matches!(&reports(&effects)[..], [Report::Failed { .. }]));

    // A person who asks again gets the whole number of retries.
    let effects = b.control("a", Command::Resume).unwrap();
    assert_eq!(controls(&effects), [Command::Resume]);
    assert_eq!(spawns(&effects), pair("a", "cpu"));
    assert_eq!(spawns(&b.exit("a", Exit::Signal(9))), pair("a", "cpu"));
}

#[test]
fn a_worker_that_says_it_failed_is_not_tried_again() {
    let mut b = Bench::cpu();
    b.add("event", Wants::Auto, 0, 3);
    b.event("event", Body::Failed { message: "the data is missing".into() });
    assert!(spawns(&b.exit("event", Exit::Status(1))).is_empty());
    assert_eq!((b.state("event"), b.reason("event").as_str()), (RunState::Failed, "the data is missing"));

    b.add("status", Wants::Auto, 0, 3);
    let said = Some("spec.toml: no such file".to_string());
    let effects = b.tell(Input::Exited { run: id("status"), exit: Exit::Status(1), said }).unwrap();
    assert!(spawns(&effects).is_empty());
    assert_eq!(b.state("status"), RunState::Failed);
    assert!(b.reason("status").contains("no such file"), "{}", b.reason("status"));
}

#[test]
fn a_worker_that_cannot_be_started_fails_the_run_and_frees_the_device() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 3);
    b.add("b", Wants::Auto, 0, 3);
    let effects = b.tell(Input::SpawnFailed { run: id("a"), reason: "no such program".into() }).unwrap();
    assert_eq!(b.state("a"), RunState::Failed);
    assert!(matches!(&reports(&effects)[..], [Report::Failed { message }] if message == "no such program"));
    assert_eq!(spawns(&effects), pair("b", "cpu"));
}

#[test]
fn a_folder_that_is_still_in_use_is_tried_again_later() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 3);
    let effects = b.scheduler.handle(b.now, Input::Busy { run: id("a"), reason: "in use".into() }).unwrap();
    assert!(spawns(&effects).is_empty(), "not at once");
    assert_eq!((b.state("a"), b.reason("a").as_str()), (RunState::Queued, "in use"));
    assert_eq!(spawns(&b.tell(Input::Tick).unwrap()), pair("a", "cpu"));
    assert_eq!((b.state("a"), b.reason("a").as_str()), (RunState::Starting, ""));
}

#[test]
fn a_run_behind_a_paused_one_says_so() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 3);
    b.event("a", started());
    b.add("b", Wants::Auto, 0, 3);
    assert_eq!(b.reason("b"), "");
    b.control("a", Command::Pause).unwrap();
    b.event("a", Body::Paused { reason: "asked to".into() });
    assert_eq!(b.reason("b"), "waits for cpu, which the paused run a holds: resume or stop that one");
    b.control("a", Command::Resume).unwrap();
    b.event("a", Body::Resumed { reason: "asked to".into() });
    assert_eq!((b.state("b"), b.reason("b").as_str()), (RunState::Queued, ""));
}

#[test]
fn pause_resume_stop_resume() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 3);
    b.event("a", started());
    assert!(b.control("a", Command::Resume).unwrap_err().contains("not paused"));
    assert_eq!(controls(&b.control("a", Command::Pause).unwrap()), [Command::Pause]);
    assert_eq!(
        controls(&b.control("a", Command::Resume).unwrap()),
        [Command::Resume],
        "a pause on its way is taken back"
    );
    assert!(b.control("a", Command::Resume).unwrap_err().contains("not paused"));
    b.control("a", Command::Pause).unwrap();
    b.event("a", Body::Paused { reason: "asked to".into() });
    assert_eq!((b.state("a"), b.reason("a").as_str()), (RunState::Paused, "asked to"));
    b.control("a", Command::Resume).unwrap();
    b.event("a", Body::Resumed { reason: "asked to".into() });
    assert_eq!((b.state("a"), b.reason("a").as_str()), (RunState::Running, ""));
    b.control("a", Command::Stop).unwrap();
    assert_eq!(b.state("a"), RunState::Stopping);
    b.event("a", Body::Paused { reason: "late".into() });
    assert_eq!(b.state("a"), RunState::Stopping);
    b.event("a", stopped());
    assert_eq!(b.state("a"), RunState::Stopped);
    // Asked for again before the process is gone: it waits for that.
    assert!(spawns(&b.control("a", Command::Resume).unwrap()).is_empty());
    assert_eq!(spawns(&b.exit("a", Exit::Status(3))), pair("a", "cpu"));
    b.event("a", started());
    b.event("a", completed());
    b.exit("a", Exit::Status(0));
    assert!(b.control("a", Command::Resume).unwrap_err().contains("completed"));
    assert!(b.control("nobody", Command::Pause).unwrap_err().contains("no run `nobody`"));
}

#[test]
fn a_run_whose_worker_dies_while_paused_stays_paused() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 3);
    b.event("a", started());
    b.event("a", Body::Paused { reason: "the disk is full".into() });
    assert!(controls(&b.exit("a", Exit::Signal(9))).is_empty(), "nobody asked for that pause");
    b.event("a", started());
    b.control("a", Command::Pause).unwrap();
    b.event("a", Body::Paused { reason: "asked to".into() });
    assert_eq!(controls(&b.exit("a", Exit::Signal(9))), [Command::Pause]);
    b.event("a", started());
    b.event("a", Body::Paused { reason: "asked to".into() });
    b.control("a", Command::Resume).unwrap();
    assert!(controls(&b.exit("a", Exit::Signal(9))).is_empty());
}

#[test]
fn a_starting_worker_can_be_told_things() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 3);
    let knob = Command::Set { key: "optim.lr".into(), value: "0.1".into() };
    for command in [knob, Command::Pause, Command::Stop] {
        assert_eq!(controls(&b.control("a", command.clone()).unwrap()), [command]);
    }
    b.event("a", started());
    assert_eq!(b.state("a"), RunState::Stopping);
}

#[test]
fn stopping_twice_and_thrice_uses_force() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 3);
    b.event("a", started());
    b.control("a", Command::Stop).unwrap();
    let signal = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|e| match e {
            Effect::Signal { signal, .. } => Some(signal),
            _ => None,
        })
    };
    assert_eq!(signal(b.control("a", Command::Stop).unwrap()), Some(Signal::Term));
    assert_eq!(signal(b.control("a", Command::Stop).unwrap()), Some(Signal::Kill));
    let effects = b.exit("a", Exit::Signal(9));
    assert_eq!(b.state("a"), RunState::Stopped, "killed on request is no death to retry");
    assert!(spawns(&effects).is_empty());
    assert!(matches!(&reports(&effects)[..], [Report::Stopped { .. }]));
}

#[test]
fn a_queued_run_can_be_stopped_and_an_ended_one_removed() {
    let mut b = Bench::cpu();
    b.add("busy", Wants::Auto, 0, 0);
    b.add("a", Wants::Auto, 0, 0);
    assert!(b.control("a", Command::Pause).unwrap_err().contains("no worker yet"));
    assert!(b.tell(Input::Remove { run: id("a") }).unwrap_err().contains("stop it first"));
    let effects = b.control("a", Command::Stop).unwrap();
    assert!(matches!(&reports(&effects)[..], [Report::Stopped { .. }]));
    assert_eq!(b.state("a"), RunState::Stopped);
    assert_eq!(b.tell(Input::Remove { run: id("a") }).unwrap(), [Effect::Erase { run: id("a") }]);
    assert!(b.scheduler.job(&id("a")).is_none());
    b.event("busy", completed());
    let error = b.tell(Input::Remove { run: id("busy") }).unwrap_err();
    assert!(error.contains("still ending"), "{error}");
}

#[test]
fn a_worker_that_lingers_after_its_last_event_is_killed() {
    let mut b = Bench::cpu();
    b.add("a", Wants::Auto, 0, 0);
    b.event("a", completed());
    assert!(b.tell(Input::Tick).unwrap().is_empty());
    b.now += LINGER;
    let kill = Effect::Signal { run: id("a"), signal: Signal::Kill };
    assert_eq!(b.tell(Input::Tick).unwrap(), [kill]);
    assert!(b.tell(Input::Tick).unwrap().is_empty(), "not at every tick");
    b.exit("a", Exit::Signal(9));
    assert_eq!(b.state("a"), RunState::Completed);
}

#[test]
fn a_full_disk_holds_the_queue_and_says_so() {
    let mut b = Bench::cpu();
    b.tell(Input::Hold(Some("the disk is full".into()))).unwrap();
    assert!(spawns(&b.add("a", Wants::Auto, 0, 0)).is_empty());
    assert_eq!(b.reason("a"), "the disk is full");
    let effects = b.tell(Input::Hold(None)).unwrap();
    assert_eq!(spawns(&effects), pair("a", "cpu"));
    assert_eq!(b.reason("a"), "");
}

#[test]
fn an_adopted_worker_keeps_its_device_and_is_followed_like_a_child() {
    let mut b = Bench::cpu();
    let mut job = Job::queued(Wants::Auto, 0, 1, 0.0);
    job.state = RunState::Running;
    b.tell(Input::Adopt { run: id("a"), job, device: Some(Device::Cpu) }).unwrap();
    assert!(spawns(&b.add("b", Wants::Auto, 0, 0)).is_empty(), "the slot is taken");
    let effects = b.exit("a", Exit::Unknown);
    assert_eq!(spawns(&effects), pair("a", "cpu"), "it is older than b");
    assert!(b.reason("a").contains("vanished"), "{}", b.reason("a"));
    // A device that this engine does not know: the worker is followed all the same.
    let mut job = Job::queued(Wants::Auto, 0, 1, 0.0);
    job.state = RunState::Running;
    b.tell(Input::Adopt { run: id("c"), job, device: Some(Device::Cuda(7)) }).unwrap();
    assert_eq!(b.scheduler.counts(), (1, 2));
    b.event("c", completed());
    b.exit("c", Exit::Unknown);
    assert_eq!(b.state("c"), RunState::Completed);
}

#[test]
fn devices_are_read_as_the_spec_writes_them() {
    assert_eq!(Wants::parse("auto"), Some(Wants::Auto));
    assert_eq!(Wants::parse("cpu"), Some(Wants::Cpu));
    assert_eq!(Wants::parse("cuda"), Some(Wants::Cuda(None)));
    assert_eq!(Wants::parse("cuda:2"), Some(Wants::Cuda(Some(2))));
    for bad in ["", "gpu", "cuda:", "cuda:x", "cpu:0"] {
        assert_eq!(Wants::parse(bad), None, "{bad}");
    }
}
