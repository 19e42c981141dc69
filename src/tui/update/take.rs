//! What is taken along of runs: asked for, and told about.

use kiln_protocol::{Level, RunId};

use super::retrain::EXPORT;
use crate::model::{Model, Screen};
use crate::msg::Effect;
use crate::options::Take;

/// Has what was asked for written: of the runs that are marked, else of the one that the cursor is on or that is open.
pub fn take(m: &mut Model, what: Take, effects: &mut Vec<Effect>) {
    let runs = subjects(m);
    if runs.is_empty() {
        return m.note(Level::Info, "There is no run to take anything of yet; `n` opens the launcher.");
    }
    let doing = match what {
        Take::Report => "Writing a report",
        Take::Points => "Writing all points",
        Take::Events => "Writing event files",
        Take::Charts => "Drawing the curves",
        Take::Bundle => "Packing",
        Take::Repeat => "Looking at what the run was made of",
    };
    m.note_about(EXPORT, Level::Info, doing);
    effects.push(Effect::Take { runs, what });
}

fn subjects(m: &Model) -> Vec<RunId> {
    match (m.screen, &m.compare) {
        (Screen::Compare, Some(compare)) => compare.runs.clone(),
        // In the order of the list; those that the filter hides come last.
        (Screen::Runs, _) if !m.runs.marked.is_empty() => {
            let visible: Vec<&RunId> = m.runs.visible().iter().map(|r| &r.id).collect();
            let mut runs: Vec<RunId> = m.runs.marked.iter().cloned().collect();
            runs.sort_by_key(|id| visible.iter().position(|v| *v == id).unwrap_or(usize::MAX));
            runs
        }
        _ => m.target().into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::msg::Msg;
    use crate::update::update;
    use ratatui::layout::Size;

    #[test]
    fn a_key_takes_the_run_along() {
        let mut m = fixture::model(Size::new(80, 24));
        let runs: Vec<RunId> = m.target().into_iter().collect();
        assert_eq!(runs.len(), 1, "a run is selected");
        for (key, what) in
            [("W", Take::Report), ("alt-c", Take::Points), ("alt-b", Take::Bundle), ("alt-r", Take::Repeat)]
        {
            let effects = update(&mut m, Msg::Key(key.parse().unwrap()));
            assert_eq!(effects, [Effect::Take { runs: runs.clone(), what }], "{key}");
        }
        assert!(m.notes.iter().any(|n| n.text == "Looking at what the run was made of"));
        update(&mut m, Msg::Exported(Level::Info, "x.html: a report".into()));
        assert_eq!(m.notes.iter().filter(|n| n.subject == EXPORT).count(), 1, "told in place of what was being done");
    }

    #[test]
    fn marked_runs_go_together_in_the_order_of_the_list() {
        let mut m = fixture::model(Size::new(80, 24));
        let list: Vec<RunId> = m.runs.visible().iter().map(|r| r.id.clone()).collect();
        m.runs.mark(&list[3]);
        m.runs.mark(&list[1]);
        let effects = update(&mut m, Msg::Key("W".parse().unwrap()));
        let runs = vec![list[1].clone(), list[3].clone()];
        assert_eq!(effects, [Effect::Take { runs: runs.clone(), what: Take::Report }]);
        m.compare = Some(crate::model::compare::Compare::new(vec![list[2].clone()]));
        m.screen = Screen::Compare;
        let effects = update(&mut m, Msg::Key("W".parse().unwrap()));
        let taken = Effect::Take { runs: vec![list[2].clone()], what: Take::Report };
        assert!(effects.contains(&taken), "{effects:?}");
    }

    #[test]
    fn without_a_run_it_is_said() {
        let mut m = Model::new(fixture::presets(), crate::options::Start::Auto, true, Size::new(80, 24), 0.0);
        let mut effects = Vec::new();
        take(&mut m, Take::Report, &mut effects);
        assert!(effects.is_empty() && m.notes.iter().any(|n| n.text.contains("no run")));
    }
}
