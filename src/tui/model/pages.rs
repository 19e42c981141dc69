//! Outcome, tables and settings as lines of text: what each part is for, not what it looks like.

use kiln_protocol::run::Table;
use kiln_protocol::{Level, Outcome};

use crate::action::{Action, Context};
use crate::glyphs::Glyphs;
use crate::keymap::Keymap;
use crate::model::{Link, Model};
use crate::text;
use crate::theme::Role;

/// A line of a page: parts with roles.
pub type Line = Vec<(Role, String)>;

/// Widest a column of a table may be before its cells are clipped; the last column takes what is left.
const WIDEST: usize = 40;

/// Narrowest that a column becomes where there is no room: less tells nothing.
const LEAST: usize = 6;

/// Longest word that is not broken for want of room.
const WORD: usize = 16;

/// The outcome of a run, for a page `width` cells wide: verdict, tables (see [`table`] for `left`), and last the figures that
/// machines read.
pub fn outcome(outcome: &Outcome, width: usize, left: usize, glyphs: &Glyphs) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in text::wrap(&outcome.verdict, width) {
        lines.push(vec![(Role::Figure, line)]);
    }
    for table in &outcome.tables {
        lines.push(Line::new());
        lines.extend(self::table(table, width, left, glyphs));
    }
    if !outcome.figures.is_empty() {
        lines.push(Line::new());
        let title = text::wrap("Figures, as --json names them", width.max(1));
        lines.extend(title.into_iter().map(|line| vec![(Role::Title, line)]));
        let names = outcome.figures.keys().map(|k| text::width(k)).max().unwrap_or(0).min(WIDEST);
        // As many figures side by side as fit: name, two blanks, ten cells of number, four blanks.
        let across = (width / (names + 16)).clamp(1, 4);
        let rows = outcome.figures.len().div_ceil(across);
        let all: Vec<_> = outcome.figures.iter().collect();
        for row in 0..rows {
            let mut line = Line::new();
            for (name, value) in (0..across).filter_map(|c| all.get(c * rows + row)) {
                let value = value.map_or(glyphs.none.to_owned(), text::number);
                line.push((Role::Dim, text::left(name, names, glyphs.ellipsis)));
                line.push((Role::Text, format!("  {}    ", text::right(&value, 10, glyphs.ellipsis))));
            }
            lines.push(line);
        }
    }
    lines
}

/// How the columns of a table stand in a page: cells of each, and whether it is one of numbers.
struct Shape {
    columns: Vec<(usize, bool)>,
    /// They do not all fit, however narrow: the first one stays, the others go by.
    wide: bool,
}

/// Widest a column is where columns go by: one alone must not fill the page.
const PASSING: usize = 28;

fn cell(row: &[String], c: usize) -> String {
    row.get(c).cloned().unwrap_or_default()
}

