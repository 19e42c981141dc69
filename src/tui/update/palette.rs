//! Keys of the palette, and what its items do.

use kiln_protocol::Level;

use crate::action::{Action, Context};
use crate::keys::Key;
use crate::model::palette::{Goal, Palette};
use crate::model::{Model, Overlay, Screen};
use crate::msg::Effect;
use crate::update::mouse::press;
use crate::update::{engine, find};

pub fn open(m: &mut Model) {
    m.cover(Overlay::Palette(Box::new(Palette::new(m))));
}

/// A key while the palette is open: what types a character is typed, all else has a meaning of its own.
pub fn key(m: &mut Model, key: Key, effects: &mut Vec<Effect>) {
    use crossterm::event::KeyCode;
    let meaning = m.keymap.lookup(&[Context::Palette], key, m.facts());
    let Some(Overlay::Palette(palette)) = &mut m.overlay else { return };
    if key.code == KeyCode::Backspace && palette.query().is_empty() {
        return m.uncover();
    }
    // What types a character is typed; of other keys the keymap has the first word.
    if (key.typed().is_some() || meaning.is_none()) && palette.edit(|query| query.key(key)) {
        return;
    }
    match meaning {
        Some(Action::PaletteUp) => step(m, -1),
        Some(Action::PaletteDown) => step(m, 1),
        Some(Action::PaletteGo) => go(m, effects),
        Some(Action::ClosePalette) => m.uncover(),
        _ => {}
    }
}

/// Pastes into what is typed.
pub fn paste(m: &mut Model, text: &str) {
    if let Some(Overlay::Palette(palette)) = &mut m.overlay {
        palette.edit(|query| query.insert(text));
    }
}

/// Moves the selection, round the ends: the last line is as near as the second.
pub fn step(m: &mut Model, by: isize) {
    let Some(Overlay::Palette(palette)) = &mut m.overlay else { return };
    let len = palette.found().len() as isize;
    if len > 0 {
        palette.list.selected = (palette.list.selected as isize + by).rem_euclid(len) as usize;
    }
}

/// Does what the selected item stands for.
pub fn go(m: &mut Model, effects: &mut Vec<Effect>) {
    let Some(Overlay::Palette(palette)) = &m.overlay else { return };
    let Some(goal) = palette.selected().map(|item| item.goal.clone()) else { return };
    // What changes nothing on the screen leads back to what the palette was opened over, such as the tour.
    let stays = match &goal {
        Goal::Theme(_) => true,
        Goal::Act(action) => action.contexts() == [Context::Global],
        _ => false,
    };
    if stays {
        m.uncover();
    } else {
        m.overlay = None;
    }
    match goal {
        Goal::Act(action) => press(m, action, effects),
        Goal::InList(action) => {
            to_list(m, effects);
            press(m, action, effects);
        }
        Goal::Elsewhere(action) => {
            let place = action.contexts().first().map_or("another place", |c| c.title()).to_lowercase();
            let text =
                format!("Its place is “{place}”, where `{}` does it: {}.", m.keymap.first_key(action), action.help());
            m.note(Level::Info, text);
        }
        Goal::Theme(name) => effects.push(Effect::UseTheme(name)),
        Goal::Run(id) => engine::open(m, id, effects),
        Goal::Preset(name) => {
            m.launcher.form = None;
            m.launcher.select(&name);
            m.screen = Screen::Launcher;
        }
        Goal::View(name) => {
            to_list(m, effects);
            find::apply(m, &name);
        }
        Goal::Tab(tab) => {
            if let Some(detail) = &mut m.detail {
                (detail.tab, detail.steered, detail.inspect) = (tab, true, None);
            }
        }
    }
}

/// Leaves the open run for the list.
fn to_list(m: &mut Model, effects: &mut Vec<Effect>) {
    if m.screen == Screen::Detail {
        engine::close(m, effects);
    }
    m.screen = Screen::Runs;
}
