//! What takes runs along: exports, bundles, reports and repeats, by the real `kiln` with a fake worker behind the real
//! engine.

// Clippy's exemption of tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use kiln_tests::command::{Kiln, PRESET, Said};
use serde_json::Value as Json;

fn id_of(kiln: &Kiln) -> String {
    kiln.json(&["ls", "--json"])[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn every_point_is_in_every_table() {
    let kiln = Kiln::new("steps=60,ms=1,candidates=4");
    kiln.ok(&["run", "search.toml", "--set", "seed=7"]);
    let id = id_of(&kiln);
    let detail = kiln.json(&["show", "--json"]);
    let infos = detail["series"].as_array().unwrap();
    let points: u64 = infos.iter().map(|s| s["points"].as_u64().unwrap()).sum();
    assert!(points > 20, "{infos:?}");

    let csv = kiln.ok(&["export", "last", "--format", "csv", "--out", "-"]);
    assert_eq!(csv.lines().count() as u64, points + 1);
    assert!(csv.starts_with("run,arm,seed,series,x,x_unit,y,time\n"), "{csv}");
    assert!(csv.lines().skip(1).all(|l| l.starts_with(&format!("{id},,7,"))));
    let lines = kiln.ok(&["export", &id, "--format", "jsonl", "--out", "-"]);
    let rows: Vec<Json> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rows.len() as u64, points);
    assert!(rows.iter().all(|r| r["time"].as_f64().is_some_and(|t| t > 1.6e9)), "every point has its time");

    let name = infos[0]["name"].as_str().unwrap();
    let whole = kiln.json(&["plot", "last", name, "--json"]);
    let exported: Vec<f64> = rows.iter().filter(|r| r["series"] == name).map(|r| r["y"].as_f64().unwrap()).collect();
    let plotted: Vec<f64> = whole[0]["points"].as_array().unwrap().iter().map(|p| p[1].as_f64().unwrap()).collect();
    assert_eq!(exported, plotted, "bit for bit what the engine has");

    let said = kiln.json(&["export", "last", "--format", "parquet", "--series", name, "--json"]);
    assert_eq!(said["rows"].as_u64(), infos[0]["points"].as_u64(), "{said}");
    let file = fs::read(kiln.path(&format!("{id}.parquet"))).unwrap();
    assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));

    let runs = kiln.ok(&["export", "last", "--format", "csv", "--rows", "runs", "--out", "-"]);
    assert_eq!(runs.lines().count(), 2);
    assert!(runs.contains("settings.optim.batch") && runs.contains("figures.tau_global"), "{runs}");

    let said = kiln.ok(&["export", "last", "--format", "tensorboard"]);
    assert!(said.contains("tensorboard --logdir"), "{said}");
    let folder = kiln.path(&format!("{id}.tensorboard")).join(&id);
    let names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() == 1 && names[0].starts_with("events.out.tfevents."), "{names:?}");
}

#[test]
fn an_experiment_is_exported_as_its_jobs() {
    let kiln = Kiln::new("steps=30,ms=1,candidates=2");
    let arms = "\n[[arms]]\nname = \"slow\"\n[[arms]]\nname = \"quick\"\nset = { \"optim.lr\" = 0.2 }\n";
    fs::write(kiln.path("arms.toml"), format!("{PRESET}{arms}")).unwrap();
    kiln.ok(&["run", "arms.toml", "--seeds", "1,2"]);
    let id = id_of(&kiln);
    let table = kiln.ok(&["export", "last", "--format", "csv", "--rows", "runs", "--out", "-"]);
    assert_eq!(table.lines().count(), 5, "{table}");
    let points = kiln.ok(&["export", "last", "--format", "csv", "--out", "-"]);
    for job in ["1,slow,1", "2,quick,1", "3,slow,2", "4,quick,2"] {
        assert!(points.contains(&format!("\n{id}.{job},")), "no job {job}");
    }
    kiln.ok(&["export", "last", "--format", "svg"]);
    let twice = kiln.run(&["export", "last", "--format", "svg"]);
    assert!(twice.code == Some(2) && twice.err.contains(".svg is there already; --force overwrites it"), "{twice:?}");
    let svg = fs::read_to_string(kiln.path(&format!("{id}.svg"))).unwrap();
    assert!(svg.contains("mean of 2 jobs") && svg.contains(">quick</text>") && svg.contains("<polygon"), "no bands");

    let other = Kiln::new("");
    kiln.ok(&["export", "last", "--format", "bundle", "--out", other.path("b").to_str().unwrap()]);
    assert_eq!(other.ok(&["import", "b"]), format!("{id}: completed after {}", took(&kiln)));
    assert_eq!(kiln.json(&["show", &id, "--json"])["outcome"], other.json(&["show", &id, "--json"])["outcome"]);
    let (here, there) = (kiln.json(&["ls", "--jobs", "--json"]), other.json(&["ls", "--jobs", "--json"]));
    for (here, there) in here.as_array().unwrap().iter().zip(there.as_array().unwrap()) {
        for same in ["id", "state", "arm", "seed", "best", "preset", "jobs", "created"] {
            assert_eq!(here[same], there[same], "{same}");
        }
    }
    let alone = kiln.run(&["export", "last.1", "--format", "bundle"]);
    assert!(alone.code == Some(2) && alone.err.contains(&format!("kiln export {id} --format bundle")), "{alone:?}");
}

