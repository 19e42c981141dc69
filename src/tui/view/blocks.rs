//! The map of blocks: which lie on every path, what is chosen, what each costs and is worth; weights and budgets.

use kiln_protocol::view::{BlockCell, BlockImportance};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::chart::scale;
use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::blocks::{Arrangement, Measure, entropy, measures, parts, starts_stage};
use crate::model::figure::Pane;
use crate::text;
use crate::theme::{Role, series};
use crate::view::{gauges, paint, weights};

pub fn draw(buf: &mut Buffer, m: &Model, map: &BlockImportance, pane: &Pane, look: &Look) {
    let areas = layout::blocks(m.size, map.gauges.len());
    if map.blocks.is_empty() {
        let row = rows(areas.body, areas.body.height / 2, 1);
        return paint::line_centre(
            buf,
            row,
            look,
            &[(Role::Dim, "No blocks yet: they appear when the search starts.")],
        );
    }
    let measures = measures(map);
    let measure = measures[pane.measure % measures.len()];
    let (network, heat) = split(map, pane, areas.body);
    let arrangement = Arrangement::new(map, network.width, network.height);
    let bars = match arrangement.height {
        _ if network.is_empty() => vec![],
        8.. => shown(measure, &measures),
        _ => vec![measure],
    };
    caption(buf, areas.caption, map, (!network.is_empty(), !heat.is_empty()), &bars, look);
    if !network.is_empty() {
        draw_network(buf, network, map, &arrangement, pane, (measure, &measures), look);
    }
    if !heat.is_empty() {
        weights::draw(buf, heat, map, pane, look);
    }
    gauges::draw(buf, areas.gauges, &map.gauges, look);
    paint::line(buf, areas.note, look, &[(Role::Dim, &map.note)]);
    let selected = pane.list.selected.min(map.blocks.len() - 1);
    readout(buf, areas.label, map, &map.blocks[selected], look);
}

/// The measures that three bars show: the chosen one first, the others in their order.
fn shown(measure: Measure, measures: &[Measure]) -> Vec<Measure> {
    let others = measures.iter().copied().filter(|m| *m != measure);
    std::iter::once(measure).chain(others).take(3).collect()
}

/// Where the network goes and where the weights: both where there is room for both, else what the key has chosen.
fn split(map: &BlockImportance, pane: &Pane, body: Rect) -> (Rect, Rect) {
    let none = Rect { height: 0, ..body };
    if pane.weights && !map.ops.is_empty() {
        return (none, body);
    }
    let heat = weights::lines(map);
    let room = body.height.saturating_sub(heat + 1);
    let arrangement = Arrangement::new(map, body.width, room);
    // A study of one network has no weights.
    let searched = map.blocks.iter().any(|b| b.weights.iter().any(Option::is_some));
    if !searched || room < 5 || arrangement.height < 5 {
        return (body, none);
    }
    let used = arrangement.lines() as u16 + 1;
    (rows(body, 0, room), rows(body, used, heat))
}

/// Cells that a long title keeps.
const TITLE: usize = 12;

/// Title, what the signs mean, and what the bars show: those of the map and of the weights, whichever are drawn.
fn caption(
    buf: &mut Buffer,
    area: Rect,
    map: &BlockImportance,
    (network, heat): (bool, bool),
    bars: &[Measure],
    look: &Look,
) {
    let [tl, tr, ..] = look.glyphs.frame_vital;
    let [h, ..] = look.glyphs.path;
    let frame = if network { format!("{tl}{tr} ") } else { String::new() };
    let sign = if heat { format!("{} ", look.glyphs.vital) } else { String::new() };
    let mut full = vec![(Role::Accent, frame + &sign), (Role::Faint, "vital   ".into())];
    if network {
        full.extend([(Role::Accent, format!("{h}{h} ")), (Role::Faint, "on every path   ".into())]);
    }
    full.extend([(Role::Good, format!("{} ", look.glyphs.locked)), (Role::Faint, "locked".into())]);
    if heat {
        full.extend([(Role::Title, format!("   {} ", look.glyphs.points[0])), (Role::Faint, "chosen".into())]);
    }
    if !network {
        full.push((Role::Faint, format!("   {} not offered", look.glyphs.separator)));
    }
    let signs = full.len();
    for measure in bars {
        full.push((role(*measure), format!("   {} ", look.glyphs.bar[0])));
        full.push((Role::Faint, measure.title().into()));
    }
    let wide = |parts: &[(Role, String)]| parts.iter().map(|p| text::width(&p.1)).sum::<usize>();
    // A long title gives way: to a word or two while all signs are explained, then to what the bars are alone.
    let all = text::width(&map.title).min(TITLE) + 2 + wide(&full) <= usize::from(area.width);
    let shown = if all || bars.is_empty() { &full[..] } else { &full[signs..] };
    let title = Rect { width: area.width.saturating_sub(wide(shown) as u16 + 1), ..area };
    paint::line(buf, title, look, &[(Role::Title, &map.title)]);
    paint::words_right(buf, area, look, shown);
}

