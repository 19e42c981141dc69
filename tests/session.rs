//! A session of a person who has just been given Kiln, in a pseudo-terminal: from an empty home through tour, settings, launch and
//! a live knob to the comparison of two runs, palette, report, filter, tags and tables.
//!
//! Snapshots hold the words of each screen: figures, times, ids and curves differ from run to run and are masked.

// Clippy's exemption of tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use kiln_tests::command::{Kiln, PRESET};
use kiln_tests::terminal::Terminal;
use regex_lite::Regex;

/// The screen's words: without its first lines (figures of the machine, messages that go by themselves), with masks for what differs from run to run.
fn words(screen: &str) -> String {
    let masks = [
        (r"training(\.toml)?-[0-9a-z]{4}", "training-ID"),
        // Curves, bars, drawings of architectures.
        (r"[\u{2800}-\u{28ff}\u{2581}-\u{2588}·┈━╸─╌┄•●◌○╎]+", " "),
        (r"\d[\d,.:]*(e-?\d+)?", "N"),
        (r"\b(N (ms|s|min|h|d)|now)( N (ms|s|min))?\b", "TIME"),
        (r"[-+±]N", "N"),
        (r"  +", "  "),
    ];
    let mask = |line: &str| {
        let masked = masks.iter().fold(line.to_owned(), |line, (pattern, mask)| {
            Regex::new(pattern).unwrap().replace_all(&line, *mask).into_owned()
        });
        masked.trim_end().to_owned()
    };
    // How many ticks an axis has is a matter of the figures; a message goes by itself.
    let said = |line: &String| line.chars().any(|c| !" Ne".contains(c)) && !line.ends_with("has completed.");
    screen.lines().skip(2).map(mask).filter(said).collect::<Vec<_>>().join("\n")
}

fn snapshot(name: &str, screen: &str) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(format!("session-{name}"), words(screen));
    });
}

/// What stands in the box over a screen: what is behind it may still be on its way.
fn boxed(screen: &str) -> String {
    let inner = |line: &str| {
        let (from, to) = (line.find('│')?, line.rfind('│')?);
        (from < to).then(|| line[from..to].trim_start_matches('│').trim().to_owned())
    };
    [String::new(), String::new()].into_iter().chain(screen.lines().filter_map(inner)).collect::<Vec<_>>().join("\n")
}

/// Waits for a text and until nothing moves any more: a key's last change may come in a frame of its own.
fn still(screen: &Terminal, text: &str) -> String {
    let start = Instant::now();
    let mut last = screen.wait(text);
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(700) && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
        let now = screen.text();
        if words(&now) != words(&last) {
            since = Instant::now();
        }
        last = now;
    }
    last
}

/// Waits for a text, and takes a snapshot of the screen once it is still.
fn shows(screen: &Terminal, text: &str, name: &str) {
    snapshot(name, &still(screen, text));
}

