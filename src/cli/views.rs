//! Views of a run as text: tables of what is shown, drawings of histograms and pictures.

use kiln_protocol::View;
use kiln_protocol::home;
use kiln_protocol::run::Table;
use kiln_protocol::spec::problem::nearest;
use kiln_protocol::view::{
    BlockCell, BlockImportance, Candidates, Clusters, Column, Detections, Layers, Line, Lines, Matrix, Scatter,
};
use kiln_protocol::wire::RunDetail;
use kiln_tui::Colour;
use kiln_tui::glyphs::ASCII;
use kiln_tui::look::Look;
use kiln_tui::model::layers::{figure, heading};

use crate::failure::Failure;
use crate::{human, terminal};

/// The view of that name; case does not count, since tabs are written with a capital.
pub fn find<'a>(detail: &'a RunDetail, name: &str) -> Result<(&'a str, &'a View), Failure> {
    let found = detail.views.iter().find(|v| v.0 == name);
    let found = found.or_else(|| detail.views.iter().find(|v| v.0.eq_ignore_ascii_case(name)));
    found.map(|(name, view)| (name.as_str(), view)).ok_or_else(|| {
        let known = || detail.views.iter().map(|v| v.0.as_str());
        let hint = match (nearest(name, known()), known().next()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(_)) => format!("it has {}", known().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
            (None, None) => "it has none yet".into(),
        };
        Failure::Input(format!("{} has no view `{name}`; {hint}", detail.summary.id))
    })
}

/// A view as text.
pub fn text(detail: &RunDetail, name: &str, view: &View) -> String {
    if let View::Images(images) = view
        && !terminal::is_terminal()
    {
        return format!(
            "The {} pictures of `{name}` are drawn in a terminal only. `--json` has their pixels; files that the \
             method keeps are in {}/artifacts.",
            images.pictures.len(),
            detail.folder
        );
    }
    // Who reads points at a terminal wants to see how they lie; a pipe gets their numbers.
    if terminal::is_terminal() && points(view) > MOST_POINTS {
        let drawn = drawn(view).unwrap_or_default();
        return format!("{drawn}\n\nPipe this, or add `--json`, for the {} points in figures.", points(view));
    }
    let Some((table, note)) = table_of(name, view) else { return drawn(view).unwrap_or_default() };
    let table = human::table(&table);
    if note.is_empty() { table } else { format!("{table}\n\n{note}") }
}

/// Points that a table at a terminal has, at most; more are drawn.
const MOST_POINTS: usize = 40;

/// Points of a picture of points.
fn points(view: &View) -> usize {
    match view {
        View::Clusters(clusters) => clusters.points.len(),
        View::Scatter(scatter) => scatter.groups.iter().map(|g| g.points.len()).sum(),
        _ => 0,
    }
}

/// What a view shows as a table, and what is said under it; `None` for histograms and pictures.
pub fn table_of(name: &str, view: &View) -> Option<(Table, String)> {
    Some(match view {
        View::Histogram(_) | View::Images(_) => return None,
        View::Table(table) => (table.clone(), String::new()),
        View::Candidates(candidates) => (of_candidates(name, candidates), String::new()),
        View::Clusters(clusters) => (of_clusters(clusters), clusters.note.clone()),
        View::Scatter(scatter) => (of_scatter(scatter), scatter.note.clone()),
        View::Matrix(matrix) => (of_matrix(matrix), String::new()),
        View::Lines(lines) => (of_lines(lines), lines.note.clone()),
        View::BlockImportance(map) => (of_blocks(map), map.note.clone()),
        View::Layers(layers) => (of_layers(layers), layers.note.clone()),
        View::Detections(found) => (of_detections(found), found.note.clone()),
    })
}

fn of_detections(view: &Detections) -> Table {
    let class = |class: u32| view.classes.get(class as usize).cloned().unwrap_or_else(|| class.to_string());
    let rows = view.scenes.iter().enumerate().flat_map(|(i, scene)| {
        let label = if scene.picture.label.is_empty() { (i + 1).to_string() } else { scene.picture.label.clone() };
        let known = scene.truth.iter().map(|d| (d, "known"));
        scene.found.iter().map(|d| (d, "found")).chain(known).map(move |(d, how)| {
            let mut row = vec![label.clone(), how.to_owned(), class(d.class)];
            row.push(d.score.map_or_else(|| "-".into(), human::number));
            row.extend(d.place.map(|v| format!("{v:.0}")));
            row
        })
    });
    let columns = ["picture", "", "class", "score", "x", "y", "width", "height"].map(String::from).to_vec();
    Table { title: view.title.clone(), columns, rows: rows.collect() }
}