impl Shape {
    fn new(table: &Table, width: usize, glyphs: &Glyphs) -> Shape {
        let n = table.rows.iter().map(Vec::len).chain([table.columns.len()]).max().unwrap_or(0);
        let cells = |c: usize| table.rows.iter().map(move |r| cell(r, c)).filter(|t| !t.is_empty());
        let numeric = |c: usize| cells(c).next().is_some() && cells(c).all(|t| is_number(&t, glyphs.none));
        let longest = |c: usize| cells(c).map(|t| text::width(&t)).max().unwrap_or(0);
        let head = |c: usize| text::width(&cell(&table.columns, c));
        let mut columns: Vec<(usize, bool)> =
            (0..n).map(|c| (longest(c).max(head(c)).min(WIDEST), numeric(c))).collect();
        let used = |columns: &[(usize, bool)]| columns.iter().map(|s| s.0 + 2).sum::<usize>().saturating_sub(2);
        if used(&columns) <= width {
            return Shape { columns, wide: false };
        }
        let word = |c: usize| {
            let cells = table.rows.iter().map(|r| cell(r, c)).chain([cell(&table.columns, c)]);
            cells.flat_map(|t| t.split_whitespace().map(text::width).collect::<Vec<_>>()).max().unwrap_or(0)
        };
        let words: Vec<usize> = (0..n).map(word).collect();
        // Cells are wrapped at blanks. Half a number is another number, and half a word hardly one.
        let least = |c: usize| if columns[c].1 { longest(c).max(words[c].min(WORD)) } else { words[c].min(WORD) };
        let least: Vec<(usize, bool)> = (0..n).map(|c| (least(c).min(columns[c].0), columns[c].1)).collect();
        if n > 2 && used(&least) > width {
            // As many figures side by side as there is room for; names of columns are wrapped.
            let passing = |(c, s): (usize, &(usize, bool))| match (c, s.1) {
                (0, _) => (s.0.min((width / 3).max(LEAST)), s.1),
                (_, true) => least[c],
                (_, false) => (s.0.min(PASSING), false),
            };
            let passing = columns.iter().enumerate().map(passing);
            return Shape { columns: passing.collect(), wide: true };
        }
        // The widest columns of words give way first.
        let mut excess = used(&columns) - width;
        while excess > 0 {
            let shrinks = |least: &dyn Fn(usize) -> usize| {
                let wide = columns.iter().enumerate().filter(|(c, s)| s.0 > least(*c).max(LEAST));
                wide.max_by_key(|(_, s)| (!s.1, s.0)).map(|(c, _)| c)
            };
            let Some(widest) = shrinks(&|c| words[c]).or_else(|| shrinks(&|c| least[c].0)) else { break };
            columns[widest].0 -= 1;
            excess -= 1;
        }
        Shape { columns, wide: false }
    }

    /// How many columns, the first one aside, fit beside it from one of them on.
    fn shown(&self, left: usize, width: usize) -> usize {
        let first = self.columns.first().map_or(0, |c| c.0);
        let ends = self.columns.iter().skip(1 + left).scan(first, |end, column| {
            *end += 2 + column.0;
            Some(*end)
        });
        ends.take_while(|end| *end <= width).count().max(1)
    }

    /// The first column that the last one is in view with.
    fn most_left(&self, width: usize) -> usize {
        let others = self.columns.len().saturating_sub(1);
        if !self.wide {
            return 0;
        }
        (0..others).find(|left| left + self.shown(*left, width) >= others).unwrap_or(0)
    }
}

/// How far the columns of a table that is wider than its page can go by; 0 for one that fits.
pub fn most_left(table: &Table, width: usize, glyphs: &Glyphs) -> usize {
    Shape::new(table, width, glyphs).most_left(width)
}

/// A table with its title and heading; numbers to the right, words to the left. Of one that is wider than the page `left`
/// columns after the first one are out of view, and a line says so.
pub fn table(table: &Table, width: usize, left: usize, glyphs: &Glyphs) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    if width == 0 {
        return lines;
    }
    if !table.title.is_empty() {
        lines.extend(text::wrap(&table.title, width).into_iter().map(|l| vec![(Role::Title, l)]));
    }
    let shape = Shape::new(table, width, glyphs);
    let left = left.min(shape.most_left(width));
    let mut chosen: Vec<usize> = (0..shape.columns.len()).collect();
    if shape.wide {
        let shown = shape.shown(left, width);
        chosen = std::iter::once(0).chain(1 + left..1 + left + shown).collect();
        lines.push(passing(left, shown, shape.columns.len() - 1, width, glyphs));
    }
    let row = |cells: &[String], role: Role| -> Vec<Line> {
        let wrapped = |c: &usize| match (cell(cells, *c), shape.columns[*c]) {
            // Half a number is another number.
            (content, (_, true)) if is_number(&content, glyphs.none) => vec![content],
            (content, (wide, _)) => text::wrap(&content, wide.max(1)),
        };
        let wrapped: Vec<Vec<String>> = chosen.iter().map(wrapped).collect();
        let tall = wrapped.iter().map(Vec::len).max().unwrap_or(1);
        let mut lines = vec![Line::new(); tall];
        for (n, line) in lines.iter_mut().enumerate() {
            let mut left = width;
            for (parts, (cells_wide, numeric)) in wrapped.iter().zip(chosen.iter().map(|c| shape.columns[*c])) {
                let fit = cells_wide.min(left);
                let content = parts.get(n).map_or("", String::as_str);
                let text = if numeric {
                    text::right(content, fit, glyphs.ellipsis)
                } else {
                    text::left(content, fit, glyphs.ellipsis)
                };
                left = left.saturating_sub(fit + 2);
                line.push((role, if left > 0 { text + "  " } else { text }));
            }
        }
        lines
    };
    if table.columns.iter().any(|c| !c.is_empty()) {
        lines.extend(row(&table.columns, Role::Faint));
    }
    lines.extend(table.rows.iter().flat_map(|r| row(r, Role::Text)));
    lines
}

