//! Theme, tour, clipboard, mouse, notifications: what makes no difference to a run.

use kiln_protocol::wire::Push;
use kiln_protocol::{Level, RunState};

use crate::action::Action;
use crate::model::{Model, Overlay, copied, tour};
use crate::msg::Effect;

/// Longest text that is copied, in bytes: terminals take about 100 kB of base64.
const MOST: usize = 70_000;

/// Does what a key of these means.
pub fn act(m: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    match action {
        Action::Theme => effects.push(Effect::SwitchTheme),
        Action::Tour if matches!(m.overlay, Some(Overlay::Tour(_))) => m.overlay = Some(Overlay::Tour(0)),
        Action::Tour => m.cover(Overlay::Tour(0)),
        Action::NextPage | Action::PrevPage | Action::CloseTour => turn(m, action, effects),
        Action::Mouse => {
            m.kept.mouse = !m.kept.mouse;
            let said = if m.kept.mouse {
                "Kiln has the mouse: the wheel scrolls, a click selects. Hold shift to select text."
            } else {
                "The terminal has the mouse."
            };
            m.note_about("mouse", Level::Info, said);
            effects.extend([Effect::Mouse(m.kept.mouse), Effect::Keep(Box::new(m.kept.clone()))]);
        }
        Action::Copy => copy(m, copied::value(m), "There is nothing to copy here.", effects),
        Action::CopyId => copy(m, m.target().map(|id| id.0), "There is no run here.", effects),
        Action::CopyPath => copy(m, copied::path(m), "There is no run here whose folder is known.", effects),
        _ => {}
    }
}

/// Turns pages of the tour; past the last one it has been seen.
fn turn(m: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    let Some(Overlay::Tour(page)) = m.overlay else { return };
    match action {
        Action::NextPage if page + 1 < tour::LEN => m.overlay = Some(Overlay::Tour(page + 1)),
        Action::PrevPage => m.overlay = Some(Overlay::Tour(page.saturating_sub(1))),
        _ => {
            m.uncover();
            if !m.kept.toured {
                m.kept.toured = true;
                effects.push(Effect::Keep(Box::new(m.kept.clone())));
            }
        }
    }
}

fn copy(m: &mut Model, text: Option<String>, nothing: &str, effects: &mut Vec<Effect>) {
    let Some(text) = text else { return m.note_about("copied", Level::Info, nothing) };
    if text.len() > MOST {
        let said = format!("Not copied: {} bytes are more than terminals take ({MOST}).", text.len());
        return m.note_about("copied", Level::Warn, said);
    }
    let said = match text.lines().count() {
        0 | 1 => format!("Copied {}", text.trim()),
        n => format!("Copied {n} lines."),
    };
    m.note_about("copied", Level::Info, said);
    effects.push(Effect::Copy(text));
}

/// Another theme is in use: kept for the next start.
pub fn themed(m: &mut Model, name: String, problems: Vec<String>, effects: &mut Vec<Effect>) {
    for problem in &problems {
        m.note(Level::Warn, problem.clone());
    }
    if problems.is_empty() {
        m.note_about("theme", Level::Info, format!("Theme: {name}"));
    }
    m.kept.theme = Some(name);
    effects.push(Effect::Keep(Box::new(m.kept.clone())));
}