/// A drawing as wide as the terminal, in its colours.
fn drawn(view: &View) -> Option<String> {
    let colour = if terminal::colours() { Colour::Auto } else { Colour::None };
    let dirs: Vec<_> = home::themes_dir().into_iter().collect();
    let (look, _) = Look::of(None, &dirs, colour, None, |name| std::env::var(name).ok());
    kiln_tui::still(view, terminal::width().min(200) as u16, &look)
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { title: title.into(), columns: columns.iter().map(|c| (*c).to_owned()).collect(), rows }
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), human::number)
}

fn of_candidates(name: &str, view: &Candidates) -> Table {
    let figures = view.columns.iter().map(|c| c.name.as_str());
    let columns: Vec<&str> = ["id", "cluster"].into_iter().chain(figures).chain(["status", "architecture"]).collect();
    let rows = view.rows.iter().map(|row| {
        let figure = |(i, c): (usize, &Column)| match row.cells.get(i).copied().flatten() {
            Some(v) => format!("{v:.*}", usize::from(c.decimals)),
            None => "-".into(),
        };
        let cluster = row.cluster.map_or_else(|| "-".into(), |c| c.to_string());
        let winner = if row.winner { " *" } else { "" };
        let first = [row.id.to_string(), cluster + winner];
        let figures = view.columns.iter().enumerate().map(figure);
        first.into_iter().chain(figures).chain([row.status.clone(), row.arch.clone()]).collect()
    });
    table(name, &columns, rows.collect())
}

fn of_clusters(view: &Clusters) -> Table {
    let rows = view.points.iter().map(|p| {
        let cluster = p.cluster.map_or_else(|| "-".into(), |c| c.to_string());
        let winner = if p.winner { " *" } else { "" };
        vec![p.id.to_string(), cluster + winner, human::number(p.x), human::number(p.y), p.label.clone()]
    });
    table(&view.title, &["id", "cluster", &view.x_label, &view.y_label, "architecture"], rows.collect())
}

fn of_scatter(view: &Scatter) -> Table {
    let rows = view.groups.iter().flat_map(|group| {
        group.points.iter().enumerate().map(|(i, p)| {
            let label = group.labels.get(i).cloned().unwrap_or_default();
            vec![group.name.clone(), human::number(p[0]), human::number(p[1]), label]
        })
    });
    table(&view.title, &["group", &view.x_label, &view.y_label, ""], rows.collect())
}

fn of_matrix(view: &Matrix) -> Table {
    let columns = std::iter::once("").chain(view.column_labels.iter().map(String::as_str)).collect::<Vec<_>>();
    let rows = view.values.iter().enumerate().map(|(i, values)| {
        let label = view.row_labels.get(i).cloned().unwrap_or_default();
        std::iter::once(label).chain(values.iter().map(|v| or_dash(*v))).collect()
    });
    table(&view.title, &columns, rows.collect())
}

/// One row for each x that a line has a point at.
fn of_lines(view: &Lines) -> Table {
    let mut xs: Vec<f64> = view.lines.iter().flat_map(|l| l.points.iter().map(|p| p[0])).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let columns: Vec<&str> =
        std::iter::once(view.x_label.as_str()).chain(view.lines.iter().map(|l| l.name.as_str())).collect();
    let with_spread = |p: &[f64; 3]| match p[2] {
        spread if spread > 0.0 => format!("{} ± {}", human::number(p[1]), human::number(spread)),
        _ => human::number(p[1]),
    };
    let rows = xs.into_iter().map(|x| {
        let at = |l: &Line| l.points.iter().find(|p| p[0] == x).map_or_else(|| "-".into(), with_spread);
        std::iter::once(human::number(x)).chain(view.lines.iter().map(at)).collect()
    });
    table(&view.title, &columns, rows.collect())
}

fn of_blocks(view: &BlockImportance) -> Table {
    // What a method says of no block at all, it does not know of.
    let known = |f: &dyn Fn(&BlockCell) -> bool| view.blocks.iter().any(f);
    let shown = [
        ("block", true),
        ("vital", known(&|b| b.vital)),
        ("operation", known(&|b| b.chosen.is_some())),
        ("lesion drop", known(&|b| b.lesion.is_some())),
        ("weaken drop", known(&|b| b.weaken.is_some())),
        ("params", true),
        ("MACs", true),
    ];
    let rows = view.blocks.iter().map(|b| {
        let cells = [
            b.name.clone(),
            if b.vital { "yes" } else { "no" }.into(),
            b.chosen.clone().unwrap_or_else(|| "-".into()),
            or_dash(b.lesion),
            or_dash(b.weaken),
            b.params.to_string(),
            b.macs.to_string(),
        ];
        cells.into_iter().zip(shown).filter(|(_, column)| column.1).map(|(cell, _)| cell).collect()
    });
    let columns: Vec<&str> = shown.iter().filter(|column| column.1).map(|column| column.0).collect();
    table(&view.title, &columns, rows.collect())
}