/// Which columns of a wide table are in view, and on which sides there are more.
fn passing(left: usize, shown: usize, of: usize, width: usize, glyphs: &Glyphs) -> Line {
    let before = if left > 0 { glyphs.back } else { " " };
    let after = if left + shown < of { glyphs.forward } else { " " };
    let (first, last) = (left + 1, (left + shown).min(of));
    let count =
        if first == last { format!("column {first} of {of}") } else { format!("columns {first}-{last} of {of}") };
    let room = width.saturating_sub(text::width(before) + text::width(after) + 2);
    let count = format!(" {} ", text::clip(&count, room, glyphs.ellipsis));
    let line = vec![(Role::Key, before.to_owned()), (Role::Faint, count), (Role::Key, after.to_owned())];
    if width < 6 { Line::new() } else { line }
}

/// Whether a cell reads as a number: signs, digits, separators, a unit sign at the end; or a dash for none.
fn is_number(cell: &str, none: &str) -> bool {
    let body = cell.trim().trim_start_matches(['+', '-', '−', '<', '>', '≈', ' ']);
    let body = body.trim_end_matches(['%', 'x', 's', 'm', 'h', 'M', 'G', 'K']);
    cell == none
        || cell == "–"
        || cell == "-"
        || (body.starts_with(|c: char| c.is_ascii_digit())
            && body.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | 'e' | '+' | '-' | '±' | ' ')))
}

/// The frozen settings, headings, keys, values and comments told apart; first those that were changed while the run went on.
pub fn settings(spec: &str, knobs: &[(String, String)]) -> Vec<Line> {
    let knob = |(key, value): &(String, String)| {
        vec![
            (Role::Dim, format!("{key:<22}")),
            (Role::Faint, " ".into()),
            (Role::Accent, value.clone()),
            (Role::Faint, "  changed while it ran".into()),
        ]
    };
    let gap = (!knobs.is_empty()).then(Vec::new);
    let frozen = spec.lines().map(|line| {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            vec![(Role::Accent, line.to_owned())]
        } else if trimmed.starts_with('#') {
            vec![(Role::Faint, line.to_owned())]
        } else if let Some((key, value)) = line.split_once(" = ") {
            vec![(Role::Dim, format!("{key:<22}")), (Role::Faint, " ".into()), (Role::Text, value.to_owned())]
        } else {
            vec![(Role::Text, line.to_owned())]
        }
    });
    knobs.iter().map(knob).chain(gap).chain(frozen).collect()
}

/// Why there is no engine, if so, and messages of late, the newest first, for a page `width` cells wide.
pub fn messages(m: &Model, width: usize, glyphs: &Glyphs) -> Vec<Line> {
    const TIME: usize = 8;
    let down = match &m.link {
        Link::Down { reason, since, .. } => Some((*since, Level::Warn, reason.clone())),
        _ => None,
    };
    let said = m.said.iter().rev().map(|s| (s.t, s.level, text::times(&s.text, s.count)));
    let mut lines: Vec<Line> = Vec::new();
    for (t, level, words) in down.into_iter().chain(said) {
        let (role, sign) = match level {
            Level::Debug => (Role::Faint, glyphs.separator),
            Level::Info => (Role::Info, glyphs.info),
            Level::Warn => (Role::Warn, glyphs.warning),
            Level::Error => (Role::Bad, glyphs.error),
        };
        for (i, part) in text::wrap(&words, width.saturating_sub(TIME + 2)).into_iter().enumerate() {
            let time = if i == 0 { text::age(m.now - t) } else { String::new() };
            let sign = if i == 0 { sign } else { " " };
            lines.push(vec![
                (Role::Faint, text::left(&time, TIME, glyphs.ellipsis)),
                (role, format!("{sign} ")),
                (Role::Text, part),
            ]);
        }
    }
    if lines.is_empty() {
        lines.push(vec![(Role::Dim, "No messages yet.".to_owned())]);
    }
    lines
}