/// As `kiln import` says it: with the newline that ends the line.
fn took(kiln: &Kiln) -> String {
    let shown = kiln.ok(&["show"]);
    let line = shown.lines().find_map(|l| l.trim().strip_prefix("took")).unwrap();
    format!("{}\n", line.trim())
}

#[test]
fn plots_are_files_where_a_file_is_wanted() {
    let kiln = Kiln::new("steps=40,ms=1,candidates=3");
    kiln.ok(&["run", "search.toml"]);
    let name = kiln.json(&["show", "--json"])["series"][0]["name"].as_str().unwrap().to_owned();
    kiln.ok(&["plot", "last", &name, "--out", "a.svg", "--log"]);
    let svg = fs::read_to_string(kiln.path("a.svg")).unwrap();
    assert!(svg.starts_with("<svg xmlns=") && svg.contains("<polyline"), "{svg}");
    kiln.ok(&["plot", "last", &name, "--out", "a.png", "--dark"]);
    assert!(fs::read(kiln.path("a.png")).unwrap().starts_with(b"\x89PNG"));
    let said = kiln.run(&["plot", "last", &name, "--out", "a.pdf"]);
    assert!(said.code == Some(2) && said.err.contains(".svg or .png"), "{said:?}");
    for (arguments, expected) in [
        (&["--format", "svg", "--rows", "runs"][..], "--rows is for csv, jsonl and parquet, not for --format svg"),
        (&["--series", "x"], "--series is for tables, tensorboard and plots, not for --format safetensors"),
        (&["--format", "tensorboard", "--out", "-"], "--out - is for"),
        (&["--format", "csv", "--no-checkpoints"], "--no-checkpoints is for bundle"),
        (&["--format", "csv", "--series", "nonsense"], "no series is called `nonsense`"),
        (&["--format", "png", "--series", "nonsense"], "there is no series `nonsense`"),
        (&["--format", "csv", "--out", "no/such/folder/x.csv"], "no/such/folder/x.csv was not written"),
    ] {
        let said = kiln.run(&[&["export", "last"], arguments].concat());
        assert!(said.code == Some(2) && said.err.contains(expected), "{arguments:?}: {said:?}");
    }
    assert!(!kiln.path("no").exists());
}

