//! What a filter finds, and what it says when it cannot be read.

use super::*;
use crate::run::{Best, JobCounts, Progress, RunId};

const NOW: f64 = 1_000_000.0;

fn run(id: &str, state: RunState) -> RunSummary {
    let best = Best { name: "valid/accuracy".into(), value: 0.93, higher_is_better: true };
    RunSummary {
        preset: "hournas-digits".into(),
        title: "A search on digits".into(),
        method: "hournas".into(),
        state,
        progress: Progress { done: 1.0, total: 4.0, ..Progress::default() },
        best: Some(best),
        device: Some("cuda:0 NVIDIA H100".into()),
        worked: Some(5400.0),
        seed: 2,
        tags: vec!["paper".into(), "v2.1".into()],
        note: "Wider first block".into(),
        figures: vec![("test/top-1".into(), 0.91), ("params".into(), 51_000.0)],
        ..RunSummary::queued(RunId(id.into()), NOW - 86_400.0)
    }
}

fn holds(filter: &str, run: &RunSummary) -> bool {
    Filter::parse(filter).unwrap_or_else(|e| panic!("{filter}: {e}")).matches(run, NOW)
}

#[test]
fn every_kind_of_term_holds_or_does_not() {
    let run = run("hournas-digits-k3f7", RunState::Running);
    for yes in [
        "",
        "-\"or\"",
        "-\"(\"",
        "  ",
        "K3F7",
        "digits hournas",
        "\"search on\"",
        "wider",
        "paper",
        "running",
        "live",
        "-failed",
        "-ended",
        "state:failed,running",
        "state:LIVE",
        "method:hour",
        "method=hournas",
        "method=hour*",
        "id:*-k3f7",
        "id:hour*digits*f7",
        "title:\"on digits\"",
        "device:h100",
        "note:*",
        "tag:paper",
        "tag:PAPER",
        "tag:v2*",
        "tag:*",
        "tag:none,paper",
        "-tag:old",
        "acc>0.9",
        "acc>=0.93",
        "acc=93%",
        "valid/accuracy<0.94",
        "top>0.9",
        "test/top-1<=0.91",
        "params>=51k",
        "params<1M",
        "best>0.5",
        "done:25%",
        "done<50%",
        "seed:1,2",
        "seed!=3",
        "priority=0",
        "attempts<1",
        "jobs:0",
        "age<2d",
        "age>=1d",
        "age>23h59m",
        "took>1h",
        "took:1h30m",
        "took=90min",
        "-left<1h",
        "method:hournas acc>0.9 tag:paper -failed age<2d",
    ] {
        assert!(holds(yes, &run), "{yes}");
    }
    for no in [
        "k3f8",
        "digits train",
        "\"on search\"",
        "\"running\"",
        "-running",
        "ended",
        "state:queued",
        "method=hour",
        "id:k3f7*",
        "-note:*",
        "host:*",
        "tag:pap",
        "-tag:*",
        "acc>0.93",
        "acc<0.93",
        "tau>0",
        "tau<9",
        "top>0.95",
        "done>25%",
        "seed:3,4",
        "jobs>0",
        "age<1d",
        "left<1h",
        "seen<1w",
    ] {
        assert!(!holds(no, &run), "{no}");
    }
}

#[test]
fn the_luckiest_job_is_an_experiments_best_and_none_of_its_figures() {
    let mut run = run("x-0001", RunState::Completed);
    run.jobs = Some(JobCounts { total: 6, ..JobCounts::default() });
    run.figures.clear();
    assert!(!holds("acc>0", &run) && holds("best>0.9", &run) && holds("jobs>5", &run));
}

