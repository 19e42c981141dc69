//! Tables and texts for people.

use kiln_protocol::RunState;
pub use kiln_protocol::figures::{bytes, bytes_of, count, duration, number, percent, roughly, with_unit};
use kiln_protocol::run::Table;

/// A state with its colour, where there are colours. The word alone says it all.
pub fn state(state: RunState, colour: bool) -> String {
    if !colour {
        return state.to_string();
    }
    let code = match state {
        RunState::Running | RunState::Starting => "32",
        RunState::Completed => "36",
        RunState::Failed => "31",
        RunState::Paused | RunState::Stopping | RunState::Stopped => "33",
        RunState::Queued => "2",
    };
    format!("\x1b[{code}m{state}\x1b[0m")
}

/// Characters that a text takes on the screen: escape sequences take none.
fn width(text: &str) -> usize {
    let mut n = 0;
    let mut escaped = false;
    for c in text.chars() {
        match (escaped, c) {
            (false, '\x1b') => escaped = true,
            (true, 'm') => escaped = false,
            (false, _) => n += 1,
            _ => {}
        }
    }
    n
}

/// Columns side by side, two spaces apart. Columns of figures are set to the right.
pub fn columns(heads: &[&str], rows: &[Vec<String>]) -> String {
    let heads: Vec<String> = heads.iter().map(|h| (*h).to_owned()).collect();
    let cells = |i: usize| rows.iter().filter_map(move |row| row.get(i));
    let widths: Vec<usize> =
        (0..heads.len()).map(|i| cells(i).map(|c| width(c)).chain([width(&heads[i])]).max().unwrap_or(0)).collect();
    let figures: Vec<bool> = (0..heads.len())
        .map(|i| {
            let mut any = false;
            cells(i).all(|c| {
                any |= c.starts_with(|ch: char| ch.is_ascii_digit());
                c.is_empty() || c == "-" || c.starts_with(|ch: char| ch.is_ascii_digit() || ch == '-' || ch == '+')
            }) && any
        })
        .collect();
    let line = |row: &Vec<String>| {
        let mut out = String::new();
        for (i, cell) in row.iter().enumerate().take(heads.len()) {
            let pad = " ".repeat(widths[i].saturating_sub(width(cell)));
            out += &if figures[i] { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        out.trim_end().to_owned()
    };
    std::iter::once(&heads).chain(rows).map(line).collect::<Vec<_>>().join("\n")
}

/// `1 job`, `2 jobs`.
pub fn counted(n: usize, what: &str) -> String {
    format!("{} {what}{}", count(n as f64), if n == 1 { "" } else { "s" })
}

/// A table of an outcome.
pub fn table(table: &Table) -> String {
    let heads: Vec<&str> = table.columns.iter().map(String::as_str).collect();
    let body = columns(&heads, &table.rows);
    if table.title.is_empty() { body } else { format!("{}\n{}", table.title, indent(&body)) }
}

/// Every line two spaces in.
pub fn indent(text: &str) -> String {
    text.lines().map(|l| if l.is_empty() { String::new() } else { format!("  {l}") }).collect::<Vec<_>>().join("\n")
}

/// `text` after `prefix`, wrapped to `width` columns with the further lines below its beginning.
pub fn hang(prefix: &str, text: &str, width: usize) -> String {
    let room = width.saturating_sub(prefix.chars().count()).max(20);
    let gap = " ".repeat(prefix.chars().count());
    let body = wrap(text, room);
    body.lines()
        .enumerate()
        .map(|(i, l)| format!("{}{l}", if i == 0 { prefix } else { &gap }))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Text broken at spaces into lines of at most `width` characters; empty lines stay.
pub fn wrap(text: &str, width: usize) -> String {
    let mut out: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                out.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        out.push(line);
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colours() {
        let rows = vec![vec!["a".into(), "1.5".into()], vec!["\x1b[32mlonger\x1b[0m".into(), "12".into()]];
        assert_eq!(columns(&["name", "x"], &rows), "name      x\na       1.5\n\x1b[32mlonger\x1b[0m   12");
    }

    #[test]
    fn text_is_wrapped_at_spaces() {
        assert_eq!(hang("  - ", "one two three four five six", 24), "  - one two three four\n    five six");
        assert_eq!(wrap("one two three\n\nfour", 8), "one two\nthree\n\nfour");
    }
}
