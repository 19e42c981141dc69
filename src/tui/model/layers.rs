//! Columns of a table of layers: how wide they are, and which are in view.

use kiln_protocol::view::{LayerColumn, Layers};

use crate::glyphs::Glyphs;
use crate::text;

/// Cells of a bar at least, and at most where there is room to spare.
const BAR: (usize, usize) = (6, 24);

/// Blanks before each column.
const GAP: usize = 2;

/// Widths of all columns, in cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    name: usize,
    /// Of the numbers with their heading, and whether a bar follows.
    figures: Vec<(usize, bool)>,
}

/// A column in view: what is drawn where, in cells from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub column: usize,
    pub x: usize,
    /// Cells of the number.
    pub number: usize,
    /// Cells of the bar behind it and a blank; 0 without one.
    pub bar: usize,
}

/// A figure as its column writes it.
pub fn figure(column: &LayerColumn, value: Option<f64>, glyphs: &Glyphs) -> String {
    match value {
        // What is larger than that would fill the screen with digits.
        Some(v) if v.is_finite() && v.abs() < 1e12 => format!("{v:.*}", usize::from(column.decimals.min(12))),
        Some(v) => text::number(v),
        None => glyphs.none.into(),
    }
}

/// Heading of a column: its name, and what it counts in.
pub fn heading(column: &LayerColumn) -> String {
    if column.unit.is_empty() { column.name.clone() } else { format!("{} ({})", column.name, column.unit) }
}

impl Columns {
    pub fn new(layers: &Layers, glyphs: &Glyphs) -> Columns {
        let names = layers.rows.iter().map(|r| text::width(&r.name)).max().unwrap_or(0);
        let figures = layers.columns.iter().enumerate().map(|(i, column)| {
            let cells = layers.rows.iter().map(|r| figure(column, r.cells.get(i).copied().flatten(), glyphs));
            let number = cells.map(|c| text::width(&c)).max().unwrap_or(0);
            let bar = column.full.is_some();
            // A heading may reach over the bar.
            let spare = text::width(&heading(column)).saturating_sub(if bar { BAR.0 + 1 } else { 0 });
            (number.max(spare), bar)
        });
        Columns { name: names.max(5), figures: figures.collect() }
    }

    /// Cells of the names of layers in a table of that width: never more than a part of it.
    pub fn name(&self, width: usize) -> usize {
        self.name.min((width / 3).max(4)).min(width)
    }

    /// Cells from `first` to `last`, both with the gap before them.
    fn span(&self, first: usize, last: usize) -> usize {
        let shown = self.figures.get(first..=last).unwrap_or_default();
        shown.iter().map(|(number, bar)| GAP + number + if *bar { BAR.0 + 1 } else { 0 }).sum()
    }

    /// The first column in view where `selected` has to be and `first` was the first: scrolled no further than needed, and
    /// without room left at the end that a column before could have.
    pub fn first(&self, selected: usize, first: usize, width: usize) -> usize {
        let room = width.saturating_sub(self.name(width));
        let mut first = first.min(selected);
        while first < selected && self.span(first, selected) > room {
            first += 1;
        }
        let last = self.figures.len().saturating_sub(1);
        while first > 0 && self.span(first - 1, last) <= room {
            first -= 1;
        }
        first
    }

    /// The columns in view from `first` on; at least that one. Bars take the room that is left.
    pub fn places(&self, first: usize, width: usize) -> Vec<Place> {
        let name = self.name(width);
        let room = width.saturating_sub(name);
        let all = first..self.figures.len();
        let fit = all.clone().take_while(|last| self.span(first, *last) <= room).count().max(1);
        let shown = all.start..all.end.min(first + fit);
        if shown.is_empty() {
            return Vec::new();
        }
        let spare = room.saturating_sub(self.span(first, shown.end - 1));
        let bars = shown.clone().filter(|i| self.figures[*i].1).count();
        let more = spare.checked_div(bars).unwrap_or(0).min(BAR.1 - BAR.0);
        let mut x = name;
        let place = |column: usize| {
            let (number, bar) = self.figures[column];
            let bar = if bar { BAR.0 + 1 + more } else { 0 };
            let place = Place { column, x: x + GAP, number, bar };
            x += GAP + number + bar;
            place
        };
        shown.map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glyphs::UNICODE;
    use kiln_protocol::view::Layer;

    fn layers(columns: usize) -> Layers {
        let column = |i: usize| LayerColumn {
            name: format!("figure {i}"),
            decimals: 2,
            unit: if i == 1 { "bits".into() } else { String::new() },
            full: i.is_multiple_of(2).then_some(1.0),
        };
        Layers {
            columns: (0..columns).map(column).collect(),
            rows: vec![Layer { name: "stage1.conv2".into(), cells: vec![Some(0.5); columns] }],
            ..Layers::default()
        }
    }

    #[test]
    fn figures_are_written_as_their_column_says() {
        let column = &layers(2).columns[1];
        assert_eq!(heading(column), "figure 1 (bits)");
        let all = [Some(0.125), Some(-3.0), None, Some(f64::NAN), Some(1e30)];
        assert_eq!(all.map(|v| figure(column, v, &UNICODE)), ["0.12", "-3.00", "–", "nan", "1.0e+30"]);
        let many = LayerColumn { decimals: 255, ..column.clone() };
        assert_eq!(figure(&many, Some(0.5), &UNICODE), "0.500000000000");
    }

    #[test]
    fn the_selected_column_is_in_view_at_every_width() {
        for n in [1, 2, 7] {
            let columns = Columns::new(&layers(n), &UNICODE);
            for width in [1, 8, 20, 38, 78, 198] {
                let mut first = 0;
                for selected in (0..n).chain((0..n).rev()) {
                    first = columns.first(selected, first, width);
                    let places = columns.places(first, width);
                    assert!(places.iter().any(|p| p.column == selected), "{n} {width} {selected}");
                    let end = places.last().map_or(0, |p| p.x + p.number + p.bar);
                    assert!(places.len() == 1 || end <= width, "{n} {width}: {places:?}");
                    assert!(places.windows(2).all(|w| w[0].x + w[0].number + w[0].bar + GAP == w[1].x));
                }
                assert_eq!(first, 0, "and back again");
            }
        }
        assert!(Columns::new(&Layers::default(), &UNICODE).places(0, 40).is_empty());
    }

    #[test]
    fn bars_take_the_room_that_is_left() {
        let columns = Columns::new(&layers(2), &UNICODE);
        let bar = |width| columns.places(0, width)[0].bar;
        assert!(bar(45) < bar(50) && bar(50) < bar(198));
        assert_eq!(bar(198), BAR.1 + 1);
    }
}
