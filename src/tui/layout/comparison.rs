//! Where things are on the screen of runs side by side.

use ratatui::layout::{Rect, Size};

use super::{bands, below, inset, rows};

/// Runs side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareAreas {
    /// What is compared.
    pub title: Rect,
    pub tabs: Rect,
    pub content: Rect,
}

pub fn compare(size: Size) -> CompareAreas {
    let body = inset(bands(size).body);
    let none = rows(body, 0, 0);
    match body.height {
        0..4 => CompareAreas { title: none, tabs: none, content: body },
        4..10 => CompareAreas { title: none, tabs: rows(body, 0, 1), content: below(body, 1) },
        10..16 => CompareAreas { title: rows(body, 1, 1), tabs: rows(body, 2, 1), content: below(body, 3) },
        _ => CompareAreas { title: rows(body, 1, 1), tabs: rows(body, 3, 1), content: below(body, 5) },
    }
}

/// Curves over one another: which, the chart, and the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareCurves {
    pub caption: Rect,
    pub chart: Rect,
    /// Beside the chart where there is room, else below it; a group a row.
    pub legend: Rect,
}

pub fn compare_curves(size: Size, groups: usize) -> CompareCurves {
    let content = compare(size).content;
    let caption = u16::from(content.height >= 5);
    let rest = below(content, caption);
    let caption = rows(content, 0, caption);
    if content.width >= 100 {
        let legend = (content.width / 3).min(56);
        let chart = Rect { width: rest.width - legend - 2, ..rest };
        return CompareCurves { caption, chart, legend: Rect { x: rest.right() - legend, width: legend, ..rest } };
    }
    let legend = (groups.min(6) as u16).min(rest.height / 3);
    let chart = rows(rest, 0, rest.height - legend);
    CompareCurves { caption, chart, legend: rows(rest, rest.height - legend, legend) }
}

/// A list with names of columns above it, and lines about the selected row below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareList {
    pub heading: Rect,
    pub list: Rect,
    pub label: Rect,
}

/// The table of figures and settings.
pub fn compare_table(size: Size) -> CompareList {
    listed(compare(size).content, 1, 1)
}

/// Strip and importance.
pub fn compare_list(size: Size) -> CompareList {
    listed(compare(size).content, 2, 2)
}

fn listed(content: Rect, heading: u16, label: u16) -> CompareList {
    let heading = if content.height >= 4 + heading { heading } else { 0 };
    let label = if content.height >= 8 { label } else { 0 };
    CompareList {
        heading: rows(content, 0, heading),
        list: rows(content, heading, content.height - heading - label),
        label: rows(content, content.height - label, label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_screen_and_the_chart_keeps_most_of_it() {
        for width in (0..70).chain([79, 80, 100, 120, 200, 400]) {
            for height in (0..60).chain([100]) {
                let size = Size { width, height };
                let (all, list, table) = (compare(size), compare_list(size), compare_table(size));
                let curves = compare_curves(size, 9);
                let parts = [all.title, all.tabs, all.content, list.heading, list.list, list.label, table.list];
                for part in parts.into_iter().chain([curves.caption, curves.chart, curves.legend]) {
                    assert!(part.right() <= width && part.bottom() <= height, "{part:?} in {size:?}");
                }
                assert!(curves.chart.area() >= curves.legend.area(), "{curves:?} in {size:?}");
            }
        }
    }
}