fn role(measure: Measure) -> Role {
    match measure {
        Measure::Lesion => series(3),
        Measure::Weaken => series(6),
        Measure::Params => series(0),
        Measure::Macs => series(4),
    }
}

/// Blocks in rows, shortcuts above those that have one, the guaranteed path in heavy lines.
fn draw_network(
    buf: &mut Buffer,
    area: Rect,
    map: &BlockImportance,
    arrangement: &Arrangement,
    pane: &Pane,
    (measure, measures): (Measure, &[Measure]),
    look: &Look,
) {
    let selected = pane.list.selected.min(map.blocks.len() - 1);
    let fit = usize::from(area.height / arrangement.height).max(1);
    // The row of the cursor is in view.
    let first = (arrangement.place(selected).0 + 1).saturating_sub(fit).min(arrangement.rows.len());
    let top = |measure: Measure| {
        let most = map.blocks.iter().filter_map(|b| measure.of(b)).fold(0.0, f64::max);
        scale::around(0.0, most.max(1e-9)).1
    };
    let tops: Vec<(Measure, f64)> = measures.iter().map(|m| (*m, top(*m))).collect();
    for (line, row) in arrangement.rows.iter().skip(first).take(fit).enumerate() {
        let place = rows(area, line as u16 * arrangement.height, arrangement.height);
        wires(buf, place, map, row.clone(), arrangement, look);
        for (n, i) in row.clone().enumerate() {
            let x = area.x + n as u16 * arrangement.pitch + 1;
            let cell = Rect { x, width: arrangement.pitch - 1, ..place }.intersection(area);
            block(buf, cell, map, i, i == selected, arrangement.height, look);
            figures(buf, cell, &map.blocks[i], arrangement.height, measure, &tops, look);
        }
    }
}

/// Shortcuts and the wire between blocks.
fn wires(
    buf: &mut Buffer,
    area: Rect,
    map: &BlockImportance,
    row: std::ops::Range<usize>,
    arrangement: &Arrangement,
    look: &Look,
) {
    let [across, down, open, tee, close, leaves, passes, enters] = look.glyphs.path;
    let style = look.style(Role::Accent);
    let height = arrangement.height;
    // Lines of the shortcut and of the blocks' middle.
    let (above, middle) = match height {
        1 => (None, 0),
        3 => (Some(0), 1),
        _ => (Some(0), 2),
    };
    let vital = |i: Option<usize>| i.filter(|i| row.contains(i)).map(|i| map.blocks[i].vital);
    let mut put = |x: u16, line: u16, sign: &str| {
        if let Some(cell) = buf.cell_mut((x, area.y + line)).filter(|_| x < area.right() && line < area.height) {
            cell.set_symbol(sign).set_style(style);
        }
    };
    for at in 0..=row.len() {
        let x = area.x + at as u16 * arrangement.pitch;
        let (left, right) = (vital((row.start + at).checked_sub(1)), vital(Some(row.start + at)));
        let (from_above, to_above) = (left == Some(false), right == Some(false));
        let sign = match (from_above, to_above) {
            _ if above.is_none() => across,
            (false, false) => across,
            (false, true) => leaves,
            (true, true) => passes,
            (true, false) => enters,
        };
        put(x, middle, sign);
        let Some(above) = above else { continue };
        match (from_above, to_above) {
            (false, false) => continue,
            (false, true) => put(x, above, open),
            (true, true) => put(x, above, tee),
            (true, false) => put(x, above, close),
        }
        for line in above + 1..middle {
            put(x, line, down);
        }
        if to_above {
            for step in 1..arrangement.pitch {
                put(x + step, above, across);
            }
        }
    }
}

/// Frame, name, operation, lock.
fn block(buf: &mut Buffer, cell: Rect, map: &BlockImportance, i: usize, selected: bool, height: u16, look: &Look) {
    let block = &map.blocks[i];
    let e = look.glyphs.ellipsis;
    let frame = if block.vital { look.glyphs.frame_vital } else { look.glyphs.frame_open };
    let [tl, tr, bl, br, h, v] = frame;
    let chosen = block.chosen.as_deref().unwrap_or(look.glyphs.none);
    let skipped = chosen == "skip";
    let edge = match (block.vital, skipped) {
        (true, _) => Role::Accent,
        (false, true) => Role::Faint,
        (false, false) => Role::Dim,
    };
    if cell.width < 3 {
        return;
    }
    let inside = usize::from(cell.width - 2);
    let words = if skipped { Role::Faint } else { Role::Title };
    let middle = match height {
        1 => 0,
        3 => 1,
        _ => 2,
    };
    // In the poor forms there is no frame to carry the lock.
    let (lock, room) = if block.locked && height < 5 && inside > text::width(chosen) {
        (look.glyphs.locked, inside - 1)
    } else {
        ("", inside)
    };
    let op = text::left(chosen, room, e);
    let parts = [(edge, v), (words, op.as_str()), (Role::Good, lock), (edge, v)];
    let line = rows(cell, middle, 1);
    paint::line(buf, line, look, &parts);
    if selected {
        let inner = Rect { x: line.x + 1, width: line.width - 2, ..line }.intersection(buf.area);
        buf.set_style(inner, paint::reversed(ratatui::style::Style::default()));
    }
    if height < 5 {
        return;
    }
    let (stage, place) = parts_of(map, i);
    if starts_stage(map, i) {
        // Over a shortcut, where one goes here.
        paint::line(buf, rows(cell, 0, 1), look, &[(Role::Faint, text::clip(stage, inside + 2, e).as_ref())]);
    }
    let place = text::clip(place, inside, e);
    let rest = h.repeat(inside - text::width(&place));
    let top = [(edge, tl), (Role::Faint, place.as_ref()), (edge, rest.as_str()), (edge, tr)];
    paint::line(buf, rows(cell, 1, 1), look, &top);
    let lock = if block.locked { look.glyphs.locked } else { h };
    let rest = h.repeat(inside - 1);
    let bottom = [(edge, bl), (edge, rest.as_str()), (Role::Good, lock), (edge, br)];
    let bottom = if block.locked { bottom } else { [(edge, bl), (edge, rest.as_str()), (edge, h), (edge, br)] };
    paint::line(buf, rows(cell, 3, 1), look, &bottom);
}

