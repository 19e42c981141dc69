//! The log of a run.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::detail::Detail;
use crate::text;
use crate::theme::Role;
use crate::view::bars::level_sign;
use crate::view::paint;

pub fn draw(buf: &mut Buffer, m: &Model, detail: &Detail, look: &Look) {
    let (area, caption) = layout::log(m.size);
    let log = &detail.log;
    let shown = log.shown();
    if shown.is_empty() {
        let row = rows(area, area.height / 2, 1);
        paint::line_centre(buf, row, look, &[(Role::Dim, "No lines yet.")]);
        return;
    }
    // Times count from the run's beginning: hosts, and the clocks of those who watch, differ.
    let start = m.runs.get(&detail.id).map_or(shown[0].t, |r| r.started.unwrap_or(r.created));
    let margin = layout::log_margin(area);
    let cells = layout::log_cells(area);
    let mut y = 0;
    for line in shown.iter().skip(log.top) {
        let (role, sign) = level_sign(line.level, look);
        let hit = !log.query.is_empty() && text::matches(&line.text, &log.query);
        let text_role = match (hit, line.lifecycle) {
            (true, _) => Role::Match,
            (false, true) if role == Role::Info => Role::Title,
            (false, _) if matches!(role, Role::Bad | Role::Warn) => role,
            (false, true) => Role::Dim,
            (false, false) => Role::Text,
        };
        for (i, part) in text::wrap(&line.text, cells).iter().enumerate() {
            if y >= area.height {
                break;
            }
            let row = rows(area, y, 1);
            if i == 0 && margin > 0 {
                let time = text::right(&text::clock(line.t - start), 8, "");
                paint::line(buf, row, look, &[(Role::Faint, &time), (role, " "), (role, sign)]);
            }
            let place = Rect { x: row.x + margin, width: row.width - margin, ..row };
            paint::line(buf, place, look, &[(text_role, part)]);
            if log.found == Some(line.seq) {
                paint::select(buf, row, look);
            }
            y += 1;
        }
        if y >= area.height {
            break;
        }
    }
    paint::scrollbar_beside(buf, area, look, log.top, shown.len());
    let state = if log.follow { "following" } else { "held" };
    let separator = look.glyphs.separator;
    let hidden = log.lines.len() - shown.len();
    let details = if hidden > 0 { format!(" {separator} {hidden} details hidden") } else { String::new() };
    let words = format!("{} lines{details} {separator} {state}", shown.len());
    let mut parts = vec![(Role::Faint, words)];
    if !log.query.is_empty() {
        let hits = shown.iter().filter(|l| text::matches(&l.text, &log.query)).count();
        parts.insert(0, (Role::Match, format!("/{} ({hits})   ", log.query)));
    }
    paint::words_right(buf, caption, look, &parts);
}
