//! The keys that the status bar shows: those that matter now, as they are bound now.

use ratatui::layout::Rect;

use crate::action::{Action, Context};
use crate::facts::Facts;
use crate::glyphs::{ASCII, Glyphs, UNICODE};
use crate::keys::Key;
use crate::model::Model;
use crate::text;
use crate::update::applies;

/// A key, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Hint {
    pub action: Action,
    pub key: String,
    pub words: &'static str,
}

/// Cells between two hints.
const GAP: usize = 3;

impl Hint {
    /// Cells that it takes: the key, a blank, the words.
    pub fn cells(&self) -> usize {
        text::width(&self.key) + 1 + text::width(self.words)
    }
}

/// What fits into `width` cells, the most special first; help and quit, the way out, keep their room at the end.
pub fn fitting(m: &Model, width: u16, glyphs: &Glyphs) -> Vec<Hint> {
    let (contexts, facts) = (m.contexts(), m.facts());
    let mut hints: Vec<Hint> = Vec::new();
    for context in &contexts {
        let here = Action::ALL.iter().filter(|a| a.contexts().contains(context) && !a.hint().is_empty());
        for action in here.filter(|a| applies(m, **a)) {
            let Some(hint) = hint(m, *action, &contexts, facts, glyphs) else { continue };
            if !hints.iter().any(|h| h.key == hint.key) {
                hints.push(hint);
            }
        }
    }
    let (last, first): (Vec<_>, Vec<_>) = hints.into_iter().partition(|h| h.words == "help" || h.words == "quit");
    let mut room = usize::from(width).saturating_sub(last.iter().map(|h| h.cells() + GAP).sum());
    let mut shown = Vec::new();
    for hint in first {
        if hint.cells() + GAP > room {
            break;
        }
        room -= hint.cells() + GAP;
        shown.push(hint);
    }
    shown.extend(last);
    shown
}

/// Where the hints stand in `area`.
pub fn spans(m: &Model, area: Rect) -> Vec<(Rect, Action)> {
    let mut x = area.x;
    let place = |hint: Hint| {
        let width = hint.cells() as u16;
        let at = x.min(area.right());
        let span = Rect { x: at, width: width.min(area.right() - at), ..area };
        x = x.saturating_add(width + GAP as u16);
        (span, hint.action)
    };
    let glyphs = if m.braille { &UNICODE } else { &ASCII };
    fitting(m, area.width, glyphs).into_iter().map(place).collect()
}

/// The hint of one action; `None` if it has no key now.
fn hint(m: &Model, action: Action, contexts: &[Context], facts: Facts, glyphs: &Glyphs) -> Option<Hint> {
    let (pair, words) =
        action.hint().split_once('|').map_or((None, action.hint()), |(keys, words)| (Some(keys), words));
    let means = |key: Key| m.keymap.lookup(contexts, key, facts);
    // `h/l`, `hjkl`: of two or more actions, of which this is one. Only while Kiln's keys are in use.
    let holds = |pair: &&str| {
        let keys = pair.chars().filter(|c| *c != '/').map(|c| c.to_string().parse::<Key>());
        let meant: Vec<Option<Action>> = keys.map(|key| key.ok().and_then(means)).collect();
        meant.iter().all(Option::is_some) && meant.contains(&Some(action))
    };
    let key = match pair.filter(holds) {
        Some(pair) => pair.to_owned(),
        None => {
            // The first key that means it here: another context may have taken the first one.
            let key = m.keymap.keys(action).iter().copied().find(|key| means(*key) == Some(action))?;
            let name = key.to_string();
            if name == "enter" { glyphs.enter.to_owned() } else { name }
        }
    };
    Some(Hint { action, key, words })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::keymap::Keymap;
    use ratatui::layout::Size;

    #[test]
    fn hints_show_the_keys_as_they_are_bound() {
        let mut m = fixture::opened(Size { width: 200, height: 50 });
        let keys = |m: &Model| fitting(m, 198, &UNICODE).into_iter().map(|h| (h.key, h.words)).collect::<Vec<_>>();
        let has = |m: &Model, key: &str, words| keys(m).iter().any(|h| h.0 == key && h.1 == words);
        assert!(has(&m, "h/l", "cursor") && has(&m, "s", "smooth") && has(&m, "?", "help"), "{:?}", keys(&m));
        m.keymap =
            Keymap::read("[keys]\n\"curves.right\" = \"right\"\n\"curves.smooth\" = \"w\"\n\"run.pause\" = []\n").0;
        assert!(has(&m, "right", "cursor") && has(&m, "w", "smooth"), "{:?}", keys(&m));
        assert!(!keys(&m).iter().any(|h| h.1 == "pause"), "{:?}", keys(&m));
    }

    #[test]
    fn hints_never_leave_their_line_and_keep_the_way_out() {
        for width in [0, 5, 20, 40, 80, 200] {
            let m = fixture::opened(Size { width, height: 24 });
            let area = Rect::new(0, 23, width, 1);
            let spans = spans(&m, area);
            assert!(spans.iter().all(|s| s.0.right() <= width));
            assert!(spans.windows(2).all(|w| w[0].0.right() <= w[1].0.x), "{spans:?}");
            assert!(spans.iter().any(|s| s.1 == Action::Quit));
        }
    }
}