#[test]
fn the_names_of_arms_are_no_figures() {
    let mut run = run("x-0001", RunState::Completed);
    run.jobs = Some(JobCounts { total: 6, ..JobCounts::default() });
    run.figures = vec![("lr-0.1/test_accuracy/mean".into(), 0.9), ("lr-1/test_accuracy/mean".into(), 0.2)];
    assert!(!holds("lr>0.1", &run) && holds("lr-0.1/test>0.8", &run) && holds("lr-1/test_acc<0.3", &run));
    assert!(holds("test_acc>0.8", &run) && holds("acc>0.8", &run));
    // An experiment is found by what any of its arms has reached, and left out by any.
    assert!(holds("acc<0.3", &run) && !holds("acc<0.1", &run) && !holds("lr-0.1/test_acc<0.3", &run));
    assert!(holds("acc:0.2", &run) && !holds("acc!=0.2", &run) && holds("acc!=0.3", &run));
    // Seeds alone make no arms.
    run.figures = vec![("test_accuracy/mean".into(), 0.9)];
    assert!(holds("test>0.8", &run) && holds("acc>0.8", &run));
}

#[test]
fn a_setting_is_no_figure_unless_a_run_has_one_of_its_name() {
    let runs = [run("a-0001", RunState::Running)];
    let wrong = |filter: &str| Filter::parse(filter).unwrap().suits(runs.iter()).err().map(|e| e.to_string());
    let said = "`-lr>0.1`: `lr` is the setting `optim.lr`, and a filter looks at figures; `kiln compare` shows the settings of \
                runs";
    assert_eq!(wrong("digits -lr>0.1").as_deref(), Some(said));
    assert!(wrong("optim.lr=0.1").unwrap().starts_with("`optim.lr=0.1`: `optim.lr` is a setting, and"));
    assert_eq!(wrong("acc>0.1 tau>0"), None);
    let own = RunSummary { figures: vec![("lr".into(), 0.5)], ..runs[0].clone() };
    assert_eq!(Filter::parse("lr>0.1").unwrap().suits([own].iter()), Ok(()));
    let why = Filter::parse("lr>0.1").unwrap().why_none(runs.iter(), NOW).unwrap();
    assert!(why.contains("`optim.lr`") && why.ends_with('.'), "{why}");
}

#[test]
fn a_bad_filter_says_where_and_what_was_expected() {
    for (filter, said) in [
        ("stat:failed", "`stat:failed`: there is no field `stat`; did you mean `state`?"),
        ("state:faild", "`state:faild`: there is no state `faild`; did you mean `failed`?"),
        ("acc>", "`acc>`: expected a number, such as 0.9 or 90% behind `>`"),
        ("acc>high", "`acc>high`: expected a number, such as 0.9 or 90% behind `>`, found `high`"),
        ("acc>nan", "`acc>nan`: expected a number, such as 0.9 or 90% behind `>`, found `nan`"),
        ("age<2q", "`age<2q`: expected a time, such as 30s, 10min, 2h or 3d behind `<`, found `2q`"),
        ("age<2", "`age<2`: expected a time, such as 30s, 10min, 2h or 3d behind `<`, found `2`"),
        ("age<1h30", "`age<1h30`: expected a time, such as 30s, 10min, 2h or 3d behind `<`, found `1h30`"),
        ("digits title:\"on", "`title:\"on`: the closing quote is missing"),
        (">0.9", "`>0.9`: a field is missing before `>`, as in acc>0.9 or method:train"),
        ("-", "`-`: what is to be left out is missing, as in -failed"),
        ("method>3", "`method>3`: `method` is no number and has no size; write method:VALUE"),
        ("acc>1,2", "`acc>1,2`: one value is enough behind `>`"),
        ("tag!=paper", "`tag!=paper`: write -tag:paper for those that are not"),
        (
            "optim.kind=sgd",
            "`optim.kind=sgd`: `optim.kind` is a setting, and a filter looks at figures; `kiln compare` shows \
                            the settings of runs",
        ),
        (
            "failed or stopped",
            "`or`: a filter has no `or`: give one field several values, as in state:failed,stopped; in \
                               quotes it is a text",
        ),
        ("a AND b", "`AND`: a filter needs no `and`: all its terms must hold; in quotes it is a text"),
        ("not failed", "`not`: write a `-` before the term that must not hold, as in -failed; in quotes it is a text"),
        (
            "-(failed",
            "`-(failed`: a filter has no parentheses: all its terms must hold, and a field may have several values, \
                      as in state:failed,stopped; in quotes it is a text",
        ),
        ("tag:", "`tag:`: expected a tag, such as paper behind `:`"),
    ] {
        let error = Filter::parse(filter).unwrap_err();
        assert_eq!(error.to_string(), said);
        assert_eq!(&filter[error.at.clone()], error.term);
    }
    let all = Filter::parse("zzzzzzzz:x").unwrap_err().to_string();
    assert!(all.contains("fields are tag, method, state"), "{all}");
}

