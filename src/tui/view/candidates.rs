//! The table of candidates, with a drawing of each architecture.

use kiln_protocol::view::{Candidate, Candidates, GlyphBar};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::colour::Depth;
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::figure::{Pane, descending, sorted};
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;
use crate::view::picture::cluster_sign;

/// Widths of the parts of a row; 0 leaves a part out.
struct Shape {
    id: usize,
    cluster: usize,
    drawing: usize,
    figures: Vec<usize>,
    status: usize,
    arch: usize,
}

impl Shape {
    fn new(table: &Candidates, width: u16) -> Shape {
        let width = usize::from(width);
        let bars = table.rows.iter().map(|r| r.glyph.len()).max().unwrap_or(0);
        let arch = table.rows.iter().map(|r| text::width(&r.arch)).max().unwrap_or(0);
        let mut s = Shape {
            id: 3,
            cluster: if table.rows.iter().any(|r| r.cluster.is_some()) { 3 } else { 0 },
            drawing: bars.min(26).min(width / 4),
            figures: table
                .columns
                .iter()
                .enumerate()
                .map(|(i, column)| {
                    let figures = table.rows.iter().filter_map(|row| figure(table, row, i));
                    // A figure that is cut is a wrong figure; a name that is cut can still be read.
                    let widest = figures.map(|(_, text)| text::width(&text)).max().unwrap_or(0);
                    text::width(&column.name).clamp(if column.decimals == 0 { 7 } else { 6 }, 12).max(widest)
                })
                .collect(),
            status: 0,
            arch: 0,
        };
        while s.used() > width && s.drawing > 0 {
            s.drawing -= 1;
        }
        while s.used() > width && !s.figures.is_empty() {
            s.figures.pop();
        }
        let left = |s: &Shape| width.saturating_sub(s.used());
        if arch > 0 && left(&s) >= arch.min(28) + 16 {
            s.arch = arch.max(12).min(left(&s) - 14);
        }
        if left(&s) >= 8 {
            s.status = (left(&s) - 2).min(30);
        }
        s
    }

    fn used(&self) -> usize {
        let parts = [self.cluster, self.drawing, self.arch, self.status];
        self.id + parts.iter().chain(&self.figures).filter(|w| **w > 0).map(|w| w + 2).sum::<usize>()
    }
}

pub fn draw(buf: &mut Buffer, m: &Model, table: &Candidates, pane: &Pane, look: &Look) {
    let areas = layout::candidates(m.size);
    if table.rows.is_empty() {
        let row = rows(areas.list, areas.list.height / 2, 1);
        paint::line_centre(buf, row, look, &[(Role::Dim, "No candidates yet: they appear as they are sampled.")]);
        return;
    }
    let shape = Shape::new(table, areas.list.width);
    heading(buf, areas.heading, table, pane, &shape, look);
    let all = sorted(table, pane);
    for (i, candidate) in all.iter().enumerate().skip(pane.list.offset).take(usize::from(areas.list.height)) {
        let area = rows(areas.list, (i - pane.list.offset) as u16, 1);
        if i == pane.list.selected {
            paint::select(buf, area, look);
        }
        row(buf, area, table, candidate, &shape, look);
    }
    paint::scrollbar_beside(buf, areas.list, look, pane.list.offset, all.len());
    if let Some(candidate) = all.get(pane.list.selected) {
        let id = format!("{:03}  ", candidate.id);
        let status = format!("   {}", candidate.status);
        let role = status_role(&candidate.status);
        let won = if candidate.winner { format!("  {} winner", look.glyphs.winner) } else { String::new() };
        let parts = [(Role::Title, id.as_str()), (Role::Text, &candidate.arch), (Role::Accent, &won), (role, &status)];
        paint::line(buf, areas.label, look, &parts);
    }
}

fn heading(buf: &mut Buffer, area: Rect, table: &Candidates, pane: &Pane, shape: &Shape, look: &Look) {
    let e = look.glyphs.ellipsis;
    let sign = look.glyphs.order(descending(table, pane));
    let title = |text: &str, column: usize, width: usize, right: bool| {
        let sorted = pane.sort == column;
        let marked =
            if sorted { format!("{}{sign}", text::clip(text, width.saturating_sub(1), e)) } else { text.to_owned() };
        let cell = if right { text::right(&marked, width, e) } else { text::left(&marked, width, e) };
        (if sorted { Role::Accent } else { Role::Faint }, cell)
    };
    let gap = || (Role::Text, "  ".to_owned());
    let mut parts = vec![title("id", 0, shape.id, true)];
    if shape.cluster > 0 {
        parts.extend([gap(), title("in", 1, shape.cluster, false)]);
    }
    if shape.drawing > 0 {
        let words = if shape.drawing >= 6 { "layers" } else { "" };
        parts.extend([gap(), (Role::Faint, text::left(words, shape.drawing, e))]);
    }
    for (i, width) in shape.figures.iter().enumerate() {
        let name = table.columns.get(i).map_or("", |c| c.name.as_str());
        parts.extend([gap(), title(name, i + 2, *width, true)]);
    }
    if shape.arch > 0 {
        parts.extend([gap(), (Role::Faint, text::left("architecture", shape.arch, e))]);
    }
    if shape.status > 0 {
        parts.extend([gap(), (Role::Faint, text::left("status", shape.status, e))]);
    }
    paint::words(buf, area, look, &parts);
}