/// All keys for a page `width` cells wide: first everything that they mean in the current contexts, then the rest.
pub fn help(width: usize, current: &[Context], keymap: &Keymap) -> Vec<Line> {
    // Half of a narrow screen; the words need the rest.
    let room = (width / 2).clamp(8, 22);
    let mut lines: Vec<Line> = Vec::new();
    let mut told: Vec<Action> = Vec::new();
    let others = Context::ALL.iter().filter(|c| !current.contains(c));
    for context in current.iter().chain(others) {
        let here = |a: &&Action| match current.contains(context) {
            true => a.contexts().contains(context) && !told.contains(a),
            false => a.contexts().first() == Some(context),
        };
        let actions: Vec<&Action> = Action::ALL.iter().filter(here).collect();
        told.extend(actions.iter().copied());
        if actions.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Line::new());
        }
        lines.push(vec![(Role::Accent, context.title().to_owned())]);
        for action in actions {
            let help = match keymap.condition(*action) {
                Some(when) => format!("{} (when {when})", action.help()),
                None => action.help().to_owned(),
            };
            let words = text::wrap(&help, width.saturating_sub(room + 1).max(12));
            // Many keys take lines of their own.
            let keys = text::wrap(&keymap.all_keys(*action), room - 4);
            for i in 0..keys.len().max(words.len()) {
                let part = |lines: &[String]| lines.get(i).cloned().unwrap_or_default();
                let keys = text::left(&format!("  {}", part(&keys)), room, "");
                lines.push(vec![(Role::Key, keys), (Role::Text, part(&words))]);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::glyphs::UNICODE;

    fn width_of(line: &Line) -> usize {
        line.iter().map(|p| text::width(&p.1)).sum()
    }

    #[test]
    fn help_begins_with_everything_the_current_page_understands() {
        let lines: Vec<String> = help(88, &[Context::Images, Context::Run, Context::Global], &Keymap::default())
            .iter()
            .filter_map(|l| Some(l.first()?.1.clone()))
            .collect();
        let first = lines.iter().take_while(|l| *l != Context::Run.title()).cloned().collect::<Vec<_>>().join("\n");
        assert!(first.starts_with("Pictures\n"), "{first}");
        for key in ["h, left", "j, down", "enter, z", "pgdn"] {
            assert!(first.contains(key), "{key} in {first}");
        }
    }

    #[test]
    fn an_outcome_says_first_what_people_read() {
        let outcome = fixture::outcome();
        let lines: Vec<String> = super::outcome(&outcome, 78, 0, &UNICODE)
            .iter()
            .map(|l| l.iter().map(|p| p.1.as_str()).collect())
            .collect();
        let at =
            |text: &str| lines.iter().position(|l| l.contains(text)).unwrap_or_else(|| panic!("{text}: {lines:#?}"));
        assert!(outcome.verdict.starts_with(&lines[0]));
        let figures = at("Figures");
        assert!(outcome.tables.iter().all(|t| at(&t.title) < figures));
        assert!(outcome.figures.keys().all(|name| lines[figures..].iter().any(|l| l.contains(name.as_str()))));
    }

    #[test]
    fn tables_fit_every_width_and_align_numbers_to_the_right() {
        let outcome = fixture::outcome();
        for width in 0..120 {
            for line in outcome.tables.iter().flat_map(|t| table(t, width, 0, &UNICODE)) {
                assert!(width_of(&line) <= width, "{width}: {line:?}");
            }
        }
        let table = table(&outcome.tables[0], 100, 0, &UNICODE);
        let ends: Vec<usize> = table[2..].iter().map(|l| text::width(l[1].1.trim_end())).collect();
        assert!(ends.windows(2).all(|w| w[0] == w[1]), "{table:?}");
    }

    #[test]
    fn a_wide_table_wraps_and_loses_nothing() {
        let strings = |cells: &[&str]| cells.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>();
        let wide = Table {
            title: "Networks".into(),
            columns: strings(&["arm", "network", "accuracy", "params", "yardstick (random)", "what was measured"]),
            rows: vec![
                strings(&[
                    "vital",
                    "k3e3-k3e3-skip-k5e6-k3e1",
                    "0.9812",
                    "649,216 (94.3 %)",
                    "0.97",
                    "on the test set",
                ]),
                strings(&["plain", "k7e6-k3e3", "0.9733", "12,000 (1.2 %)", "0.97", "on the test set, thrice"]),
            ],
        };
        for width in [64, 66, 78, 100] {
            let lines = table(&wide, width, 0, &UNICODE);
            let text: Vec<String> = lines.iter().map(|l| l.iter().map(|p| p.1.as_str()).collect()).collect();
            assert!(
                text.iter().all(|l| text::width(l) <= width && !l.contains(UNICODE.ellipsis)),
                "{width}: {text:#?}"
            );
            for word in ["649,216", "(94.3", "0.9812", "k3e3-k3e3-", "yardstick", "thrice"] {
                assert!(text.iter().any(|l| l.contains(word)), "{width}, {word}: {text:#?}");
            }
        }
    }

    #[test]
    fn a_table_wider_than_the_page_goes_by_with_its_first_column_in_place() {
        let names = |of: &str| (1..=9).map(|i| format!("{of}{i}")).collect::<Vec<_>>();
        let head = [vec!["figure".to_owned()], names("an arm ")].concat();
        let rows = ["accuracy", "loss"].map(|f| [vec![f.to_owned()], vec!["0.9812 ± 0.0031".to_owned(); 9]].concat());
        let wide = Table { title: "Arms: mean ± standard deviation".into(), columns: head, rows: rows.into() };
        let most = most_left(&wide, 78, &UNICODE);
        assert!(most > 0 && most_left(&wide, 300, &UNICODE) == 0);
        let mut seen = Vec::new();
        for left in 0..=most {
            let lines: Vec<String> = table(&wide, 78, left, &UNICODE)
                .iter()
                .map(|l| l.iter().map(|p| p.1.as_str()).collect::<String>())
                .collect();
            assert!(lines.iter().all(|l| text::width(l) <= 78), "{lines:#?}");
            assert!(lines[2].starts_with("figure") && lines[3].starts_with("accuracy"), "{lines:#?}");
            assert!(!lines[3].contains(UNICODE.ellipsis), "numbers are whole: {lines:#?}");
            assert_eq!((lines[1].starts_with('‹'), lines[1].ends_with('›')), (left > 0, left < most), "{lines:#?}");
            seen.extend((1..=9).filter(|i| lines[2].contains(&format!("an arm {i}"))));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (1..=9).collect::<Vec<_>>(), "every column can be reached");
        for width in 0..60 {
            for left in [0, 3, 99] {
                assert!(table(&wide, width, left, &UNICODE).iter().all(|l| width_of(l) <= width), "{width} {left}");
            }
        }
    }

    #[test]
    fn a_missing_figure_is_shown_as_such() {
        let mut found = Outcome { verdict: "It held.".into(), ..Outcome::default() };
        found.figures.insert("tau".into(), None);
        let lines = outcome(&found, 60, 0, &UNICODE);
        assert_eq!(lines[0], [(Role::Figure, "It held.".into())]);
        assert!(lines[3][1].1.trim() == "–");
    }

    #[test]
    fn numbers_are_recognised() {
        for yes in ["0.387", "-1.5", "1,632", "0.205 ± 0.031", "12 %", "1e-05", "–", "< 0.01", "2.3x", "40s"] {
            assert!(is_number(yes, "–"), "{yes}");
        }
        for no in ["fast-3-64", "cluster 1", "", "e", "yes"] {
            assert!(!is_number(no, "–"), "{no}");
        }
    }

    #[test]
    fn settings_keep_every_line() {
        let spec = "# what\nseed = 1\n\n[data]\nset = \"digits\"\n";
        let changed = settings(spec, &[("optim.lr".into(), "0.01".into())]);
        assert!(changed[0][2].1 == "0.01" && changed[1].is_empty() && changed[2..] == settings(spec, &[]));
        let lines = settings(spec, &[]);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[3], [(Role::Accent, "[data]".into())]);
        assert_eq!(lines[4][2].1, "\"digits\"");
    }
}
