//! The tour of the first start: five pages of what there is, and the keys for it as they are now.

use crate::action::Action;
use crate::model::Model;
use crate::model::pages::Line;
use crate::text;
use crate::theme::Role;

/// One page: title, what it is about, and ids of actions with what they are good for.
struct Page {
    title: &'static str,
    words: &'static str,
    keys: &'static [(&'static str, &'static str)],
}

const PAGES: [Page; 5] = [
    Page {
        title: "Welcome to Kiln",
        words: "Kiln searches, trains and shrinks neural networks. An engine in the background does the runs: they go on when you leave or \
            the connection drops, and are here again at the next start, from any terminal.",
        keys: &[
            ("app.help", "all keys of the page you are on"),
            ("app.quit", "leave; runs go on"),
            ("app.theme", "another theme: try it now"),
        ],
    },
    Page {
        title: "Start a run",
        words: "A preset says all about a run: data, network, method, how long. The launcher lists Kiln's presets and your own, with what \
            each does and takes. train-digits is done in seconds.",
        keys: &[
            ("app.launcher", "open the launcher"),
            ("launcher.settings", "change settings before the start"),
            ("launcher.start", "start"),
        ],
    },
    Page {
        title: "Watch it, steer it",
        words: "An open run draws its curves as they grow. Further tabs hold what its method shows, its log, its settings and, in the end, what \
            it found.",
        keys: &[
            ("runs.open", "open the selected run"),
            ("run.next-tab", "next tab; 1 to 9 go to one"),
            ("curves.right", "read values off the curves"),
            ("run.tune", "change a live setting"),
            ("run.pause", "pause, and go on"),
            ("run.stop", "stop after a checkpoint"),
        ],
    },
    Page {
        title: "Find and compare",
        words: "A filter such as `method:train acc>0.9 -failed` narrows the list. Marked runs are compared: curves, settings that differ, which \
            of them matter.",
        keys: &[
            ("app.palette", "find anything by a few letters"),
            ("runs.filter", "filter the list"),
            ("runs.tags", "give the run tags"),
            ("runs.mark", "mark the run"),
            ("runs.compare", "compare those that are marked"),
        ],
    },
    Page {
        title: "Take it along",
        words: "`kiln export` writes curves and tables for other programs, `kiln report` a page with everything about a run, `kiln repro` a preset \
            that repeats it. `kiln --help` lists the rest.",
        keys: &[
            ("run.report", "write that page from here"),
            ("app.copy", "copy what the cursor is on"),
            ("app.mouse", "take the mouse, or leave it to the terminal"),
            ("app.messages", "messages of late"),
            ("app.tour", "this tour again"),
        ],
    },
];

/// How many pages there are.
pub const LEN: usize = PAGES.len();

/// Title of a page.
pub fn title(page: usize) -> &'static str {
    PAGES.get(page).map_or("", |p| p.title)
}

/// A page `width` cells wide: what it is about, then keys. An action without a key is left out.
pub fn lines(m: &Model, page: usize, width: usize, enter: &str) -> Vec<Line> {
    const KEYS: usize = 12;
    let Some(page) = PAGES.get(page) else { return Vec::new() };
    let mut lines: Vec<Line> = text::wrap(page.words, width).into_iter().map(|line| vec![(Role::Text, line)]).collect();
    lines.push(Line::new());
    for (id, words) in page.keys {
        let key = Action::from_id(id).map(|action| m.keymap.first_key(action)).filter(|key| !key.is_empty());
        let Some(key) = key else { continue };
        let key = if key == "enter" { enter } else { &key };
        for (i, words) in text::wrap(words, width.saturating_sub(KEYS).max(12)).into_iter().enumerate() {
            let key = text::left(if i == 0 { key } else { "" }, KEYS, "");
            lines.push(vec![(Role::Key, key), (Role::Dim, words)]);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::layout;
    use crate::model::Screen;
    use ratatui::layout::Size;

    #[test]
    fn every_page_fits_an_ordinary_terminal() {
        let size = Size { width: 80, height: 24 };
        let m = fixture::model(size);
        let inner = layout::framed(layout::tour(size));
        for page in 0..LEN {
            let lines = lines(&m, page, inner.width.into(), "enter");
            assert!(lines.len() + 2 <= usize::from(inner.height), "{}: {} lines", title(page), lines.len());
            assert!(lines.iter().all(|l| l.iter().map(|p| text::width(&p.1)).sum::<usize>() <= inner.width.into()));
        }
    }

    #[test]
    fn pages_name_the_same_keys_wherever_they_are_opened() {
        let size = Size { width: 80, height: 24 };
        let list = fixture::model(size);
        for mut m in [fixture::opened(size), fixture::search(size), fixture::training(size), fixture::model(size)] {
            for screen in [m.screen, Screen::Launcher, Screen::System, Screen::Compare] {
                m.screen = screen;
                for (page, told) in PAGES.iter().enumerate() {
                    let here = lines(&m, page, 68, "enter");
                    assert_eq!(here, lines(&list, page, 68, "enter"), "{}, {screen:?}", told.title);
                    let keys = here.iter().filter(|l| l.iter().any(|p| p.0 == Role::Key && !p.1.trim().is_empty()));
                    assert_eq!(keys.count(), told.keys.len(), "{}, {screen:?}", told.title);
                }
            }
        }
    }

    #[test]
    fn every_key_of_the_tour_exists() {
        for (id, _) in PAGES.iter().flat_map(|p| p.keys) {
            assert!(Action::from_id(id).is_some(), "{id}");
        }
    }
}