/// A figure of a candidate as its column writes it; `None` where there is none.
fn figure(table: &Candidates, candidate: &Candidate, column: usize) -> Option<(Role, String)> {
    let decimals = table.columns.get(column).map_or(4, |c| usize::from(c.decimals));
    let v = candidate.cells.get(column).copied().flatten()?;
    Some(match v {
        v if v.is_finite() && v.abs() < 1e9 && decimals == 0 => (Role::Text, text::count(v)),
        v if v.is_finite() && v.abs() < 1e9 => (Role::Text, format!("{v:.decimals$}")),
        v => (Role::Warn, text::number(v)),
    })
}

fn status_role(status: &str) -> Role {
    match status.split(':').next().unwrap_or_default() {
        "training" => Role::Running,
        "failed" => Role::Failed,
        "waiting" => Role::Queued,
        _ => Role::Dim,
    }
}

fn row(buf: &mut Buffer, area: Rect, table: &Candidates, c: &Candidate, shape: &Shape, look: &Look) {
    let e = look.glyphs.ellipsis;
    let gap = || (Role::Text, "  ".to_owned());
    let mut parts =
        vec![(if c.winner { Role::Title } else { Role::Text }, text::right(&format!("{:03}", c.id), shape.id, e))];
    if shape.cluster > 0 {
        let (role, sign) = cluster_sign(c.cluster, look);
        let won = if c.winner { look.glyphs.winner } else { " " };
        parts.extend([gap(), (role, sign.to_owned()), (Role::Accent, format!(" {won}"))]);
    }
    if shape.drawing > 0 {
        parts.push(gap());
        parts.extend(drawing(&c.glyph, shape.drawing, look));
    }
    for (i, width) in shape.figures.iter().enumerate() {
        let (role, cell) = figure(table, c, i).unwrap_or_else(|| (Role::Faint, look.glyphs.none.to_owned()));
        parts.extend([gap(), (role, text::right(&cell, *width, e))]);
    }
    if shape.arch > 0 {
        parts.extend([gap(), (Role::Dim, text::left(&c.arch, shape.arch, e))]);
    }
    if shape.status > 0 {
        parts.extend([gap(), (status_role(&c.status), text::left(&c.status, shape.status, e))]);
    }
    paint::words(buf, area, look, &parts);
}

/// One bar a layer: height as width of the layer, colour (or, without colours, letter) as its kind.
pub fn drawing(bars: &[GlyphBar], width: usize, look: &Look) -> Vec<(Role, String)> {
    let letters = look.theme.depth == Depth::None || !look.glyphs.braille;
    let mut parts: Vec<(Role, String)> = bars
        .iter()
        .take(width)
        .map(|bar| {
            if bar.height.is_nan() || bar.height <= 0.0 {
                return (Role::Faint, look.glyphs.heights[0].to_owned());
            }
            // The same letter has the same colour in every row.
            let role = series(bar.class.to_ascii_lowercase() as usize % 8);
            if letters {
                let plain =
                    if bar.class.is_control() || text::width(&bar.class.to_string()) != 1 { '?' } else { bar.class };
                return (role, plain.to_string());
            }
            let level = (f64::from(bar.height.min(1.0)) * 8.0).round().clamp(1.0, 8.0) as usize;
            (role, look.glyphs.heights[level].to_owned())
        })
        .collect();
    let used = parts.len();
    if used < width {
        parts.push((Role::Text, " ".repeat(width - used)));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::view::Column;

    #[test]
    fn a_column_is_as_wide_as_its_widest_figure() {
        let row = |macs| Candidate {
            id: 1,
            arch: String::new(),
            glyph: Vec::new(),
            cells: vec![Some(macs)],
            cluster: None,
            winner: false,
            status: String::new(),
        };
        let column = Column { name: "MACs".into(), decimals: 0, higher_is_better: None };
        let table = Candidates { columns: vec![column], rows: vec![row(9e5), row(20_946_048.0)] };
        assert_eq!(Shape::new(&table, 80).figures, ["20,946,048".len()]);
    }
}
