//! The box with the settings of a run that can be changed while it goes on.

use ratatui::buffer::Buffer;

use crate::layout::{self, rows};
use crate::look::Look;
use crate::model::Model;
use crate::model::knobs::Knobs;
use crate::text;
use crate::theme::Role;
use crate::view::{form, paint};

/// Lines for what the selected setting means: as many whatever it is, so that the box keeps its size.
const HELP: usize = 4;

pub fn draw(buf: &mut Buffer, m: &Model, knobs: &Knobs, look: &Look) {
    let width = 76.min(m.size.width);
    let height = knobs.knobs.len() as u16 + HELP as u16 + 6;
    let inner = paint::boxed(buf, layout::dialog(m.size, width, height), look, "While it goes on");
    let of = match knobs.jobs {
        0 => format!("{}, {}", knobs.run, knobs.state),
        1 => format!("{} with its job, {}", knobs.run, knobs.state),
        n => format!("{} with its {n} jobs, {}", knobs.run, knobs.state),
    };
    let when = if knobs.when().is_empty() { String::new() } else { format!(": a change holds{}", knobs.when()) };
    paint::line(buf, rows(inner, 0, 1), look, &[(Role::Title, &of), (Role::Dim, &when)]);
    let keys = knobs.knobs.iter().map(|k| text::width(&k.field.key)).max().unwrap_or(0);
    let list = layout::below(inner, 2);
    for (i, knob) in knobs.knobs.iter().enumerate() {
        let row = rows(list, i as u16, 1);
        let selected = i == knobs.list.selected;
        if selected {
            paint::select(buf, row, look);
        }
        let turned = knob.value != knob.started;
        let unit = knob.field.unit.as_deref().map(|u| format!(" {u}")).unwrap_or_default();
        let was = if turned { format!("   started with {}", knob.started) } else { String::new() };
        let name = text::left(&knob.field.key, keys, look.glyphs.ellipsis);
        let parts = [
            (Role::Accent, if selected { look.glyphs.marker } else { " " }),
            (Role::Text, " "),
            (if selected { Role::Title } else { Role::Dim }, name.as_str()),
            (Role::Text, "  "),
            (if turned { Role::Accent } else { Role::Text }, knob.value.as_str()),
            (Role::Faint, &unit),
            (Role::Faint, &was),
        ];
        paint::line(buf, row, look, &parts);
    }
    let about = layout::below(list, knobs.knobs.len() as u16 + 1);
    if let Some(knob) = knobs.selected() {
        let room = usize::from(about.width).max(1);
        let lines: Vec<(Role, String)> = match &knobs.wrong {
            Some(wrong) => text::wrap(wrong, room).into_iter().map(|l| (Role::Bad, l)).collect(),
            None => {
                let help = text::wrap(&knob.field.help, room).into_iter().map(|l| (Role::Text, l));
                help.chain(text::wrap(&form::may_be(&knob.field), room).into_iter().map(|l| (Role::Dim, l))).collect()
            }
        };
        for (i, (role, line)) in lines.iter().take(HELP).enumerate() {
            paint::line(buf, rows(about, i as u16, 1), look, &[(*role, line)]);
        }
    }
    let words = match m.prompt {
        Some(_) => [
            (Role::Key, look.glyphs.enter),
            (Role::Text, " sets it     "),
            (Role::Key, "esc"),
            (Role::Dim, " leave it"),
        ],
        None => {
            [(Role::Key, look.glyphs.enter), (Role::Text, " change     "), (Role::Key, "esc"), (Role::Dim, " close")]
        }
    };
    paint::line(buf, rows(inner, inner.height.saturating_sub(1), 1), look, &words);
}