#[test]
fn from_an_empty_home_to_what_is_taken_along() {
    let kiln = Kiln::new("steps=240,ms=25,candidates=6");
    // A method that has settings to turn while it goes on; the fake worker plays it like any other.
    let preset = PRESET.replace("dc-nas", "train").replace("A search", "A training");
    std::fs::write(kiln.path("training.toml"), preset).unwrap();
    let mut command = kiln.command(&["--preset", "training.toml"]);
    command.env("KILN_CUDA", "off");
    let mut screen = Terminal::open(command, 100, 32);

    // The first start: a tour of five pages.
    for page in 1..=5 {
        let text = screen.wait(&format!("Tour {page} of 5"));
        assert!(!text.contains("no engine"), "{text}");
        if page == 1 || page == 5 {
            snapshot(&format!("tour-{page}"), &boxed(&text));
        }
        screen.press("enter");
    }

    // Another value for a setting, and off it goes.
    screen.wait_for("the launcher with its preset", |t| t.contains("A training for tests") && !t.contains("Tour"));
    // What the other presets need is looked up one after the other, and differs from machine to machine.
    screen.press("/");
    screen.type_in("training.toml");
    screen.press("enter");
    let alone = |t: &str| t.contains("starts it") && t.contains("epochs") && !t.contains("dc-nas");
    screen.wait_for("the preset alone and its costs", alone);
    shows(&screen, "esc back", "launcher");
    screen.press("e");
    screen.wait("data.train");
    screen.press("/");
    screen.type_in("seed");
    screen.press("enter");
    screen.wait_for("the setting alone", |t| t.contains("seed") && !t.contains("data.train"));
    screen.press("space ctrl-u");
    screen.type_in("7");
    screen.press("enter");
    // Its costs are told a moment later.
    snapshot(
        "form",
        &screen.wait_for("one change and its costs", |t| t.contains("1 changed") && t.contains("parameters")),
    );
    screen.press("enter");
    screen.wait("1 Curves");

    // A live setting of the run, turned while it goes on.
    screen.wait("● running");
    screen.press("u");
    screen.wait("optim.lr");
    screen.press("enter ctrl-u");
    screen.type_in("0.005");
    screen.press("enter");
    snapshot("knobs", &boxed(&screen.wait("0.005")));
    screen.press("esc");
    screen.wait_for("the open run", |t| t.contains("1 Curves") && !t.contains("change"));
    assert!(kiln.ok(&["tail", "last", "-n", "100"]).contains("optim.lr"), "the change is an event of the run");

    // A second run with another seed; both are compared.
    screen.press("n");
    screen.wait("Start another run");
    screen.press("e");
    screen.wait("1 changed");
    screen.wait("seed");
    screen.press("space ctrl-u");
    screen.type_in("8");
    screen.press("enter");
    screen.wait_for("the other seed", |t| t.lines().any(|l| l.contains(" seed ") && l.contains("8   was 1")));
    screen.press("enter");
    screen.wait("1 Curves");

    // What came of it, page by page.
    screen.wait("✓ completed");
    for (page, text, name) in [
        ("1", "1 Curves", "run-1"),
        ("2", "architecture", "run-2"),
        ("3", "objective", "run-3"),
        ("4", "Kendall tau", "run-4"),
        ("5", "Distances between", "run-5"),
    ] {
        screen.press(page);
        shows(&screen, text, name);
    }
    screen.press("?");
    snapshot("help", &boxed(&still(&screen, "─ Keys ─")));
    screen.press("esc");
    screen.press("Y");
    // What stands above differs from machine to machine.
    let machine = still(&screen, "Nothing waits.");
    let work: Vec<&str> =
        machine.lines().skip_while(|l| !l.starts_with(" Running")).take_while(|l| !l.contains("───")).collect();
    snapshot("machine", &format!("\n\n{}", work.join("\n")));
    screen.press("esc");
    screen.press("esc");
    screen.wait("2 ended");
    screen.press("space j space");
    shows(&screen, "2 marked", "marked");
    screen.press("c");
    screen.wait("2 runs");
    for (page, text, name) in [
        ("1", "series", "compare-1"),
        ("3", "Runs by", "compare-3"),
        ("4", "What matters", "compare-4"),
        // Not against the time: which run was faster is chance.
        ("5 a", "against → tau_global", "compare-5"),
        ("2", "Settings that differ", "compare-2"),
    ] {
        screen.press(page);
        shows(&screen, text, name);
    }

    // A report of both, through the palette.
    screen.press(":");
    screen.type_in("report");
    // It stands in the whole list, too.
    let found = screen.wait_for("what was typed", |t| t.contains("› report") && t.contains("Write a report"));
    snapshot("palette", &found);
    screen.press("enter");
    let report = kiln.until_file(".html");
    assert!(report.starts_with("<!DOCTYPE html>") && report.contains("seed"), "{}", &report[..200.min(report.len())]);
    screen.press("esc");
    screen.wait("2 marked");

    // One of them is found again by its seed, tagged, and its points are taken along.
    screen.press("/");
    screen.type_in("seed:8 -failed");
    screen.press("enter");
    shows(&screen, "1 of 2", "filter");
    screen.press("t");
    screen.type_in("keep");
    screen.press("enter");
    screen.wait("#keep");
    assert_eq!(kiln.json(&["ls", "--json", "--filter", "tag:keep"]).as_array().map(Vec::len), Some(1));
    screen.press("alt-c");
    let table = kiln.until_file(".csv");
    assert!(
        table.lines().next().is_some_and(|heads| heads.contains("series")) && table.lines().count() > 10,
        "{table}"
    );
    let kept = std::fs::read_to_string(kiln.path("config/workbench.toml")).unwrap();
    assert!(kept.contains("toured = true"), "{kept}");
}
