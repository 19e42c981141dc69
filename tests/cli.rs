//! The command line as its users meet it: transcripts of the real `kiln` with a fake worker behind the real engine.

// Clippy's exemption of tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use kiln_tests::command::{Kiln, PRESET, Said};
use kiln_tests::program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;

fn interrupt(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// A command that needs no engine and no home: there cannot be one below a device.
fn alone(arguments: &[&str]) -> Said {
    Said::of(&Command::new(program("kiln")).args(arguments).env("KILN_HOME", "/dev/null/kiln").output().unwrap())
}

#[test]
fn every_command_has_help_with_an_example_that_parses() {
    let top = alone(&["--help"]).out;
    let commands: Vec<&str> = top
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.strip_prefix("  ").filter(|l| !l.starts_with(' '))?.split_whitespace().next())
        .filter(|c| c.chars().all(|ch| ch.is_ascii_lowercase()) && *c != "help")
        .collect();
    assert!(commands.len() >= 15, "{commands:?}");
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "130", "141"] {
        assert!(top.contains(&format!("\n  {code}")), "no word on exit code {code}\n{top}");
    }
    for command in commands {
        let said = alone(&[command, "--help"]);
        assert_eq!(said.code, Some(0), "{command}: {said:?}");
        let examples = said.out.split("Examples:").nth(1).unwrap_or_else(|| panic!("{command} has no example"));
        assert!(examples.contains(&format!("kiln {command}")), "{command}\n{examples}");
    }
    for sub in ["start", "stop", "status", "rebuild"] {
        assert!(alone(&["engine", sub, "--help"]).out.contains(&format!("kiln engine {sub}")));
    }
}

#[test]
fn mistakes_on_the_command_line_exit_with_2() {
    for arguments in [&["frobnicate"][..], &["run"], &["ls", "--state", "asleep"], &["plot", "last", "--height", "1"]] {
        let said = alone(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty());
    }
}

/// One mistake a preset, and what is said about it.
const BAD: &[(&str, &str, &str)] = &[
    ("batch = 32", "bacth = 32", "bad.toml:10: optim.bacth: is not a setting; did you mean `batch`?"),
    (
        "batch = 32",
        "batch = \"many\"",
        "bad.toml:10: optim.batch: expected a whole number from 1 to 65536 (images), found the text \"many\"",
    ),
    ("batch = 32", "batch = 0", "bad.toml:10: optim.batch: expected a whole number from 1 to 65536 (images), found 0"),
    ("batch = 32", "batch = ", "bad.toml:10: not TOML: "),
    ("path = \"digits.csv\"", "path = \"gone.csv\"", "/gone.csv` does not exist; expected the digits as CSV"),
    (
        "\"digits-mlp\"",
        "\"digits-mpl\"",
        "bad.toml:8: space.name: there is no search space `digits-mpl`; did you mean `digits-mlp`?",
    ),
    (
        "name = \"digits-mlp\"",
        "name = \"digits-mlp\"\nonly = { depth = [\"9\"] }",
        "bad.toml:9: space.only: decision `depth` of space `digits-mlp` has no option `9`",
    ),
    (
        "method = \"dc-nas\"",
        "method = \"train\"\n[train]\narch = \"fast-9-64\"",
        "bad.toml:3: train.arch: `9` in `fast-9-64` is no option of `depth`",
    ),
];

