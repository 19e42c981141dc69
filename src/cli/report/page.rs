//! The pieces of a page.

use kiln_protocol::RunState;
use kiln_protocol::run::Table;

use crate::draw::svg::{escape, style_sheet};
use crate::draw::{DARK, LIGHT};

/// Nothing from outside can be loaded, whatever a run's texts say.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

const STYLE: &str = "
body { background: var(--paper); color: var(--text); font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 66em; padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.3em; margin-top: 2em; border-bottom: 1px solid var(--grid); } h3 { font-size: 1em; margin: 1.4em 0 .3em; }
h1, h2, td, pre { overflow-wrap: anywhere; }
.dim, figcaption { color: var(--dim); } .verdict { font-size: 1.1em; }
.state { font-size: .65em; font-weight: normal; border: 1px solid var(--dim); border-radius: 1em; padding: .1em .7em; vertical-align: middle; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .3em 0 1em; }
th, td { text-align: left; vertical-align: top; padding: .2em .9em .2em 0; border-bottom: 1px solid var(--grid); }
th { color: var(--dim); font-weight: normal; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(26em, 1fr)); gap: 0 1.5em; } .grid figure { margin: .4em 0; }
figure { margin: 1em 0; } svg { max-width: 100%; height: auto; } pre { font-size: 13px; line-height: 1.4; white-space: pre-wrap; }
details { margin: .8em 0; } summary { cursor: pointer; font-weight: bold; }
@media print { details:not([open]) { display: none; } }
";

/// A page with its style; it follows the reader's choice of light or dark.
pub fn whole(title: &str, body: &str) -> String {
    let (light, dark) = (style_sheet(&LIGHT), style_sheet(&DARK));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n\
         :root {{ color-scheme: light dark; {light} }}\n\
         @media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// `extra` is HTML behind the text.
pub fn heading(level: u8, text: &str, extra: &str) -> String {
    format!("<h{level}>{}{extra}</h{level}>\n", escape(text))
}

/// Nothing for an empty text.
pub fn paragraph(text: &str, class: &str) -> String {
    match (text, class) {
        ("", _) => String::new(),
        (text, "") => format!("<p>{}</p>\n", escape(text)),
        (text, class) => format!("<p class=\"{class}\">{}</p>\n", escape(text)),
    }
}

pub fn state(state: RunState) -> String {
    format!(" <span class=\"state\">{}</span>", escape(state.as_str()))
}

/// What can be folded away; `inner` is HTML.
pub fn details(title: &str, inner: &str, open: bool) -> String {
    let open = if open { " open" } else { "" };
    format!("<details{open}><summary>{}</summary>\n{inner}</details>\n", escape(title))
}

/// Drawings side by side, where the window is wide enough; `inner` is HTML.
pub fn grid(inner: &str) -> String {
    format!("<div class=\"grid\">\n{inner}</div>\n")
}

/// A drawing with a caption.
pub fn figure(svg: &str, caption: &str) -> String {
    let caption =
        if caption.is_empty() { String::new() } else { format!("<figcaption>{}</figcaption>", escape(caption)) };
    format!("<figure>{svg}{caption}</figure>\n")
}

/// Names and values.
pub fn facts(rows: &[(String, String)]) -> String {
    let row =
        |(what, value): &(String, String)| format!("<tr><th>{}</th><td>{}</td></tr>\n", escape(what), escape(value));
    format!("<table>\n{}</table>\n", rows.iter().map(row).collect::<String>())
}

/// A table with its title, at most so many rows of it; columns of figures are set to the right.
pub fn table(table: &Table, most: usize) -> String {
    let figures: Vec<bool> = (0..table.columns.len())
        .map(|c| {
            let mut cells =
                table.rows.iter().filter_map(|row| row.get(c)).filter(|c| !c.is_empty() && *c != "-").peekable();
            cells.peek().is_some() && cells.all(|cell| is_figure(cell))
        })
        .collect();
    let class = |c: usize| if figures.get(c) == Some(&true) { " class=\"n\"" } else { "" };
    let cells = |row: &[String], tag: &str| {
        let cells = row.iter().enumerate().map(|(c, text)| format!("<{tag}{}>{}</{tag}>", class(c), escape(text)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let mut out = if table.title.is_empty() { String::new() } else { heading(3, &table.title, "") };
    out += "<div class=\"wide\"><table>\n";
    out += &cells(&table.columns, "th");
    out.extend(table.rows.iter().take(most).map(|row| cells(row, "td")));
    out += "</table></div>\n";
    if table.rows.len() > most {
        out += &paragraph(&format!("The first {most} of {} rows.", table.rows.len()), "dim");
    }
    out
}

/// Whether a cell is a number, perhaps with units and deviations, as `1 min 05 s` and `0.95 ± 0.01` are.
fn is_figure(cell: &str) -> bool {
    let number = |word: &str| {
        let word = word.trim_matches(['(', ')', ',', '%']);
        word.trim_start_matches(['-', '+', '±']).is_empty() || word.replace(',', "").parse::<f64>().is_ok()
    };
    let unit = |word: &str| word.len() <= 4 && word.chars().all(|c| c.is_ascii_alphabetic());
    let mut words = cell.split_whitespace();
    words.next().is_some_and(number) && words.all(|word| number(word) || unit(word))
}

/// `2026-01-01 00:00 UTC`
pub fn utc(t: f64) -> String {
    let seconds = if t.is_finite() { t as i64 } else { 0 };
    let (days, minutes) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) / 60);
    // Civil date from days since 1970, by Howard Hinnant: years begin in March, so that the leap day is their last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (t, said) in [
            (0.0, "1970-01-01 00:00 UTC"),
            (951_782_399.0, "2000-02-28 23:59 UTC"),
            (951_782_400.0, "2000-02-29 00:00 UTC"),
            (1_709_251_200.5, "2024-03-01 00:00 UTC"),
            (1_767_225_599.0, "2025-12-31 23:59 UTC"),
            (-1.0, "1969-12-31 23:59 UTC"),
        ] {
            assert_eq!(utc(t), said);
        }
    }

    #[test]
    fn figures_are_told_from_words_that_begin_with_a_digit() {
        for figure in
            ["0.95", "-1.5e-05", "103,680", "1 min 05 s", "0.95 ± 0.01", "+3 kB", "649,216 (94.6 %)", "0.5 of 11"]
        {
            assert!(is_figure(figure), "{figure}");
        }
        for words in ["4 fast-3-64", "8x8 digits", "a", "", "2 networks found"] {
            assert!(!is_figure(words), "{words}");
        }
    }

    #[test]
    fn figures_stand_to_the_right_and_long_tables_end() {
        let rows = (0..5).map(|i| vec![format!("a{i}"), i.to_string(), "-".into()]).collect();
        let long = Table { title: "T".into(), columns: vec!["x".into(), "y".into(), "z".into()], rows };
        let html = table(&long, 3);
        assert!(html.contains("<th>x</th><th class=\"n\">y</th><th>z</th>"), "{html}");
        assert!(html.contains("The first 3 of 5 rows.") && !html.contains("a3"), "{html}");
        assert_eq!(paragraph("", "dim"), "");
    }
}