/// Tells who looks elsewhere of runs that have ended with this push. Called before the list is changed.
pub fn notify(m: &Model, push: &Push, effects: &mut Vec<Effect>) {
    let Push::Runs { runs } = push else { return };
    let over = |state: RunState| matches!(state, RunState::Completed | RunState::Failed);
    let ended = runs.iter().filter(|new| over(new.state) && m.runs.get(&new.id).is_some_and(|old| !over(old.state)));
    let words: Vec<String> = ended
        .map(|run| format!("{} {}", run.id, if run.state == RunState::Failed { "has failed" } else { "has completed" }))
        .collect();
    let text = match words.as_slice() {
        [] => return,
        [one] => one.clone(),
        [one, rest @ ..] => format!("{one}, and {} more have ended", rest.len()),
    };
    if m.kept.bell || m.kept.notify {
        effects.push(Effect::Notify { text, bell: m.kept.bell, banner: m.kept.notify });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, keys, model};
    use crate::kept::Kept;
    use crate::msg::Msg;
    use crate::update::update;
    use kiln_protocol::RunSummary;
    use kiln_protocol::wire::FromEngine;
    use ratatui::layout::Size;

    const SIZE: Size = Size { width: 80, height: 24 };

    #[test]
    fn the_tour_goes_forth_and_back_and_is_seen_once() {
        let mut m = model(SIZE);
        keys(&mut m, "f2 enter l h h h");
        assert_eq!(m.overlay, Some(Overlay::Tour(0)));
        keys(&mut m, "enter enter enter enter");
        assert_eq!(m.overlay, Some(Overlay::Tour(4)));
        let kept = Kept { toured: true, ..Kept::default() };
        assert_eq!(keys(&mut m, "enter"), [Effect::Keep(Box::new(kept))]);
        assert_eq!(m.overlay, None);
        keys(&mut m, "f2");
        assert_eq!(keys(&mut m, "esc"), [], "it has been seen already");
        keys(&mut m, "f2");
        assert_eq!(keys(&mut m, "T"), [Effect::SwitchTheme], "themes can be tried meanwhile");
    }

    /// The first start, on the page of presets.
    fn first_start() -> Model {
        let mut m = model(SIZE);
        keys(&mut m, "n");
        m.overlay = Some(Overlay::Tour(0));
        m
    }

    #[test]
    fn what_is_opened_over_the_tour_leads_back_to_it() {
        for open in ["?", "f1", "i", ":"] {
            for close in ["esc", "q"] {
                if (open, close) == (":", "q") {
                    continue;
                }
                let mut m = first_start();
                keys(&mut m, &format!("enter {open}"));
                assert!(!matches!(m.overlay, Some(Overlay::Tour(_))), "{open}");
                keys(&mut m, close);
                assert_eq!(m.overlay, Some(Overlay::Tour(1)), "{open} {close}");
                assert!(!m.kept.toured, "nobody has seen it yet");
                keys(&mut m, "enter");
                assert_eq!(m.overlay, Some(Overlay::Tour(2)), "{open} {close}");
            }
        }
        let mut m = first_start();
        keys(&mut m, "enter : t h e m e space d a r k");
        assert!(keys(&mut m, "enter").iter().all(|e| matches!(e, Effect::UseTheme(_) | Effect::SwitchTheme)));
        assert_eq!(m.overlay, Some(Overlay::Tour(1)), "a theme is tried meanwhile");
    }

    #[test]
    fn no_enter_meant_for_the_tour_starts_a_run() {
        let starts = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Load(_)));
        let mut m = first_start();
        for at in 0..tour::LEN {
            assert!(!starts(&keys(&mut m, "? enter esc enter")), "press {at}");
        }
        let mut m = first_start();
        for at in 0..=tour::LEN {
            assert!(!starts(&keys(&mut m, "enter")), "press {at}");
        }
        assert!(m.overlay.is_none() && m.notes.last().unwrap().text.contains("enter once more"), "{:?}", m.notes);
        assert!(starts(&keys(&mut m, "enter")), "now it is meant");
        // Nor does anybody who takes the time to look have to press it twice.
        let mut m = first_start();
        keys(&mut m, "enter enter enter enter enter");
        update(&mut m, Msg::Tick(fixture::NOW + 2.0));
        assert!(starts(&keys(&mut m, "enter")));
    }

    #[test]
    fn copying_says_what_and_refuses_what_is_too_long() {
        let mut m = model(SIZE);
        let id = m.target().unwrap().0;
        assert_eq!(keys(&mut m, "ctrl-y"), [Effect::Copy(id.clone())]);
        assert_eq!(keys(&mut m, "alt-i"), [Effect::Copy(id.clone())]);
        assert_eq!(m.notes.last().unwrap().text, format!("Copied {id}"));
        assert_eq!(keys(&mut m, "alt-p"), []);
        assert!(m.notes.last().unwrap().text.contains("folder"));
        let mut m = fixture::opened(SIZE);
        m.detail.as_mut().unwrap().spec = "x".repeat(MOST + 1);
        let settings = m.detail.as_ref().unwrap().tabs().len();
        keys(&mut m, &(settings).to_string());
        assert_eq!(keys(&mut m, "ctrl-y"), []);
        assert!(m.notes.last().unwrap().text.starts_with("Not copied"));
    }

    #[test]
    fn the_mouse_is_taken_and_given_back() {
        let mut m = model(SIZE);
        let effects = keys(&mut m, "alt-m");
        assert!(matches!(&effects[..], [Effect::Mouse(true), Effect::Keep(kept)] if kept.mouse), "{effects:?}");
        assert!(matches!(&keys(&mut m, "alt-m")[..], [Effect::Mouse(false), Effect::Keep(kept)] if !kept.mouse));
    }

    #[test]
    fn runs_that_end_are_told_once_and_together() {
        let mut m = model(SIZE);
        let ended = |state: RunState, n: usize| -> Vec<RunSummary> {
            fixture::summaries().into_iter().take(n).map(|r| RunSummary { state, ..r }).collect()
        };
        let mut push = |runs| update(&mut m, Msg::Frame(Box::new(FromEngine::Push(Push::Runs { runs }))));
        let told = push(ended(RunState::Completed, 2));
        let [Effect::Notify { text, bell: true, banner: true }] = &told[..] else { panic!("{told:?}") };
        assert_eq!(text, "dc-nas-digits-k3f7 has completed, and 1 more have ended");
        assert_eq!(push(ended(RunState::Completed, 2)), [], "they had ended already");
        let failed = push(ended(RunState::Failed, 3));
        assert!(
            matches!(&failed[..], [Effect::Notify { text, .. }] if text == "train-cifar10-b2aa has failed"),
            "{failed:?}"
        );
        (m.kept.bell, m.kept.notify) = (false, false);
        let mut again = fixture::summaries().remove(7);
        again.state = RunState::Failed;
        let runs = vec![again];
        assert_eq!(update(&mut m, Msg::Frame(Box::new(FromEngine::Push(Push::Runs { runs })))), []);
    }

    #[test]
    fn a_theme_is_kept_and_its_mistakes_are_told() {
        let mut m = model(SIZE);
        let effects = update(&mut m, Msg::Themed { name: "light".into(), problems: vec![] });
        assert!(matches!(&effects[..], [Effect::Keep(kept)] if kept.theme.as_deref() == Some("light")));
        assert_eq!(m.notes.last().unwrap().text, "Theme: light");
        update(&mut m, Msg::Themed { name: "own".into(), problems: vec!["theme own.toml, line 3: no colour".into()] });
        assert!(m.notes.last().unwrap().text.contains("line 3"));
    }
}
