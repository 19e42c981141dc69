//! Costs against their limits: a bullet graph each.

use kiln_protocol::view::Gauge;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::rows;
use crate::look::Look;
use crate::model::blocks::short;
use crate::text;
use crate::theme::Role;
use crate::view::paint;

/// Where the limit stands on a gauge: fixed, so that nothing moves when costs do. What is beyond the end is drawn at the end.
const LIMIT_AT: f64 = 0.75;

/// Cells for the name.
const NAME: u16 = 9;

pub fn draw(buf: &mut Buffer, area: Rect, gauges: &[Gauge], look: &Look) {
    for (i, gauge) in gauges.iter().take(usize::from(area.height)).enumerate() {
        one(buf, rows(area, i as u16, 1), gauge, look);
    }
}

fn one(buf: &mut Buffer, area: Rect, gauge: &Gauge, look: &Look) {
    let e = look.glyphs.ellipsis;
    let value = |v: f64| if gauge.unit.is_empty() { short(v) } else { format!("{} {}", text::number(v), gauge.unit) };
    let over = gauge.chosen.is_some_and(|c| c > gauge.limit);
    let name = text::left(&gauge.name, usize::from(NAME.min(area.width)), e);
    let used = paint::line(buf, area, look, &[(Role::Dim, &name)]);
    let [bar, both, range, track, mean, expected, limit] = look.glyphs.gauge;
    // Words in groups: what does not fit whole is left out.
    let mut words: Vec<(Role, String)> = Vec::new();
    let mut more: Vec<[(Role, String); 2]> = Vec::new();
    if let Some(chosen) = gauge.chosen {
        let share = if gauge.limit > 0.0 { format!(" {:>3.0}%", 100.0 * chosen / gauge.limit) } else { String::new() };
        words.push((if over { Role::Bad } else { Role::Text }, format!("{}{share}", value(chosen))));
        words.push((Role::Dim, " of ".into()));
    }
    words.push((Role::Text, value(gauge.limit)));
    if let Some(v) = gauge.expected {
        more.push([(Role::Warn, format!("  {expected} ")), (Role::Dim, format!("expected {}", value(v)))]);
    }
    if let Some([least, middle, most]) = gauge.sampled {
        let all = format!("sampled {} {} {}", value(least), value(middle), value(most));
        more.push([(Role::Info, format!("  {range} ")), (Role::Dim, all)]);
    }
    // The words keep a fixed room beside the graph, so that its end does not wander.
    let room = area.width.saturating_sub(used);
    let graph = if room >= 60 { (room * 2 / 5).min(48) } else { room / 2 };
    let place = |v: f64| {
        let t = v / gauge.limit * LIMIT_AT;
        t.is_finite().then(|| (t.clamp(0.0, 1.0) * f64::from(graph.max(1) - 1)).round() as u16)
    };
    let chosen = gauge.chosen.and_then(place);
    let sampled = gauge.sampled.and_then(|[a, _, b]| Some((place(a)?, place(b)?)));
    for column in 0..graph {
        let in_bar = chosen.is_some_and(|c| column <= c);
        let in_range = sampled.is_some_and(|(a, b)| (a..=b).contains(&column));
        let (sign, role) = match (in_bar, in_range) {
            (true, true) => (both, if over { Role::Bad } else { Role::Bar }),
            (true, false) => (bar, if over { Role::Bad } else { Role::Bar }),
            (false, true) => (range, Role::Info),
            (false, false) => (track, Role::BarTrack),
        };
        set(buf, area, used + column, sign, role, look);
    }
    let marks = [
        (gauge.sampled.map(|s| s[1]), mean, Role::Info),
        (gauge.expected, expected, Role::Warn),
        (Some(gauge.limit).filter(|l| *l > 0.0), limit, Role::Key),
    ];
    for (at, sign, role) in marks {
        if let Some(column) = at.and_then(place).filter(|_| graph > 0) {
            set(buf, area, used + column, sign, role, look);
        }
    }
    let rest = Rect { x: area.x + used + graph + 2, width: room.saturating_sub(graph + 2), ..area };
    let wide = |parts: &[(Role, String)]| parts.iter().map(|p| text::width(&p.1)).sum::<usize>();
    for group in more {
        if wide(&words) + wide(&group) <= usize::from(rest.width) {
            words.extend(group);
        }
    }
    if !rest.is_empty() {
        paint::words(buf, rest, look, &words);
    }
}

fn set(buf: &mut Buffer, area: Rect, column: u16, sign: &str, role: Role, look: &Look) {
    if column < area.width
        && let Some(cell) = buf.cell_mut((area.x + column, area.y))
    {
        cell.set_symbol(sign).set_style(look.style(role));
    }
}
