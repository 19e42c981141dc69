//! A picture with boxes around what was found in it.

use kiln_protocol::view::{Detection, Detections, Scene};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::figure::Pane;
use crate::mosaic::{Canvas, DOWN, Factor, Pixels};
use crate::text;
use crate::theme::{Role, series};
use crate::view::paint;

/// Share of a known box that a found one must have in common with it to have found it.
const HIT: f64 = 0.5;

pub fn draw(buf: &mut Buffer, m: &Model, view: &Detections, pane: &Pane, look: &Look) {
    let areas = layout::picture(m.size);
    let used = paint::line(buf, areas.caption, look, &[(Role::Title, &view.title)]);
    let Some(scene) = view.scenes.get(pane.list.selected.min(view.scenes.len().saturating_sub(1))) else {
        let row = rows(areas.picture, areas.picture.height / 2, 1);
        return paint::line_centre(
            buf,
            row,
            look,
            &[(Role::Dim, "No pictures yet: they appear as networks are tried on them.")],
        );
    };
    let sep = look.glyphs.separator;
    let boxes = pane.boxes(scene);
    let least = if pane.least_score > 0 { format!(" {sep} from {}% on", pane.least_score) } else { String::new() };
    let words = format!(
        "{} of {} {sep} {} of {} boxes{least}",
        pane.list.selected + 1,
        view.scenes.len(),
        boxes.len(),
        scene.found.len()
    );
    let room =
        Rect { x: areas.caption.x + used + 1, width: areas.caption.width.saturating_sub(used + 1), ..areas.caption };
    paint::line_right(buf, room, look, &[(Role::Faint, &words)]);
    paint::line(buf, areas.note, look, &[(Role::Dim, &view.note)]);
    let selected = boxes.get(pane.cell.0).copied();
    match Pixels::of(&scene.picture) {
        Ok(pixels) => picture(buf, areas.picture, view, scene, &pixels, &boxes, (selected, !pane.alone), look),
        Err(problem) => {
            let row = rows(areas.picture, areas.picture.height / 2, 1);
            paint::line_centre(buf, row, look, &[(Role::Bad, &problem)]);
        }
    }
    legend(buf, areas.legend, view, &boxes, pane.cell.0, look);
    label(buf, areas.label, view, scene, selected, look);
}

/// Name of a class; its number where it has none.
fn class(view: &Detections, class: u32) -> String {
    view.classes.get(class as usize).filter(|n| !n.is_empty()).cloned().unwrap_or_else(|| format!("class {class}"))
}

/// The picture as large as fits, known boxes below found ones, the selected one over all.
#[allow(clippy::too_many_arguments)]
fn picture(
    buf: &mut Buffer,
    area: Rect,
    view: &Detections,
    scene: &Scene,
    pixels: &Pixels,
    boxes: &[&Detection],
    (selected, with_truth): (Option<&Detection>, bool),
    look: &Look,
) {
    let area = area.intersection(buf.area);
    if area.is_empty() {
        return;
    }
    let rows_of = usize::from(area.height) * usize::from(DOWN);
    let factor = Factor::fitting(pixels.width, area.width.into()).min(Factor::fitting(pixels.height, rows_of));
    let scaled = pixels.scaled(factor);
    let mut canvas = Canvas::new(area.width, area.height);
    canvas.put(&scaled, 0, 0);
    canvas.paint(buf, area, look);
    let cells =
        (scaled.width as f64 / pixels.width as f64, scaled.height as f64 / pixels.height as f64 / f64::from(DOWN));
    let frame = |d: &Detection| -> Option<Rect> {
        let [x, y, w, h] = d.place;
        if !d.place.iter().all(|v| v.is_finite()) || w <= 0.0 || h <= 0.0 {
            return None;
        }
        let last = (f64::from(area.width - 1), f64::from(area.height - 1));
        let (left, top) = ((x * cells.0).floor().clamp(0.0, last.0), (y * cells.1).floor().clamp(0.0, last.1));
        // The right and lower edges lie on the last cells that the box covers.
        let right = (((x + w) * cells.0).ceil() - 1.0).clamp(left, last.0);
        let bottom = (((y + h) * cells.1).ceil() - 1.0).clamp(top, last.1);
        let size = |a: f64, b: f64| (b - a) as u16 + 1;
        Some(Rect {
            x: area.x + left as u16,
            y: area.y + top as u16,
            width: size(left, right),
            height: size(top, bottom),
        })
    };
    if with_truth {
        for known in &scene.truth {
            if let Some(place) = frame(known) {
                outline(buf, place, look.glyphs.frame_open, look.style(Role::Text), None, look);
            }
        }
    }
    let others = boxes.iter().filter(|d| selected.is_none_or(|s| !std::ptr::eq(s, **d)));
    for found in others.copied().rev().chain(selected) {
        let Some(place) = frame(found) else { continue };
        let chosen = selected.is_some_and(|s| std::ptr::eq(s, found));
        let style = look.style(series(found.class as usize));
        let style = if chosen { style.add_modifier(Modifier::BOLD) } else { style };
        let signs = if chosen { look.glyphs.frame_vital } else { look.glyphs.frame };
        let name = class(view, found.class);
        outline(buf, place, signs, style, Some(&name), look);
    }
}

