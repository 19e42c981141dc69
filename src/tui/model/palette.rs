//! The palette: everything that can be done, opened or gone to, found by a few of its letters.

use kiln_protocol::RunId;
use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use unicode_segmentation::UnicodeSegmentation;

use crate::action::{Action, Context};
use crate::model::arrange;
use crate::model::detail::Tab;
use crate::model::input::Input;
use crate::model::list::List;
use crate::model::{Model, Screen};

/// What choosing an item does.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// An action of the screen that is open.
    Act(Action),
    /// An action of the list of runs, which is gone to first.
    InList(Action),
    /// An action of another place; it says where.
    Elsewhere(Action),
    Run(RunId),
    /// A preset, by name: opens the launcher on it.
    Preset(String),
    /// A saved view of the list, by name.
    View(String),
    /// A tab of the open run.
    Tab(Tab),
    /// A theme, by name.
    Theme(String),
}

/// One line of the palette.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub goal: Goal,
    pub name: String,
    /// More about it, searched as well, but only for whole words.
    pub about: String,
    /// The key that does the same, as text; empty where there is none.
    pub key: String,
}

impl Item {
    /// What kind of thing it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self.goal {
            Goal::Act(_) | Goal::InList(_) | Goal::Elsewhere(_) => "do",
            Goal::Run(_) => "run",
            Goal::Preset(_) => "preset",
            Goal::View(_) => "view",
            Goal::Tab(_) => "tab",
            Goal::Theme(_) => "theme",
        }
    }
}

/// An item that matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Among the items.
    pub item: usize,
    /// Graphemes of the name that were typed.
    pub marks: Vec<u32>,
}

/// The open palette. What there is, is gathered when it is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    query: Input,
    items: Vec<Item>,
    found: Vec<Found>,
    pub list: List,
}

/// How much a match of the name counts beside one of what is said about it.
const NAME: u32 = 4;

impl Palette {
    pub fn new(m: &Model) -> Palette {
        let mut palette =
            Palette { query: Input::default(), items: items(m), found: Vec::new(), list: List::default() };
        palette.search();
        palette
    }

    pub fn query(&self) -> &str {
        self.query.text()
    }

    /// The line that is typed.
    pub fn line(&self) -> &Input {
        &self.query
    }

    /// Edits what is typed, and searches anew where that has changed it.
    pub fn edit<T>(&mut self, change: impl FnOnce(&mut Input) -> T) -> T {
        let before = self.query.text().to_owned();
        let result = change(&mut self.query);
        if self.query.text() != before {
            self.search();
        }
        result
    }

    /// What matches, the best first.
    pub fn found(&self) -> impl ExactSizeIterator<Item = (&Item, &Found)> {
        self.found.iter().map(|found| (&self.items[found.item], found))
    }

    /// Items there are, whether they match or not.
    pub fn total(&self) -> usize {
        self.items.len()
    }

    pub fn selected(&self) -> Option<&Item> {
        self.found.get(self.list.selected).map(|found| &self.items[found.item])
    }

    fn search(&mut self) {
        self.list = List::default();
        if self.query().trim().is_empty() {
            self.found = (0..self.items.len()).map(|item| Found { item, marks: Vec::new() }).collect();
            return;
        }
        let mut matcher = Matcher::new(Config::DEFAULT);
        let (ignore, smart) = (CaseMatching::Ignore, Normalization::Smart);
        let fuzzy = Pattern::new(self.query(), ignore, smart, AtomKind::Fuzzy);
        let words = Pattern::new(self.query(), ignore, smart, AtomKind::Substring);
        let mut buffer = Vec::new();
        let mut scored: Vec<(u32, Found)> = Vec::new();
        for (item, of) in self.items.iter().enumerate() {
            let mut marks = Vec::new();
            let named = fuzzy.indices(Utf32Str::new(&of.name, &mut buffer), &mut matcher, &mut marks);
            // A long sentence has nearly every row of letters somewhere: there the words must stand as they were typed.
            let both = format!("{} {} {}", of.kind(), of.name, of.about);
            let told = words.score(Utf32Str::new(&both, &mut buffer), &mut matcher);
            if named.is_none() {
                marks.clear();
            }
            marks.sort_unstable();
            marks.dedup();
            if let Some(score) = named.map(|score| score * NAME).max(told) {
                // What works only elsewhere comes last.
                let score = if matches!(of.goal, Goal::Elsewhere(_)) { score / 8 } else { score };
                scored.push((score, Found { item, marks }));
            }
        }
        scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.item.cmp(&b.1.item)));
        self.found = scored.into_iter().map(|(_, found)| found).collect();
    }
}

/// A name cut into what was typed and what was not, in order.
pub fn marked<'a>(name: &'a str, marks: &[u32]) -> Vec<(bool, &'a str)> {
    let mut parts: Vec<(bool, &str)> = Vec::new();
    let mut start = 0;
    for (n, (at, grapheme)) in name.grapheme_indices(true).enumerate() {
        let hit = marks.binary_search(&(n as u32)).is_ok();
        match parts.last_mut() {
            Some((before, part)) if *before == hit => *part = &name[start..at + grapheme.len()],
            _ => {
                start = at;
                parts.push((hit, grapheme));
            }
        }
    }
    parts
}

/// Actions that are nothing without a place to do them in: moving about, and the keys of boxes and of what is typed.
fn is_keystroke(action: Action) -> bool {
    let boxed = [
        Context::Confirm,
        Context::Help,
        Context::Palette,
        Context::Views,
        Context::Columns,
        Context::Picker,
        Context::Tour,
    ];
    let of_box = action.contexts().iter().all(|c| boxed.contains(c));
    of_box || action.contexts().contains(&Context::Lists) || matches!(action, Action::GoTab | Action::Palette)
}

