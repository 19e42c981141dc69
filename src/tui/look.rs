//! How the client looks: theme and glyphs, chosen once from options and environment.

use std::path::PathBuf;

use ratatui::style::{Modifier, Style};

use crate::colour::{self, Depth};
use crate::glyphs::{ASCII, Glyphs, UNICODE, unicode_terminal};
use crate::options::{Colour, Options};
use crate::theme::{self, Mistake, Role, Theme};

/// Theme and glyphs.
#[derive(Clone, Debug)]
pub struct Look {
    pub theme: Theme,
    pub glyphs: &'static Glyphs,
}

impl Look {
    /// What the options ask for, and the mistakes found in the theme file.
    pub fn new(options: &Options, var: impl Fn(&str) -> Option<String>) -> (Look, Vec<Mistake>) {
        Look::of(options.theme.as_deref(), &options.theme_dirs, options.colour, options.ascii, var)
    }

    /// As [`Look::new`], for who has no such options: see [`Options`] for what each of them means.
    pub fn of(
        theme: Option<&str>,
        theme_dirs: &[PathBuf],
        colour: Colour,
        ascii: Option<bool>,
        var: impl Fn(&str) -> Option<String>,
    ) -> (Look, Vec<Mistake>) {
        let wanted = theme.map_or_else(|| theme::from_environment(&var), str::to_owned);
        let (theme, mistakes) = Theme::load(&wanted, theme_dirs, colour::depth(colour, &var));
        let ascii = ascii.unwrap_or_else(|| !unicode_terminal(&var));
        (Look { theme, glyphs: if ascii { &ASCII } else { &UNICODE } }, mistakes)
    }

    /// A shipped theme at a depth, for tests and benches.
    pub fn plain(theme: &str, depth: Depth, ascii: bool) -> Look {
        Look { theme: Theme::load(theme, &[], depth).0, glyphs: if ascii { &ASCII } else { &UNICODE } }
    }

    pub fn style(&self, role: Role) -> Style {
        self.theme.style(role)
    }

    /// A role half gone into the background: bands behind lines.
    pub fn faded(&self, role: Role) -> Style {
        let style = self.style(role);
        match (style.fg, self.theme.depth) {
            (Some(colour), Depth::True) => style.fg(colour::mix(colour, self.theme.colour(Role::Grid), 0.55)),
            _ => style.add_modifier(Modifier::DIM),
        }
    }

    /// The other shipped theme: dark if this one is light, else light.
    pub fn switch(&mut self) {
        let other = if self.theme.name == "light" { "dark" } else { "light" };
        self.theme = Theme::load(other, &[], self.theme.depth).0;
    }
}
