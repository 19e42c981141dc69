//! The page of a candidate: words, and the charts of its history.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::chart::{Plot, Smoothing, Track, Window};
use crate::layout::{self, below, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::curves::subject;
use crate::model::detail::Detail;
use crate::model::inspect::Chart;
use crate::text;
use crate::theme::{Role, series};
use crate::view::{curves, paint};

pub fn draw(buf: &mut Buffer, m: &Model, detail: &Detail, look: &Look) {
    let Some(page) = &detail.inspect else { return };
    let charts = detail.inspected_charts();
    let areas = layout::inspect(m.size, charts.len());
    let lines = detail.inspected_lines(usize::from(areas.words.width), look.glyphs);
    paint::page(buf, areas.words, look, &lines, page.scroll.top);
    paint::scrollbar_beside(buf, areas.words, look, page.scroll.top, lines.len());
    for (area, chart) in areas.charts.iter().zip(&charts) {
        draw_chart(buf, *area, detail, chart, look);
    }
}

fn draw_chart(buf: &mut Buffer, area: Rect, detail: &Detail, chart: &Chart, look: &Look) {
    let tracks: Vec<(usize, &str, Option<&Track>)> = chart
        .series
        .iter()
        .enumerate()
        .map(|(colour, name)| (colour, name.as_str(), detail.curves.track(name)))
        .collect();
    let mut parts: Vec<(Role, String)> = vec![(Role::Title, format!("{}  ", chart.metric))];
    for (colour, name, track) in &tracks {
        // The candidate's own number stands above.
        let name = subject(name).split_once('/').map_or("", |(_, rest)| rest);
        let last = track.and_then(Track::last).map_or(look.glyphs.none.to_owned(), |p| text::number(p[1]));
        parts.extend([
            (series(*colour), format!("{} ", look.glyphs.line)),
            (Role::Dim, if name.is_empty() { String::new() } else { format!("{name} ") }),
            (Role::Text, format!("{last}   ")),
        ]);
    }
    paint::words(buf, rows(area, 0, 1), look, &parts);
    let traces: Vec<(usize, &Track)> =
        tracks.iter().filter_map(|(colour, _, track)| Some((*colour, (*track)?))).collect();
    let plot = Plot::new(below(area, 1), Window { from: 0.0, to: chart.end }, chart.y);
    curves::chart(buf, &plot, &traces, &chart.unit, Smoothing::Off, look);
}
