//! What a key copies: the value that the cursor is on, the id of a run, the path of its folder.

use kiln_protocol::{RunId, View};

use crate::model::detail::{Detail, Tab};
use crate::model::figure::{self, Pane};
use crate::model::{Model, Screen};
use crate::text;

/// What the cursor is on, as text; else the id of the run that is meant. `None` where there is nothing to copy.
pub fn value(m: &Model) -> Option<String> {
    let here = match m.screen {
        Screen::Launcher => return of_launcher(m),
        Screen::Detail => m.detail.as_ref().and_then(|d| of_run(m, d)),
        _ => None,
    };
    here.filter(|t| !t.is_empty()).or_else(|| m.target().map(|id| id.0))
}

/// The folder of the run that is meant, on the engine's host. `None` where the engine has not told it yet.
pub fn path(m: &Model) -> Option<String> {
    let id = m.target()?;
    let open = m.detail.as_ref().filter(|d| d.id == id && !d.folder.is_empty());
    open.map(|d| d.folder.clone()).or_else(|| Some(format!("{}/runs/{}", m.home.as_ref()?, below(&id))))
}

/// A run's folder below that of all runs.
fn below(id: &RunId) -> String {
    match id.parent() {
        Some((parent, n)) => format!("{parent}/jobs/{n}"),
        None => id.0.clone(),
    }
}

fn of_launcher(m: &Model) -> Option<String> {
    let preset = m.launcher.selected()?;
    match &m.launcher.form {
        Some(form) => {
            let setting = form.settings.get(form.list.selected)?;
            let changed = m.launcher.changes.get(&preset.name, &setting.field.key);
            Some(format!("{}={}", setting.field.key, changed.unwrap_or(&setting.value)))
        }
        None => Some(preset.name.clone()),
    }
}

fn of_run(m: &Model, detail: &Detail) -> Option<String> {
    match &detail.tab {
        Tab::Curves => at_cursor(detail),
        Tab::Jobs => m.runs.jobs(&detail.id).get(detail.jobs.selected).map(|job| job.id.0.clone()),
        Tab::View(_) if detail.inspect.is_some() => detail.inspect.as_ref().map(|page| page.label.clone()),
        Tab::View(name) => of_view(detail.view(name)?, detail.panes.get(name)?),
        Tab::Log => {
            let shown = detail.log.shown();
            let found = detail.log.found.and_then(|seq| shown.iter().find(|l| l.seq == seq));
            found.or(shown.last()).map(|l| l.text.clone())
        }
        Tab::Settings => Some(detail.spec.clone()),
        Tab::Outcome => detail.outcome.as_ref().map(|o| o.verdict.clone()),
    }
}

/// The values of the focused chart's series where the cursor is, a line each; without a cursor, the newest ones.
fn at_cursor(detail: &Detail) -> Option<String> {
    let curves = &detail.curves;
    let panel = curves.focused()?;
    let cursor = curves.cursor_in(panel);
    let line = |index: &usize| {
        let info = curves.series.get(*index)?;
        let [x, y] = match cursor {
            Some(x) => curves.track(&info.name)?.nearest(x)?,
            None => curves.track(&info.name)?.last()?,
        };
        Some(format!("{}\t{}\t{}", info.name, text::number(x), y))
    };
    let lines: Vec<String> = panel.series.iter().filter_map(|(index, _)| line(index)).collect();
    Some(lines.join("\n"))
}

fn of_view(view: &View, pane: &Pane) -> Option<String> {
    match view {
        View::Matrix(matrix) => {
            let (row, column) = pane.cell;
            let label = |all: &[String], i: usize| all.get(i).cloned().unwrap_or_else(|| i.to_string());
            let value = matrix.values.get(row)?.get(column)?.as_ref()?;
            Some(format!("{}\t{}\t{value}", label(&matrix.row_labels, row), label(&matrix.column_labels, column)))
        }
        View::Table(table) => {
            let rows = std::iter::once(&table.columns).chain(&table.rows);
            Some(rows.map(|row| row.join("\t")).collect::<Vec<_>>().join("\n"))
        }
        View::BlockImportance(map) => map.blocks.get(pane.list.selected).map(|b| b.name.clone()),
        View::Layers(layers) => layers.rows.get(pane.list.selected).map(|r| r.name.clone()),
        View::Histogram(histograms) => histograms.panels.get(pane.list.selected).map(|p| p.name.clone()),
        View::Images(images) => images.pictures.get(pane.list.selected).map(|p| p.label.clone()),
        _ => figure::under_cursor(view, pane).map(|(_, label)| label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use ratatui::layout::Size;

    const SIZE: Size = Size { width: 80, height: 24 };

    #[test]
    fn a_list_gives_the_id_and_the_path_of_what_is_selected() {
        let mut m = fixture::model(SIZE);
        let id = m.runs.selected.clone().unwrap();
        assert_eq!(value(&m), Some(id.0.clone()));
        assert_eq!(path(&m), None, "the engine has not said where its home is");
        m.home = Some("/data/kiln".into());
        assert_eq!(path(&m), Some(format!("/data/kiln/runs/{id}")));
        assert_eq!(below(&id.job(3)), format!("{id}/jobs/3"));
        fixture::keys(&mut m, "n");
        assert_eq!(value(&m), m.launcher.selected().map(|p| p.name.clone()));
    }

    #[test]
    fn every_tab_gives_what_its_cursor_is_on() {
        let mut m = fixture::opened(SIZE);
        let id = m.target().unwrap().0;
        assert!(path(&m).is_some_and(|p| p.ends_with(&id)));
        fixture::keys(&mut m, "1 l h");
        let read = value(&m).unwrap();
        let parts: Vec<&str> = read.lines().next().unwrap().split('\t').collect();
        assert!(parts.len() == 3 && parts[2].parse::<f64>().is_ok(), "{read}");
        let mut seen = std::collections::BTreeSet::new();
        for tab in ["2", "3", "4", "5", "6", "7", "8"] {
            fixture::keys(&mut m, tab);
            let text = value(&m).unwrap();
            assert!(!text.is_empty(), "tab {tab}");
            seen.insert(text);
        }
        assert!(seen.len() >= 6, "each tab has something of its own: {seen:?}");
        fixture::keys(&mut m, "8");
        assert_eq!(value(&m), Some(fixture::spec()));
    }
}
