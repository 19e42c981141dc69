//! How the client looks: theme and glyphs, chosen once from options and environment.

use std::path::PathBuf;

use ratatui::style::{Modifier, Style};

use crate::colour::{self, Depth};
use crate::glyphs::{ASCII, Glyphs, UNICODE, unicode_terminal};
use crate::mistake::Mistake;
use crate::options::{Colour, Options};
use crate::theme::{self, Role, Theme};

/// Theme and glyphs.
#[derive(Clone, Debug)]
pub struct Look {
    pub theme: Theme,
    pub glyphs: &'static Glyphs,
    /// The theme in use, as it was asked for.
    wanted: String,
    /// Folders in which themes are looked for by name.
    dirs: Vec<PathBuf>,
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
        let glyphs = if ascii { &ASCII } else { &UNICODE };
        (Look { theme, glyphs, wanted, dirs: theme_dirs.to_vec() }, mistakes)
    }

    /// A shipped theme at a depth, for tests and benches.
    pub fn plain(theme: &str, depth: Depth, ascii: bool) -> Look {
        let glyphs = if ascii { &ASCII } else { &UNICODE };
        Look { theme: Theme::load(theme, &[], depth).0, glyphs, wanted: theme.into(), dirs: Vec::new() }
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

    /// Names of all themes: the shipped ones, then those in the folders, by name.
    pub fn themes(&self) -> Vec<String> {
        let mut names: Vec<String> = theme::SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
        let files = self.dirs.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
        let own = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".toml")?.to_owned()));
        let mut own: Vec<String> = own.filter(|name| !names.contains(name)).collect();
        own.sort();
        own.dedup();
        names.extend(own);
        names
    }

    /// The name that follows the theme in use.
    pub fn next(&self) -> String {
        let names = self.themes();
        let at = names.iter().position(|name| *name == self.wanted).map_or(0, |at| at + 1);
        names.into_iter().cycle().nth(at).unwrap_or_default()
    }

    /// Uses another theme, and returns the mistakes of its file.
    pub fn dress(&mut self, name: &str) -> Vec<Mistake> {
        let (theme, mistakes) = Theme::load(name, &self.dirs, self.theme.depth);
        (self.theme, self.wanted) = (theme, name.to_owned());
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_themes_follow_the_shipped_ones() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("zebra", ""), ("amber", "inherits = \"light\"\n"), ("dark", "[roles]\ntext = \"nothing\"\n")]
        {
            std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
        }
        std::fs::write(dir.path().join("notes.txt"), "").unwrap();
        let dirs = [dir.path().to_owned()];
        let (mut look, mistakes) = Look::of(Some("light"), &dirs, Colour::True, Some(true), |_| None);
        assert_eq!(mistakes, []);
        let shipped = theme::SHIPPED.len();
        let names = look.themes();
        assert_eq!(names[shipped..], ["amber", "zebra"]);
        let mut seen = vec!["light".to_owned()];
        for _ in 1..names.len() {
            let next = look.next();
            look.dress(&next);
            seen.push(next);
        }
        assert_eq!(look.next(), "light", "once round: {seen:?}");
        seen.sort();
        let mut all = names;
        all.sort();
        assert_eq!(seen, all);
        assert_eq!(look.dress("dark").len(), 1, "a theme of one's own comes before the shipped one");
        assert_eq!(look.dress("nowhere").len(), 1);
        assert_eq!(look.next(), "dark", "after what does not exist the first one follows");
    }
}