/// `run.pause` as `run: pause`.
fn name_of(action: Action) -> String {
    action.id().replacen('.', ": ", 1).replace('-', " ")
}

/// Everything, in the order in which it is shown before anything is typed.
fn items(m: &Model) -> Vec<Item> {
    let contexts = m.screen_contexts();
    let mut here = Vec::new();
    let (mut in_list, mut elsewhere) = (Vec::new(), Vec::new());
    for action in Action::ALL.iter().copied().filter(|a| !is_keystroke(*a)) {
        let about = action.help().to_owned();
        let item = |goal, about| Item { goal, name: name_of(action), about, key: m.keymap.first_key(action) };
        if action.contexts().iter().any(|c| contexts.contains(c)) {
            // The keys of a special place may hide an action's own; doing it from here works all the same.
            here.push(item(Goal::Act(action), about));
        } else if action.contexts().contains(&Context::Runs) {
            in_list.push(item(Goal::InList(action), about));
        } else {
            elsewhere.push(Item { key: String::new(), ..item(Goal::Elsewhere(action), about) });
        }
    }
    let open = m.detail.as_ref().filter(|_| m.screen == Screen::Detail);
    let tabs = open.map(|d| d.tabs().into_iter().zip(d.titles()).collect::<Vec<_>>()).unwrap_or_default();
    let tabs = tabs.into_iter().map(|(tab, name)| Item {
        name,
        about: "a tab of this run".into(),
        key: String::new(),
        goal: Goal::Tab(tab),
    });
    let views = m.saved.iter().map(|view| Item {
        goal: Goal::View(view.name.clone()),
        name: view.name.clone(),
        about: view.words(),
        key: String::new(),
    });
    let mut runs: Vec<_> = m.runs.all().iter().collect();
    runs.sort_by(|a, b| b.created.total_cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    let runs = runs.into_iter().map(|run| {
        let about = [run.state.as_str(), &arrange::tags(run), &run.title, &run.note];
        let about = about.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ");
        Item { goal: Goal::Run(run.id.clone()), name: run.id.0.clone(), about, key: String::new() }
    });
    let presets = m.launcher.presets.iter().map(|preset| Item {
        goal: Goal::Preset(preset.name.clone()),
        name: preset.name.clone(),
        about: preset.title.clone(),
        key: String::new(),
    });
    let themes = m.themes.iter().map(|name| Item {
        goal: Goal::Theme(name.clone()),
        name: name.clone(),
        about: "colours of the workbench".into(),
        key: String::new(),
    });
    here.into_iter()
        .chain(tabs)
        .chain(in_list)
        .chain(views)
        .chain(runs)
        .chain(presets)
        .chain(themes)
        .chain(elsewhere)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use ratatui::layout::Size;

    const SIZE: Size = Size { width: 80, height: 24 };

    fn names(palette: &Palette) -> Vec<String> {
        palette.found().map(|(item, _)| format!("{} {}", item.kind(), item.name)).collect()
    }

    fn typed(m: &Model, query: &str) -> Palette {
        let mut palette = Palette::new(m);
        palette.edit(|q| q.insert(query));
        palette
    }

    #[test]
    fn it_holds_every_action_run_preset_and_view() {
        let m = fixture::model(SIZE);
        let all = names(&Palette::new(&m));
        for action in Action::ALL.iter().filter(|a| !is_keystroke(**a)) {
            assert!(all.contains(&format!("do {}", name_of(*action))), "{action:?}");
        }
        assert!(fixture::summaries().iter().all(|r| all.contains(&format!("run {}", r.id))));
        assert!(all.contains(&"preset train-digits".into()) && all.contains(&"view failed of late".into()));
        let opened = Palette::new(&fixture::opened(SIZE));
        assert!(names(&opened).contains(&"tab 2 Clusters".into()), "{:?}", names(&opened));
    }

    #[test]
    fn a_few_letters_find_the_thing_and_say_which_they_were() {
        let m = fixture::model(SIZE);
        assert_eq!(names(&typed(&m, "k3f7"))[0], "run dc-nas-digits-k3f7");
        assert_eq!(names(&typed(&m, "0d3"))[0], "run dc-nas-digits-0d3e");
        assert_eq!(names(&typed(&m, "paus"))[0], "do run: pause");
        assert_eq!(names(&typed(&m, "preset fash"))[0], "preset dc-nas-fashion");
        assert_eq!(names(&typed(&m, "section 4"))[0], "run dc-nas-digits-0d3e", "by its note");
        assert_eq!(typed(&m, "zqxj").found().len(), 0);
        let palette = typed(&m, "größe");
        let (item, found) = palette.found().next().unwrap();
        let parts = marked(&item.name, &found.marks);
        assert_eq!(parts.concat_all(), item.name);
        assert!(parts.contains(&(true, "größe")), "{parts:?}");
        assert_eq!(marked("abc", &[]), [(false, "abc")]);
    }

    trait Concat {
        fn concat_all(&self) -> String;
    }

    impl Concat for Vec<(bool, &str)> {
        fn concat_all(&self) -> String {
            self.iter().map(|p| p.1).collect()
        }
    }

    #[test]
    fn what_works_only_elsewhere_comes_after_what_works_here() {
        let m = fixture::model(SIZE);
        let palette = typed(&m, "open");
        let goals: Vec<bool> = palette.found().map(|(item, _)| matches!(item.goal, Goal::Elsewhere(_))).collect();
        assert!(goals.iter().any(|e| *e) && goals.is_sorted(), "{:?}", names(&palette));
    }
}