fn of_layers(view: &Layers) -> Table {
    let columns: Vec<String> = std::iter::once("layer".to_owned()).chain(view.columns.iter().map(heading)).collect();
    let rows = view.rows.iter().map(|row| {
        let figures = view.columns.iter().enumerate();
        let figures = figures.map(|(i, c)| figure(c, row.cells.get(i).copied().flatten(), &ASCII));
        std::iter::once(row.name.clone()).chain(figures).collect()
    });
    Table { title: view.title.clone(), columns, rows: rows.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::view::{Candidate, ClusterPoint, Layer, LayerColumn, ScatterGroup};

    #[test]
    fn figures_stand_in_columns_and_unknown_ones_are_dashes() {
        let column =
            |name: &str, unit: &str| LayerColumn { name: name.into(), decimals: 1, unit: unit.into(), full: None };
        let row = |name: &str, cells: &[Option<f64>]| Layer { name: name.into(), cells: cells.to_vec() };
        let layers = Layers {
            title: "Layers".into(),
            columns: vec![column("weights", "bits"), column("kept", "%")],
            rows: vec![row("conv1", &[Some(32.0), None]), row("conv2", &[Some(1.0)])],
            ..Layers::default()
        };
        let text = human::table(&of_layers(&layers));
        assert_eq!(
            text,
            "Layers\n  layer  weights (bits)  kept (%)\n  conv1            32.0  -\n  conv2             1.0  -"
        );

        let line = |name: &str, points: &[[f64; 3]]| Line { name: name.into(), points: points.to_vec() };
        let lines = vec![line("a", &[[1.0, 0.5, 0.0], [2.0, 0.75, 0.125]]), line("b", &[[2.0, 3.0, 0.0]])];
        let table = of_lines(&Lines { x_label: "labels".into(), lines, ..Lines::default() });
        assert_eq!(table.columns, ["labels", "a", "b"]);
        assert_eq!(table.rows, [["1", "0.5000", "-"], ["2", "0.7500 ± 0.1250", "3"]]);

        let values = vec![vec![Some(1.0), None], vec![Some(0.5)]];
        let matrix = Matrix {
            row_labels: vec!["r".into()],
            column_labels: vec!["c".into(), "d".into()],
            values,
            ..Matrix::default()
        };
        let table = of_matrix(&matrix);
        assert_eq!(
            (table.columns.len(), table.rows),
            (3, vec![vec!["r".into(), "1".into(), "-".into()], vec!["".into(), "0.5000".to_string()]])
        );
    }

    #[test]
    fn every_point_and_row_is_told() {
        let column = Column { name: "accuracy".into(), decimals: 2, higher_is_better: None };
        let row = |id, winner| Candidate {
            id,
            arch: "a-1".into(),
            glyph: vec![],
            cells: vec![Some(0.5)],
            cluster: Some(1),
            winner,
            status: "done".into(),
        };
        let table = of_candidates("c", &Candidates { columns: vec![column], rows: vec![row(3, false), row(4, true)] });
        assert_eq!(table.columns, ["id", "cluster", "accuracy", "status", "architecture"]);
        assert_eq!(table.rows, [["3", "1", "0.50", "done", "a-1"], ["4", "1 *", "0.50", "done", "a-1"]]);
        let point = ClusterPoint { id: 7, x: 1.0, y: 2.0, cluster: None, winner: false, label: "l".into() };
        let table = of_clusters(&Clusters { points: vec![point], ..Clusters::default() });
        assert_eq!(table.rows, [["7", "-", "1", "2", "l"]]);
        let group = ScatterGroup { name: "g".into(), points: vec![[1.0, 2.0]], ..ScatterGroup::default() };
        let table = of_scatter(&Scatter { groups: vec![group], ..Scatter::default() });
        assert_eq!(table.rows, [["g", "1", "2", ""]]);
        let block = BlockCell { name: "stage1.0".into(), vital: true, params: 12, ..BlockCell::default() };
        let table = of_blocks(&BlockImportance { blocks: vec![block], ..BlockImportance::default() });
        assert_eq!(table.columns, ["block", "vital", "params", "MACs"], "what no block has is no column");
        assert_eq!(table.rows, [["stage1.0", "yes", "12", "0"]]);
    }
}