fn parts_of(map: &BlockImportance, i: usize) -> (&str, &str) {
    parts(&map.blocks[i].name)
}

/// Figure and bars under a block.
fn figures(
    buf: &mut Buffer,
    cell: Rect,
    block: &BlockCell,
    height: u16,
    measure: Measure,
    tops: &[(Measure, f64)],
    look: &Look,
) {
    let mut bar = |line: u16, measure: Measure| {
        let Some(top) = tops.iter().find(|t| t.0 == measure).map(|t| t.1) else { return };
        let area = rows(cell, line, 1);
        match measure.of(block) {
            Some(v) => {
                let (done, rest) = paint::bar(area.width, v / top, look);
                paint::line(buf, area, look, &[(role(measure), &done), (Role::BarTrack, &rest)]);
            }
            None => {
                paint::line(buf, area, look, &[(Role::Faint, look.glyphs.none)]);
            }
        }
    };
    match height {
        3 => bar(2, measure),
        5 => bar(4, measure),
        6 => bar(5, measure),
        8 | 9 => {
            let measures: Vec<Measure> = tops.iter().map(|t| t.0).collect();
            for (n, m) in shown(measure, &measures).into_iter().enumerate() {
                bar(5 + n as u16, m);
            }
        }
        _ => {}
    }
    if height >= 6 {
        let words = measure.of(block).map_or(look.glyphs.none.to_owned(), |v| measure.words(v));
        paint::line(buf, rows(cell, 4, 1), look, &[(role(measure), &words)]);
    }
}

/// What the cursor is on, in words.
fn readout(buf: &mut Buffer, area: Rect, map: &BlockImportance, block: &BlockCell, look: &Look) {
    let total = |f: fn(&BlockCell) -> u64| map.blocks.iter().map(|b| f(b) as f64).sum::<f64>();
    let share = |part: u64, total: f64| if total > 0.0 { 100.0 * part as f64 / total } else { 0.0 };
    let chosen = block.chosen.as_deref().unwrap_or(look.glyphs.none);
    let mut first = vec![
        (Role::Title, block.name.clone()),
        (
            if block.vital { Role::Accent } else { Role::Dim },
            if block.vital { "  vital" } else { "  with shortcut" }.into(),
        ),
        (Role::Good, if block.locked { format!(" {} locked", look.glyphs.locked) } else { String::new() }),
        (Role::Text, format!("  {chosen}")),
    ];
    for measure in [Measure::Lesion, Measure::Weaken] {
        if let Some(v) = measure.of(block) {
            first.extend([
                (Role::Dim, format!("  {} ", measure.title().trim_end_matches(" drop"))),
                (role(measure), format!("-{}", measure.words(v).trim_start_matches('-'))),
            ]);
        }
    }
    let (params, macs) = (total(|b| b.params), total(|b| b.macs));
    for (measure, part, of) in [(Measure::Params, block.params, params), (Measure::Macs, block.macs, macs)] {
        first.extend([
            (role(measure), format!("  {}", measure.words(part as f64))),
            (Role::Dim, format!(" {} ({:.0}%)", measure.title(), share(part, of))),
        ]);
    }
    let put = |buf: &mut Buffer, line: u16, parts: &[(Role, String)]| {
        paint::words(buf, rows(area, line, 1), look, parts);
    };
    put(buf, 0, &first);
    if area.height < 2 {
        return;
    }
    let mut ranked: Vec<(&str, f64)> =
        map.ops.iter().zip(&block.weights).filter_map(|(op, w)| Some((op.as_str(), (*w)?))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut second: Vec<(Role, String)> = Vec::new();
    if let Some((bits, most)) = entropy(&block.weights) {
        second.push((Role::Dim, format!("entropy {bits:.2} of {most:.2} bits   ")));
    }
    for (op, weight) in ranked {
        let role = if Some(op) == block.chosen.as_deref() { Role::Title } else { Role::Dim };
        second.extend([(role, format!("{op} ")), (Role::Text, format!("{weight:.2}  "))]);
    }
    put(buf, 1, &second);
}