#[test]
fn a_bad_preset_is_named_with_its_place_and_starts_nothing() {
    let kiln = Kiln::new("");
    for (line, instead, expected) in BAD {
        let text = PRESET.replace(line, instead).replace("title = \"A search for tests\"\n[data]", "[data]");
        let text = if instead.contains("[train]") { text } else { text.replacen("[data]", "title = \"x\"\n[data]", 1) };
        std::fs::write(kiln.path("bad.toml"), &text).unwrap();
        let said = kiln.run(&["run", "bad.toml"]);
        assert_eq!(said.code, Some(2), "{instead}: {said:?}");
        assert!(said.err.contains(expected), "expected {expected}\nin {}\nfor\n{text}", said.err);
        assert!(said.out.is_empty());
    }
    let said = kiln.run(&["run", "search.toml", "--set", "optim.rl=1", "--set", "dc-nas.population=1"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("--set optim.rl=1: optim.rl: is not a setting; did you mean `lr`?"), "{}", said.err);
    assert!(said.err.contains("2 mistakes; nothing was started"), "{}", said.err);
    let said = kiln.run(&["run", "dc-nas-digist"]);
    assert!(said.code == Some(2) && said.err.contains("did you mean `dc-nas-digits`?"), "{said:?}");
    assert_eq!(kiln.json(&["ls", "--json"]), serde_json::json!([]));
    assert!(kiln.ok(&["ls"]).contains("No runs yet"));
    for arguments in [&["show"][..], &["plot"], &["tail"], &["stop", "nobody"], &["rm", "nobody"]] {
        let said = kiln.run(arguments);
        assert!(said.code == Some(2) && said.err.contains("no run"), "{arguments:?}: {said:?}");
    }
}

#[test]
fn a_run_without_a_terminal_ends_with_its_tables_and_a_plot() {
    let kiln = Kiln::new("steps=120,ms=2,candidates=8");
    let out = kiln.ok(&["run", "search.toml", "--set", "seed=7"]);
    let id = out.split(':').next().unwrap().to_owned();
    assert!(id.starts_with("search-"), "{out}");
    assert!(out.lines().any(|l| l.contains("%  ")), "no progress line in\n{out}");
    assert!(out.contains("tau_global") && out.contains("tau_within"), "no table in\n{out}");
    assert!(out.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "no plot in\n{out}");
    assert!(out.trim_end().lines().last().unwrap().starts_with(&format!("{id} completed after ")), "{out}");
    assert!(!out.contains('\x1b'), "escape sequences without a terminal: {out:?}");

    let runs = kiln.json(&["ls", "--json"]);
    assert_eq!(runs.as_array().unwrap().len(), 1);
    assert_eq!((runs[0]["id"].as_str(), runs[0]["state"].as_str()), (Some(id.as_str()), Some("completed")));
    assert_eq!(runs[0]["seed"], 7);
    assert_eq!(kiln.json(&["ls", "--json", "--state", "failed"]), serde_json::json!([]));
    let table = kiln.ok(&["ls"]);
    assert!(table.starts_with("RUN ") && table.contains(&id) && table.contains("100%"), "{table}");

    let detail = kiln.json(&["show", "--json"]);
    assert_eq!(detail["summary"]["id"], id.as_str());
    assert!(detail["outcome"]["figures"]["tau_global"].is_number());
    assert!(detail["spec"].as_str().unwrap().contains("early-epochs = 2"), "the frozen preset hides its defaults");
    assert!(Path::new(detail["folder"].as_str().unwrap()).join("events.jsonl").is_file());
    let spec = kiln.ok(&["show", &id, "--spec"]);
    std::fs::write(kiln.path("again.toml"), &spec).unwrap();
    assert_eq!(kiln.ok(&["check", "again.toml", "--spec"]), spec, "a frozen preset is a preset");
    let shown = kiln.ok(&["show", &id]);
    assert!(
        shown.contains("A search for tests") && shown.contains("SERIES") && shown.contains("tau_global"),
        "{shown}"
    );

    let name = detail["series"][0]["name"].as_str().unwrap();
    let series = kiln.json(&["plot", "last", name, "--json"]);
    assert_eq!(series[0]["points"].as_array().unwrap().len() as u64, detail["series"][0]["points"].as_u64().unwrap());
    let plot = kiln.ok(&["plot", "last", name, "--width", "60", "--height", "5"]);
    assert!(plot.lines().all(|l| l.chars().count() <= 60) && plot.lines().count() == 8, "{plot}");
    let said = kiln.run(&["plot", "last", &format!("{name}x")]);
    assert!(said.code == Some(2) && said.err.contains(&format!("did you mean `{name}`?")), "{said:?}");

    let tail = kiln.ok(&["tail", "-n", "100000"]);
    assert!(tail.contains("started on") && tail.contains("completed: "), "{tail}");
    let events = kiln.ok(&["tail", "--json", "-n", "100000"]);
    let seqs: Vec<u64> =
        events.lines().map(|l| serde_json::from_str::<Json>(l).unwrap()["seq"].as_u64().unwrap()).collect();
    assert!(seqs.len() > 2 && seqs.is_sorted(), "{seqs:?}");
    assert_eq!(kiln.ok(&["tail", "-n", "1", "--json"]).lines().count(), 1);
    assert_eq!(kiln.ok(&["tail", "-f", &id[..id.len() - 1]]).lines().last(), tail.lines().last());

    kiln.ok(&["rm", &id]);
    assert_eq!(kiln.json(&["ls", "--json"]), serde_json::json!([]));
    assert!(!Path::new(detail["folder"].as_str().unwrap()).exists());
}

#[test]
fn views_are_printed_as_tables_drawings_or_json() {
    let kiln = Kiln::new("steps=30,ms=2,pictures=10");
    kiln.ok(&["run", "search.toml"]);
    let shown = |name: &str| kiln.ok(&["show", "last", "--view", name]);
    let layers = shown("layers");
    assert!(layers.starts_with("Layers\n  layer ") && layers.contains("kept (%)"), "{layers}");
    assert!(layers.contains("stage1.conv2") && layers.trim_end().ends_with("of all channels squeezed"), "{layers}");
    // A dumb terminal is drawn on in ASCII.
    let scores = shown("Scores");
    assert!(scores.contains("Scores of the critic") && scores.contains("o real   ^ fake"), "{scores}");
    let weights = shown("weights");
    assert!(weights.contains("stage3.conv3") && weights.contains("##"), "{weights}");
    assert!(!format!("{layers}{scores}{weights}").contains('\x1b'), "escape sequences without a terminal");
    let pictures = shown("samples");
    assert!(pictures.starts_with("The 96 pictures of `samples`") && pictures.contains("artifacts"), "{pictures}");
    let sheet = kiln.json(&["show", "last", "--view", "samples", "--json"]);
    let picture: kiln_protocol::view::Picture = serde_json::from_value(sheet["pictures"][95].clone()).unwrap();
    assert_eq!((sheet["kind"].as_str(), picture.bytes().map(|b| b.len())), (Some("images"), Ok(28 * 28)));
    for kind in ["candidates", "clusters", "early against full", "distances"] {
        assert!(shown(kind).lines().count() > 10, "{kind}");
    }
    let said = kiln.run(&["show", "last", "--view", "layer"]);
    assert!(said.code == Some(2) && said.err.contains("did you mean `layers`?"), "{said:?}");
    let said = kiln.run(&["plot", "last", "weights"]);
    assert!(said.code == Some(2) && said.err.contains("kiln show --view"), "{said:?}");
}

#[test]
fn an_experiment_is_one_run_with_jobs() {
    let kiln = Kiln::new("steps=60,ms=2");
    let arms = "\n[[arms]]\nname = \"slow\"\n[[arms]]\nname = \"quick\"\nset = { \"optim.lr\" = 0.2 }\n";
    std::fs::write(kiln.path("arms.toml"), format!("{PRESET}{arms}")).unwrap();
    let checked = kiln.json(&["check", "arms.toml", "--seeds", "1,2", "--json"]);
    assert_eq!((checked["jobs"].as_array().unwrap().len(), &checked["jobs"][1][0]), (4, &Json::from("quick")));
    assert_eq!(checked["estimate"]["jobs"], 4);
    let told = kiln.ok(&["check", "arms.toml"]);
    assert!(told.contains("slow: as the preset"), "{told}");
    let bad = kiln.run(&["check", "arms.toml", "--sweep", "optim.lr=0.1,0.1"]);
    assert!(bad.code == Some(2) && bad.err.contains("--sweep optim.lr=0.1,0.1: optim.lr: has 0.1 twice"), "{bad:?}");
    let bad = kiln.run(&["check", "arms.toml", "--sweep", "optim.lr"]);
    assert!(bad.code == Some(2) && bad.err.contains("expected KEY=VALUES"), "{bad:?}");
    let bad = kiln.run(&["check", "arms.toml", "--seeds", "1,1"]);
    assert!(bad.code == Some(2) && bad.err.contains("names 1 twice"), "{bad:?}");

    let said = kiln.ok(&["run", "arms.toml", "--seeds", "1,2"]);
    for line in
        ["job 4 (arm quick, seed 2) completed", "Arms: mean ± standard deviation", "Against slow", "completed after"]
    {
        assert!(said.contains(line), "no `{line}` in {said}");
    }
    let runs = kiln.json(&["ls", "--json"]);
    assert_eq!((runs.as_array().unwrap().len(), &runs[0]["jobs"]["completed"]), (1, &Json::from(4)));
    let id = runs[0]["id"].as_str().unwrap();
    let all = kiln.ok(&["ls", "--jobs"]);
    let row = all.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap();
    let best = row.split_whitespace().nth(4).unwrap();
    assert!(best.parse::<f64>().is_ok_and(|best| best > 0.0), "no best figure in {row}");
    assert!(all.contains("4/4 jobs") && all.contains(&format!("{id}.3")), "{all}");
    let shown = kiln.ok(&["show", "last"]);
    assert!(shown.contains("4 jobs: arms slow, quick; seeds 1, 2") && shown.contains("JOB  ARM"), "{shown}");
    assert!(kiln.ok(&["show", "last.2"]).contains("arm quick, seed 1"));
    let none = kiln.run(&["show", "last.5"]);
    assert!(none.code == Some(2) && none.err.contains("it has jobs 1 to 4"), "{none:?}");
    let log = kiln.ok(&["tail", "-n", "500"]);
    assert!(
        log.contains("[arm quick, seed 2] started on") && log.contains("job 1 (arm slow, seed 1) completed"),
        "{log}"
    );
    let plot = kiln.ok(&["plot", "last", "train/loss"]);
    assert!(plot.contains("slow: train/loss (mean of 2 jobs") && plot.contains("quick: train/loss"), "{plot}");
    let lr = kiln.run(&["ls", "--filter", "lr>0.1"]);
    assert!(lr.code == Some(2) && lr.err.contains("`lr` is the setting `optim.lr`"), "{lr:?}");
    let differs = kiln.ok(&["diff", "last", "search.toml"]);
    assert!(differs.contains("arm quick") && differs.contains("optim.lr = 0.2") && !differs.contains('{'), "{differs}");
    let alone = kiln.run(&["rm", "last.1"]);
    assert!(alone.code == Some(2) && alone.err.contains(&format!("kiln rm {id}")), "{alone:?}");
    kiln.ok(&["rm", "last"]);
    assert_eq!(kiln.json(&["ls", "--jobs", "--json"]), Json::Array(vec![]));
}

#[test]
fn a_run_that_fails_exits_with_1_and_says_why() {
    let kiln = Kiln::new("steps=100,ms=1,fail_at=20");
    let said = kiln.run(&["run", "search.toml"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("the script says to fail at step 20"), "{said:?}");
    let said = kiln.run(&["tail", "-f"]);
    assert!(said.code == Some(1) && said.out.contains("error: failed: "), "{said:?}");
}

#[test]
fn a_detached_run_is_paused_resumed_set_and_stopped() {
    let kiln = Kiln::new("steps=100000,ms=2");
    // A training: searches have no setting that can be changed while they go on.
    let training = PRESET.replace("\"dc-nas\"", "\"train\"") + "[train]\narch = \"fast-3-64\"\n";
    std::fs::write(kiln.path("training.toml"), training).unwrap();
    let id = kiln.ok(&["run", "training.toml", "--detach"]).trim().to_owned();
    kiln.until("running");
    assert!(kiln.ok(&["pause", "last"]).contains(&id));
    let paused = kiln.until("paused");
    assert_eq!(paused["reason"], "asked to pause");
    kiln.ok(&["resume", &id]);
    kiln.until("running");
    kiln.ok(&["set", &id, "optim.lr=0.005"]);
    let said = kiln.run(&["set", &id, "optim.momentum=0.5"]);
    assert!(said.code == Some(2) && said.err.contains("cannot be changed while a run goes on"), "{said:?}");
    let said = kiln.run(&["rm", &id]);
    assert!(said.code == Some(2) && said.err.contains(&id), "a live run is not removed: {said:?}");

    let watcher = kiln.spawn(&["tail", "-f", &id]);
    let stopped = kiln.json(&["stop", &id, "--wait", "--json"]);
    assert_eq!(stopped["runs"][0], id.as_str());
    let watched = Said::of(&watcher.wait_with_output().unwrap());
    assert_eq!(watched.code, Some(3), "{watched:?}");
    assert!(
        watched.out.contains("optim.lr set to 0.005") && watched.out.contains("stopped at checkpoint"),
        "{watched:?}"
    );
    assert_eq!(kiln.until("stopped")["id"], id.as_str());
    let waits = kiln.ok(&["set", &id, "optim.lr=0.002"]);
    assert!(waits.contains("once it is resumed"), "{waits}");
    let spec = kiln.ok(&["show", &id, "--spec"]);
    assert!(spec.starts_with("# ") && spec.contains("#   optim.lr = 0.002\n"), "{spec}");
    kiln.ok(&["resume", &id]);
    let resumed = kiln.until("running");
    assert_eq!(resumed["attempts"], 2);
}

#[test]
fn runs_are_found_by_filters_tags_notes_and_saved_views() {
    let kiln = Kiln::new("steps=4,ms=1");
    kiln.ok(&["run", "search.toml", "--detach", "--tag", "paper", "--tag", "#first"]);
    let first = kiln.until("completed")["id"].as_str().unwrap().to_owned();
    kiln.ok(&["run", "search.toml", "--set", "seed=2", "--detach"]);
    let second = kiln.until("completed")["id"].as_str().unwrap().to_owned();
    let ids = |arguments: &[&str]| -> Vec<String> {
        let runs = kiln.json(&[&["ls", "--json"], arguments].concat());
        runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&["--filter", "tag:paper"]), [first.as_str()]);
    assert_eq!(ids(&["--filter", "-tag:paper method:dc-nas age<1d"]), [second.as_str()]);
    assert_eq!(ids(&["--filter", "completed seed:1,2"]).len(), 2);
    assert_eq!(ids(&["--view", "failed of late"]), Vec::<String>::new());

    let bad = kiln.run(&["ls", "--filter", "stat:failed"]);
    assert_eq!(bad.code, Some(2));
    assert!(bad.err.contains("there is no field `stat`; did you mean `state`?"), "{bad:?}");
    assert!(kiln.ok(&["ls", "--filter", "tag:nope"]).contains("No run matches `tag:nope`."));
    let bad = kiln.run(&["ls", "--view", "nowhere"]);
    assert!(bad.code == Some(2) && bad.err.contains("`best by method`"), "{bad:?}");
    let grouped = kiln.ok(&["ls", "--view", "best by method"]);
    assert!(grouped.lines().any(|line| line == "dc-nas"), "{grouped}");
    assert!(grouped.lines().next().unwrap().contains("TAGS") && grouped.contains("first paper"), "{grouped}");

    // A view of one's own, with a mistake that costs its entry alone.
    std::fs::create_dir_all(kiln.path("config")).unwrap();
    let views = "[[view]]\nname = \"mine\"\nfilter = \"tag:paper\"\nsort = \"bset\"\ncolumns = [\"seed\"]\n";
    std::fs::write(kiln.path("config/views.toml"), views).unwrap();
    let mine = kiln.run(&["ls", "--view", "mine"]);
    assert!(
        mine.err.contains("views.toml, line 4: view `mine`: there is no order `bset`; did you mean `best`?"),
        "{mine:?}"
    );
    assert!(mine.out.contains(&first) && !mine.out.contains(&second) && mine.out.contains("SEED"), "{mine:?}");

    assert_eq!(kiln.ok(&["tag", &second, "paper", "late"]).trim(), format!("{second} #late #paper"));
    assert_eq!(kiln.json(&["tag", &second, "--remove", "late", "--json"])["tags"], serde_json::json!(["paper"]));
    let all = kiln.ok(&["tag"]);
    assert!(all.contains("paper  2") || all.lines().any(|l| l.starts_with("paper") && l.ends_with('2')), "{all}");
    let bad = kiln.run(&["tag", &second, "two words"]);
    assert!(bad.code == Some(2) && bad.err.contains("no tag"), "{bad:?}");

    assert!(kiln.ok(&["note", &first]).contains("has no note"));
    kiln.ok(&["note", &first, "wider", "first block"]);
    kiln.ok(&["note", &first, "--append", "and again"]);
    assert_eq!(kiln.ok(&["note", &first]).trim(), "wider first block\nand again");
    let shown = kiln.ok(&["show", &first]);
    assert!(shown.contains("#first #paper") && shown.contains("wider first block"), "{shown}");
    assert_eq!(ids(&["--filter", "note:wider"]), [first.as_str()]);
    assert_eq!(kiln.json(&["note", &first, "--clear", "--json"])["note"], "");
    let bad = kiln.run(&["note", &first, "--edit"]);
    assert!(bad.code == Some(2) && bad.err.contains("needs a terminal"), "{bad:?}");
}

#[test]
fn runs_of_one_preset_are_compared_by_seed_and_a_candidate_becomes_a_run_of_its_own() {
    let kiln = Kiln::new("steps=40,ms=1");
    for seed in ["seed=1", "seed=2"] {
        kiln.ok(&["run", "search.toml", "--set", seed]);
    }
    let runs = kiln.json(&["ls", "--json"]);
    let [second, first] = [0, 1].map(|i: usize| runs[i]["id"].as_str().unwrap().to_owned());
    let compared = kiln.json(&["compare", &second, &first, "--json"]);
    assert_eq!(compared["groups"].as_array().unwrap().len(), 1, "{compared}");
    assert_eq!(compared["groups"][0]["seeds"], serde_json::json!([1, 2]));
    assert_eq!(compared["figures"][0]["groups"][0]["count"], 2, "{compared}");
    kiln.ok(&["run", "search.toml", "--set", "optim.lr=0.1"]);
    let said = kiln.ok(&["compare", &first, &second, "last"]);
    assert!(said.contains("optim.lr") && said.contains("B - A") && said.contains("seeds 1 2"), "{said}");
    let sections =
        ["compare", &first, &second, "last", "--strip", "--importance", "--front", "--curves", "--by", "time"];
    let said = kiln.ok(&sections);
    for part in ["the best first", "It takes 6 runs", "no other beats in both", "by time at work"] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    let found = kiln.json(&[&sections[..], &["--json"]].concat());
    assert_eq!(found["strip"].as_array().unwrap().len(), 3, "{found}");
    assert!(found["importance"]["why_not"].is_string() && !found["front"]["runs"].as_array().unwrap().is_empty());
    let points = found["curves"][0]["points"].as_array().unwrap();
    let seconds: Vec<f64> = points.iter().map(|p| p[0].as_f64().unwrap()).collect();
    assert!(
        points.len() > 3 && seconds.is_sorted() && seconds[0] >= 0.0 && seconds[points.len() - 1] < 60.0,
        "{seconds:?}"
    );
    let wrong = kiln.run(&["compare", &first, "--figure", "banana"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("`banana`"), "{wrong:?}");
    let said = kiln.ok(&["diff", &second, "last"]);
    assert!(said.contains("optim.lr") && said.contains("seed") && said.contains("0.1"), "{said}");
    let twice = kiln.run(&["compare", "last", &first, "last"]);
    assert!(twice.code == Some(2) && twice.err.contains("is named twice"), "{twice:?}");
    let found = kiln.json(&["diff", &first, "search.toml", "--json"]);
    assert_eq!(found["second"]["kind"], "preset", "{found}");
    assert!(found["settings"].get("optim.lr").is_none(), "{found}");
    assert_eq!(kiln.run(&["diff", &first, "banana"]).code, Some(2));

    let trained = kiln.ok(&["retrain", &first, "3", "--epochs", "7", "--detach"]).trim().to_owned();
    kiln.until("completed");
    let shown = kiln.json(&["show", &trained, "--json"]);
    assert_eq!(shown["summary"]["origin"], serde_json::json!({ "run": first, "candidate": 3 }));
    let spec = shown["spec"].as_str().unwrap();
    assert!(spec.contains("method = \"train\"") && spec.contains("epochs = 7") && !spec.contains("[dc-nas]"), "{spec}");
    assert!(kiln.ok(&["show", &trained]).contains(&format!("candidate 3 of {first}")));
    let wrong = kiln.run(&["retrain", &first, "99"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("no candidate 99"), "{wrong:?}");
}

#[test]
fn ctrl_c_leaves_the_run_going() {
    let kiln = Kiln::new("steps=150,ms=10");
    let mut child = kiln.spawn(&["run", "search.toml"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains('%')));
    interrupt(&child, Signal::SIGINT);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{err}");
    assert!(err.contains("goes on in the background") && err.contains("kiln stop search-"), "{err}");
    kiln.until("completed");
}

#[test]
fn a_run_survives_the_death_of_its_engine_and_so_does_who_watches_it() {
    let kiln = Kiln::new("steps=300,ms=10");
    let child = kiln.spawn(&["run", "search.toml"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while kiln.run(&["ls", "--json"]).out.matches("\"running\"").count() == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let engine = kiln.json(&["engine", "status", "--json"]);
    kill(Pid::from_raw(engine["pid"].as_i64().unwrap() as i32), Signal::SIGKILL).unwrap();
    let said = Said::of(&child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("tau_global") && said.out.contains(" completed after "), "{said:?}");
    let again = kiln.json(&["engine", "status", "--json"]);
    assert_ne!(again["pid"], engine["pid"]);
    assert_eq!(kiln.json(&["ls", "--json"])[0]["attempts"], 1, "the run went on, it was not started again");
}

#[test]
fn kiln_without_a_terminal_runs_the_default_preset() {
    let kiln = Kiln::new("steps=30,ms=1");
    let share = kiln.path("share");
    std::fs::create_dir_all(share.join("assets")).unwrap();
    std::fs::create_dir_all(share.join("presets")).unwrap();
    std::fs::write(share.join("assets/digits"), "").unwrap();
    let said = Said::of(&kiln.command(&[]).env("KILN_SHARE", &share).output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("dc-nas-digits-") && said.out.contains("tau_global"), "{said:?}");
}

#[test]
fn a_reader_that_goes_away_is_not_an_error_worth_a_word() {
    let kiln = Kiln::new("");
    for arguments in [&["presets"][..], &["schema", "dc-nas"], &["completions", "bash"], &["ls"]] {
        let mut child = kiln.spawn(arguments);
        drop(child.stdout.take());
        let said = Said::of(&child.wait_with_output().unwrap());
        assert!(matches!(said.code, Some(0 | 141)), "{arguments:?}: {said:?}");
        assert_eq!(said.err, "", "{arguments:?}");
    }
}

#[test]
fn without_an_engine_each_command_says_what_to_do() {
    let kiln = Kiln::new("");
    let said = kiln.run(&["engine", "status"]);
    assert!(said.code == Some(4) && said.err.contains("kiln engine start"), "{said:?}");
    assert!(kiln.ok(&["engine", "stop"]).contains("no engine was running"));
    let said = kiln.run(&["ls", "--socket", "/nonexistent/kiln.sock"]);
    assert!(said.code == Some(4) && said.err.contains("/nonexistent/kiln.sock"), "{said:?}");
    let said = alone(&["ls"]);
    assert!(said.code == Some(4) && said.err.contains("KILN_HOME"), "a home that cannot be made: {said:?}");

    assert!(kiln.ok(&["engine", "start"]).contains("the engine runs (pid "));
    let status = kiln.json(&["engine", "status", "--json"]);
    assert!(status["running"] == true && status["devices"].is_array(), "{status}");
    assert!(kiln.ok(&["engine", "status"]).contains("worker "));
    assert!(kiln.ok(&["engine", "rebuild"]).contains("0 run folders"));
    assert!(kiln.ok(&["engine", "stop"]).contains("has ended"));
    assert_eq!(kiln.run(&["engine", "status"]).code, Some(4));
}

#[test]
fn check_and_schema_need_neither_engine_nor_home() {
    let kiln = Kiln::new("");
    let checked = kiln.json(&["check", "search.toml", "--json"]);
    let estimate = &checked["estimate"];
    assert_eq!(estimate["space_size"], 40.0);
    // 64 inputs: 64*64 + 64 and 64*64 + 64 and 64*10 + 10.
    assert_eq!((&estimate["reference"]["arch"], &estimate["reference"]["params"]), (&"fast-2-64".into(), &8970.into()));
    assert!(estimate["seconds"].as_f64().unwrap() > 0.0 && estimate["memory"].as_u64().unwrap() > 0);
    let said = alone(&["check", kiln.path("search.toml").to_str().unwrap()]);
    assert!(said.code == Some(0) && said.out.contains("estimates") && said.out.contains("8,970"), "{said:?}");
    let said = alone(&["check", "disout-fashion", "--set", "regulariser.block=8"]);
    assert_eq!(said.code, Some(2));
    let map =
        "regulariser.block: is 8, larger than the 7x7 map behind layer `stage3.1.node0.in0.0`; expected at most 7";
    assert!(said.err.contains(map) && said.err.contains("nothing was started"), "{said:?}");
    let said = alone(&["check", "disout-digits", "--set", "regulariser.at=last-stage"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("regulariser.at: is `last-stage`") && said.err.contains("(in arm `dropout`)"),
        "{said:?}"
    );
    let said = alone(&["check", "dc-nas-cifar10", "--set", "data.path=/nonexistent/cifar"]);
    assert_eq!(said.code, Some(2));
    assert!(said.out.contains("conv-cells") && said.err.contains("`/nonexistent/cifar` does not exist"), "{said:?}");

    for name in kiln.json(&["presets", "--json"]).as_array().unwrap() {
        assert!(name["estimate"].is_object() && !name["title"].as_str().unwrap().is_empty(), "{name}");
    }
    for method in ["train", "dc-nas"] {
        let schema: Json = serde_json::from_str(&alone(&["schema", method]).out).unwrap();
        assert_eq!(schema["properties"]["method"]["const"], method);
        let fields: Json = serde_json::from_str(&alone(&["schema", method, "--json"]).out).unwrap();
        let table = alone(&["schema", method, "--markdown"]).out;
        let listing = alone(&["schema", method, "--fields"]).out;
        for field in fields.as_array().unwrap() {
            let key = field["key"].as_str().unwrap();
            assert!(
                table.contains(&format!("| `{key}` |")) && listing.contains(&format!("\n{key} ")) || key == "method"
            );
        }
    }
    let reference = alone(&["schema", "--markdown"]).out;
    assert!(reference.contains("### `dc-nas`") && reference.contains("| `dc-nas.population` |"), "{reference}");
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    assert!(
        readme.contains(reference.trim_end()),
        "README's settings are not those of `kiln schema --markdown`:\n{reference}"
    );
    assert!(alone(&["completions", "bash"]).out.contains("complete "));
}

#[test]
fn the_doctor_names_what_is_missing() {
    let kiln = Kiln::new("");
    let said =
        Said::of(&kiln.command(&["doctor", "--json"]).env("KILN_WORKER", "/nonexistent/worker").output().unwrap());
    assert_eq!(said.code, Some(4), "{said:?}");
    let found: Json = serde_json::from_str(&said.out).unwrap();
    let find = |what: &str| {
        found.as_array().unwrap().iter().find(|f| f["what"] == what).unwrap_or_else(|| panic!("no {what}"))
    };
    assert_eq!(find("home")["grade"], "fine");
    assert_eq!(find("worker")["grade"], "wrong");
    assert!(find("worker")["said"].as_str().unwrap().contains("/nonexistent/worker does not exist"));
    assert!(find("disk")["said"].as_str().unwrap().contains("free"));
    assert!(!kiln.path("home").exists(), "looking makes nothing");
    assert!(find("home")["said"].as_str().unwrap().contains("is not there yet"));
    let said = alone(&["doctor"]);
    assert!(said.code == Some(4) && said.out.contains("!! home"), "{said:?}");
}