/// A frame over whatever is there, whose colours shine through beside its lines; its name on its upper edge.
fn outline(buf: &mut Buffer, area: Rect, signs: [&str; 6], style: Style, name: Option<&str>, look: &Look) {
    let [tl, tr, bl, br, h, v] = signs;
    let (right, bottom) = (area.right() - 1, area.bottom() - 1);
    let colour = style.fg;
    let mut put = |x: u16, y: u16, sign: &str| {
        if let Some(cell) = buf.cell_mut((x, y)) {
            cell.set_symbol(sign);
            cell.modifier = style.add_modifier;
            if let Some(colour) = colour {
                cell.set_fg(colour);
            }
        }
    };
    for x in area.x..=right {
        put(x, area.y, h);
        put(x, bottom, h);
    }
    for y in area.y..=bottom {
        put(area.x, y, v);
        put(right, y, v);
    }
    if area.width > 1 && area.height > 1 {
        put(area.x, area.y, tl);
        put(right, area.y, tr);
        put(area.x, bottom, bl);
        put(right, bottom, br);
    }
    if let Some(name) = name.filter(|_| area.width >= 4) {
        let place = Rect { x: area.x + 1, y: area.y, width: area.width - 2, height: 1 };
        let clipped = text::clip(name, place.width.into(), look.glyphs.ellipsis);
        buf.set_string(place.x, place.y, clipped.as_ref(), paint::reversed(style));
    }
}

/// The boxes, the surest first; those around the selected one where there is no room for all.
fn legend(buf: &mut Buffer, area: Rect, view: &Detections, boxes: &[&Detection], selected: usize, look: &Look) {
    let height = usize::from(area.height);
    if height == 0 {
        return;
    }
    if boxes.is_empty() {
        paint::line(buf, area, look, &[(Role::Dim, "nothing found")]);
        return;
    }
    let top = (selected + 1).saturating_sub(height);
    for (line, (i, found)) in boxes.iter().enumerate().skip(top).take(height).enumerate() {
        let place = rows(area, line as u16, 1);
        let score = found.score.map_or(String::new(), |s| format!(" {:>4}", text::percent(s)));
        let room = Rect { width: place.width.saturating_sub(text::width(&score) as u16), ..place };
        let role = series(found.class as usize);
        paint::line(
            buf,
            room,
            look,
            &[(role, look.glyphs.on), (Role::Text, " "), (Role::Text, &class(view, found.class))],
        );
        paint::line_right(buf, place, look, &[(Role::Dim, &score)]);
        if i == selected {
            paint::select(buf, place, look);
        }
    }
}

/// The selected box: what it is, how sure, where, and whether it is right as far as that is known.
fn label(buf: &mut Buffer, area: Rect, view: &Detections, scene: &Scene, selected: Option<&Detection>, look: &Look) {
    let Some(found) = selected else {
        return paint_label(buf, area, &scene.picture.label, look);
    };
    let [x, y, w, h] = found.place.map(|v| text::number(v.round()));
    let score = found.score.map(|s| format!("  {}", text::percent(s))).unwrap_or_default();
    let place = format!("  {w} x {h} pixels at {x}, {y}");
    let name = class(view, found.class);
    let mut parts = vec![(series(found.class as usize), name), (Role::Text, score), (Role::Dim, place)];
    let same = scene.truth.iter().filter(|t| t.class == found.class).map(|t| t.overlap(found));
    if !scene.truth.is_empty() {
        let best = same.fold(0.0, f64::max);
        let (role, verdict) =
            if best >= HIT { (Role::Good, "right") } else { (Role::Bad, "nothing of this class is there") };
        let common = if best > 0.0 { format!(" ({} in common)", text::percent(best)) } else { String::new() };
        parts.push((role, format!("   {verdict}{common}")));
    }
    paint::words(buf, area, look, &parts);
}

fn paint_label(buf: &mut Buffer, area: Rect, label: &str, look: &Look) {
    paint::line(buf, area, look, &[(Role::Dim, label)]);
}