#[test]
fn a_filter_that_finds_nothing_says_which_part_does_not() {
    let runs = [run("a-0001", RunState::Running), run("b-0002", RunState::Failed)];
    let why = |filter: &str| Filter::parse(filter).unwrap().why_none(runs.iter(), NOW);
    assert_eq!(why("a-0001"), None);
    assert_eq!(why("digits tag:nope"), Some("No run matches `tag:nope`.".into()));
    assert_eq!(why("accurcy>0.9"), Some("No run has a figure `accurcy`; did you mean `accuracy`?".into()));
    assert_eq!(why("tau>0.9").unwrap(), "No run has a figure `tau`; there are params, test/top-1, valid/accuracy.");
    assert_eq!(why("a-0001 failed"), Some("No run matches all of it, though each part matches some.".into()));
    assert_eq!(why("acc>0.99"), Some("No run matches `acc>0.99`.".into()));
    assert_eq!(Filter::parse("x").unwrap().why_none([].iter(), NOW), Some("There are no runs yet.".into()));
}

#[test]
fn no_text_makes_the_reader_fail_other_than_with_a_sentence() {
    let signs = ["-", "\"", ":", "<", ">=", "!", "*", ",", "a", "ü日", " ", "state", "9", "%", "acc", "="];
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..state % 9 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(signs[(state >> 33) as usize % signs.len()]);
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        let found = Filter::parse(&text);
        if let Err(error) = &found {
            assert!(text.get(error.at.clone()).is_some(), "{text}");
        } else if let Ok(filter) = found {
            filter.matches(&run("ü日-a", RunState::Queued), NOW);
        }
        complete(&text, [run("ü日-a", RunState::Queued)].iter());
    }
}

fn words(text: &str) -> Vec<String> {
    let runs = [run("a-0001", RunState::Running), {
        let mut other = run("b-0002", RunState::Failed);
        (other.method, other.tags) = ("hit-detector".into(), vec!["paper".into(), "two/words".into()]);
        other
    }];
    complete(text, runs.iter()).into_iter().map(|c| c.whole).collect()
}

#[test]
fn completion_knows_fields_and_the_values_that_runs_have() {
    assert_eq!(words("me"), ["method:"]);
    assert_eq!(words("digits -ta"), ["digits -tag:"]);
    assert_eq!(words("tag:p"), ["tag:paper"]);
    assert_eq!(words("tag:"), ["tag:paper", "tag:two/words", "tag:v2.1"], "the commonest first");
    assert_eq!(words("tag:paper,v"), ["tag:paper,v2.1"]);
    assert_eq!(words("x method:h"), ["x method:hit-detector", "x method:hournas"]);
    assert_eq!(words("state:fa"), ["state:failed"]);
    assert_eq!(words("comp"), ["completed"]);
    assert_eq!(words("acc"), ["accuracy>"]);
    assert_eq!(words("title:\"A se"), ["title:\"A search on digits\""]);
    assert_eq!(words("title:A"), ["title:\"A search on digits\""]);
    assert_eq!(words("acc>"), Vec::<String>::new());
    assert!(words("").starts_with(&["tag:".to_owned(), "method:".to_owned()]), "{:?}", words(""));
    assert!(words("").iter().all(|w| !words("").is_empty() && Filter::parse(w).is_err()), "fields want a value");
}
