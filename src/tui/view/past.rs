//! A histogram over time: a heat map with the newest state at the bottom, next to its axis.

use kiln_protocol::view::Histograms;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::chart::{Plot, Scale, plot};
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::figure::Pane;
use crate::model::past::heat;
use crate::text;
use crate::theme::Role;
use crate::view::{matrix, paint};

pub fn draw(
    buf: &mut Buffer,
    m: &Model,
    content: Rect,
    view: &Histograms,
    states: &[(f64, Histograms)],
    pane: &Pane,
    look: &Look,
) {
    let areas = layout::figure(content);
    let focus = pane.list.selected.min(view.panels.len().saturating_sub(1));
    let Some(panel) = view.panels.get(focus) else { return };
    let title = if panel.name.is_empty() { view.title.clone() } else { format!("{}: {}", view.title, panel.name) };
    let used = paint::line(buf, areas.caption, look, &[(Role::Title, &title)]);
    let which = match view.panels.len() {
        1 => "over time".to_owned(),
        n => format!("{} of {n} over time", focus + 1),
    };
    let room =
        Rect { x: areas.caption.x + used + 1, width: areas.caption.width.saturating_sub(used + 1), ..areas.caption };
    paint::line_right(buf, room, look, &[(Role::Faint, &which)]);
    paint::line(buf, areas.note, look, &[(Role::Dim, &view.note)]);
    let inner = plot::inner(areas.body).intersection(buf.area);
    let halves = if look.glyphs.braille { 2 } else { 1 };
    let found = heat(states, &panel.name, inner.width.into(), usize::from(inner.height) * halves);
    let Some(heat) = found else {
        let words = if states.is_empty() { "Reading how it has been." } else { "Nothing was counted yet." };
        let row = rows(areas.body, areas.body.height / 2, 1);
        return paint::line_centre(buf, row, look, &[(Role::Dim, words)]);
    };
    if inner.is_empty() {
        return;
    }
    // With few states each takes several lines; with many, two share one.
    let n = heat.rows.len();
    let lines = usize::from(inner.height) * halves;
    let state_at = |line: usize| (line * n / lines).min(n - 1);
    for y in 0..usize::from(inner.height) {
        let (upper, lower) = (state_at(y * halves), state_at(y * halves + halves - 1));
        for x in 0..inner.width {
            let cell = Rect { x: inner.x + x, y: inner.y + y as u16, width: 1, height: 1 };
            let value = |state: usize| heat.rows[state][usize::from(x)];
            matrix::halves(buf, cell, value(upper), value(lower), false, look);
        }
    }
    let axis = Plot { area: areas.body, inner, x: heat.x, y: Scale { lo: 0.0, hi: 1.0, log: false } };
    axis.x_labels(buf, &view.x_label, &heat.x.ticks(usize::from(inner.width / 12).clamp(1, 10)), look);
    // How long ago the lines are, on the left: the first, the last, and some between.
    if inner.x > areas.body.x {
        let every = usize::from(inner.height).div_ceil(4).max(1);
        let last = usize::from(inner.height) - 1;
        for y in (0..usize::from(inner.height)).filter(|y| *y == last || (y % every == 0 && last - y >= every / 2)) {
            let ago = text::age(m.now - heat.times[state_at(y * halves + halves - 1)]);
            let label = text::right(&ago, usize::from(inner.x - areas.body.x - 1), look.glyphs.ellipsis);
            buf.set_string(areas.body.x, inner.y + y as u16, label, look.style(Role::Faint));
        }
    }
    let span = heat.times.last().zip(heat.times.first()).map_or(0.0, |(b, a)| b - a);
    let words = format!(
        "{} states over {}; the newest at the bottom, each by its own total",
        states.len(),
        text::duration(span)
    );
    paint::line(buf, areas.label, look, &[(Role::Dim, &words)]);
}
