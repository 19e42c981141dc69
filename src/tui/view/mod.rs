//! Drawing. Nothing in here changes anything.
//!
//! - [`bars`]: header, status bar, messages
//! - [`runs`], [`launcher`] with its [`form`], [`detail`], [`system`]: the screens
//! - [`compare`], [`overlay_chart`]: runs side by side, and their curves over one another
//! - [`curves`], [`picture`], [`candidates`], [`matrix`], [`lines`], [`log`]: the tabs of a run
//! - [`inspect`]: the page of a candidate; [`jobs`]: those of an experiment
//! - [`blocks`], [`weights`], [`gauges`]: the map of blocks
//! - [`past`]: histograms over time
//! - [`histogram`], [`images`], [`detections`], [`layers`]: distributions, pictures, what was found in them, figures of layers
//! - [`palette`]: the palette, saved views, choice of columns
//! - [`overlay`]: help, choice of series, questions; [`knobs`]: live settings of a run
//! - [`paint`]: small things that all are drawn with

mod bars;
mod blocks;
mod candidates;
mod compare;
mod curves;
mod detail;
mod detections;
mod form;
mod gauges;
pub(crate) mod histogram;
pub(crate) mod images;
mod inspect;
mod jobs;
mod knobs;
mod launcher;
mod layers;
#[cfg(test)]
mod light_tests;
mod lines;
mod log;
mod matrix;
mod overlay;
pub(crate) mod overlay_chart;
pub mod paint;
mod palette;
mod past;
pub(crate) mod picture;
mod runs;
mod system;
#[cfg(test)]
pub(crate) mod tests;
mod weights;

use ratatui::buffer::Buffer;

use crate::look::Look;
use crate::model::{Model, Overlay, Screen};

pub use curves::chart;

/// Draws the whole screen into `buf`, which must be as large as the model thinks the terminal is.
pub fn view(buf: &mut Buffer, m: &Model, look: &Look) {
    if m.size.width == 0 || m.size.height == 0 {
        return;
    }
    bars::header(buf, m, look);
    match (m.screen, &m.detail) {
        (Screen::Detail, Some(detail)) => detail::draw(buf, m, detail, look),
        (Screen::Launcher, _) => launcher::draw(buf, m, look),
        (Screen::System, _) => system::draw(buf, m, look),
        (Screen::Compare, _) => compare::draw(buf, m, look),
        _ => runs::draw(buf, m, look),
    }
    bars::footer(buf, m, look);
    match (&m.overlay, &m.detail) {
        (Some(Overlay::Help(scroll)), _) => overlay::help(buf, m, *scroll, look),
        (Some(Overlay::Messages(scroll)), _) => overlay::messages(buf, m, *scroll, look),
        (Some(Overlay::Confirm(question)), _) => overlay::confirm(buf, m, question, look),
        (Some(Overlay::Retrain(question)), _) => overlay::retrain(buf, m, question, look),
        (Some(Overlay::Tour(page)), _) => overlay::tour(buf, m, *page, look),
        (Some(Overlay::Knobs(knobs)), _) => knobs::draw(buf, m, knobs, look),
        (Some(Overlay::Palette(palette)), _) => palette::draw(buf, m, palette, look),
        (Some(Overlay::Views(list)), _) => palette::views(buf, m, *list, look),
        (Some(Overlay::Columns(list)), _) => palette::columns(buf, m, *list, look),
        (Some(Overlay::Picker), Some(detail)) => overlay::picker(buf, m, detail, look),
        _ => {}
    }
    bars::messages(buf, m, look);
}