#[test]
fn a_run_goes_on_where_its_bundle_is_imported() {
    let kiln = Kiln::new("steps=100000,ms=2,checkpoint=20");
    kiln.ok(&["run", "search.toml", "--detach"]);
    let running = kiln.until("running");
    let id = running["id"].as_str().unwrap();
    let checkpoints = kiln.path("home").join("runs").join(id).join("checkpoints");
    while !fs::read_dir(&checkpoints).is_ok_and(|d| d.flatten().any(|e| e.file_name() == "20")) {
        assert_eq!(kiln.json(&["ls", "--json"])[0]["state"], "running");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let other = Kiln::new("steps=100000,ms=2,checkpoint=20");
    let bundle = other.path("live.tar.zst");
    let said = kiln.ok(&["export", id, "--format", "bundle", "--out", bundle.to_str().unwrap()]);
    assert!(said.contains("had not ended"), "{said}");
    let imported = other.ok(&["import", "live.tar.zst"]);
    assert!(imported.starts_with(&format!("{id}: stopped")), "{imported}");
    let here = other.until("stopped");
    assert!(here["reason"].as_str().unwrap().contains("bundle"), "{here}");
    // Another engine finds the same.
    other.ok(&["engine", "stop"]);
    assert_eq!(other.until("stopped")["id"], id);
    other.ok(&["resume", id]);
    let resumed = other.until("running");
    assert!(resumed["reason"].as_str().unwrap_or_default().contains("checkpoint"), "{resumed}");
    assert_eq!(kiln.json(&["ls", "--json"])[0]["state"], "running", "the first one was left alone");

    let again = other.run(&["import", "live.tar.zst"]);
    assert!(again.code == Some(2) && again.err.contains("--as"), "{again:?}");
    other.ok(&["import", "live.tar.zst", "--as", "second-0001"]);
    assert_eq!(other.json(&["ls", "--json"]).as_array().unwrap().len(), 2);
    other.ok(&["rm", "second-0001"]);
    fs::write(other.path("text"), "hello").unwrap();
    let none = other.run(&["import", "text"]);
    assert!(none.code == Some(2) && none.err.contains("text was not imported"), "{none:?}");
    let gone = other.run(&["import", "gone"]);
    assert!(gone.code == Some(2) && gone.err.contains("gone cannot be read"), "{gone:?}");
}

#[test]
fn a_report_is_one_page() {
    let kiln = Kiln::new("steps=30,ms=1,candidates=3,pictures=10");
    kiln.ok(&["run", "search.toml", "--set", "seed=1"]);
    let first = id_of(&kiln);
    kiln.ok(&["run", "search.toml", "--set", "seed=2"]);
    let said = kiln.ok(&["report"]);
    assert!(said.contains("a report on") && said.contains("one file"), "{said}");
    let page = fs::read_to_string(kiln.path(&format!("{}.html", id_of(&kiln)))).unwrap();
    for text in ["<svg", "Environment", "Settings", "data:image/png;base64,", "tau_global", "processor"] {
        assert!(page.contains(text), "no {text}");
    }
    let again = kiln.run(&["report"]);
    assert!(again.code == Some(2) && again.err.contains(".html is there already; --force overwrites it"), "{again:?}");
    kiln.ok(&["report", "--force"]);
    let page = kiln.ok(&["report", "last", &first, "--title", "Two seeds", "--out", "-"]);
    assert!(page.contains("<title>Two seeds</title>") && page.contains("Settings that differ"), "{page}");
    assert!(page.contains(&first) && page.ends_with("</html>\n"));
}

#[test]
fn a_run_is_repeated_by_the_preset_that_repro_writes() {
    let kiln = Kiln::new("steps=20,ms=1,candidates=2");
    kiln.ok(&["run", "search.toml", "--set", "seed=9"]);
    let id = id_of(&kiln);
    let record = kiln.path("home").join("runs").join(&id).join("record.jsonl");
    let record: Json = serde_json::from_str(fs::read_to_string(record).unwrap().trim()).unwrap();
    assert_eq!((&record["seed"], &record["attempt"]), (&Json::from(9), &Json::from(1)));
    assert!(record["data"]["digest"].as_str().unwrap().starts_with("sha256:"), "{record}");

    let said = kiln.ok(&["repro"]);
    let file = format!("{id}-repro.toml");
    assert!(said.contains(&file), "{said}");
    let twice = kiln.run(&["repro"]);
    assert!(twice.code == Some(2) && twice.err.contains(&format!("{file} is there already")), "{twice:?}");
    kiln.ok(&["repro", "--force"]);
    assert_eq!(kiln.ok(&["check", &file, "--spec"]), kiln.ok(&["show", &id, "--spec"]), "the same settings");
    let again = kiln.ok(&["run", &file]);
    assert!(again.contains("completed after"), "{again}");
    let figures = |run: &str| kiln.json(&["show", run, "--json"])["outcome"]["figures"].clone();
    assert_eq!(figures(&id), figures("last"), "and so the same figures");

    let told = |said: &Said| -> Vec<String> {
        let said: Json = serde_json::from_str(&said.out).unwrap();
        said["differences"].as_array().unwrap().iter().map(|d| d["what"].as_str().unwrap().to_owned()).collect()
    };
    let check = ["repro", &id, "--check", "--json"];
    assert!(!told(&kiln.run(&check)).contains(&"data".to_owned()));
    fs::write(kiln.path("digits.csv"), "other").unwrap();
    assert!(told(&kiln.run(&check)).contains(&"data".to_owned()));
    fs::remove_file(kiln.path("digits.csv")).unwrap();
    let said = kiln.ok(&["repro", &id, "--check"]);
    assert!(said.contains("may change what comes out") && said.contains("digits.csv"), "{said}");
    let text = kiln.ok(&["repro", &id, "--out", "-"]);
    assert!(text.starts_with(&format!("# Repeats {id}")) && text.contains("# processor"), "{text}");
}
