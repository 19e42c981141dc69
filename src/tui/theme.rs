//! Themes: what each part of the screen looks like, by role. Widgets name roles, never colours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_protocol::spec::problem::nearest;
use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;
use toml::{Spanned, Value};

use crate::colour::{self, Depth, Ink};
use crate::mistake::Mistake;

macro_rules! roles {
    ($($name:ident $id:literal $fallback:ident;)*) => {
        /// What a style is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Role { $($name),* }

        impl Role {
            pub const ALL: &'static [Role] = &[$(Role::$name),*];

            /// Name in theme files.
            pub fn id(self) -> &'static str {
                match self { $(Role::$name => $id),* }
            }

            /// The more general role that stands in for this one. `Text` stands for itself.
            pub fn fallback(self) -> Role {
                match self { $(Role::$name => Role::$fallback),* }
            }
        }
    };
}

roles! {
    Text "text" Text;
    Dim "dim" Text;
    Faint "faint" Dim;
    Grid "grid" Faint;
    Rule "rule" Grid;
    Accent "accent" Text;
    Title "title" Text;
    Figure "figure" Accent;
    Key "key" Accent;
    Selection "selection" Text;
    Good "good" Text;
    Warn "warn" Text;
    Bad "bad" Text;
    Info "info" Text;
    Queued "queued" Dim;
    Starting "starting" Info;
    Running "running" Accent;
    Paused "paused" Warn;
    Stopping "stopping" Warn;
    Stopped "stopped" Dim;
    Completed "completed" Good;
    Failed "failed" Bad;
    Bar "bar" Accent;
    BarTrack "bar-track" Grid;
    Cursor "cursor" Key;
    Match "match" Warn;
    Series1 "series-1" Text;
    Series2 "series-2" Accent;
    Series3 "series-3" Good;
    Series4 "series-4" Warn;
    Series5 "series-5" Info;
    Series6 "series-6" Bad;
    Series7 "series-7" Key;
    Series8 "series-8" Dim;
    HeatLow "heat-low" Grid;
    HeatMiddle "heat-middle" Dim;
    HeatHigh "heat-high" Accent;
}

/// The role of the `i`-th series or cluster; repeats after eight.
pub fn series(i: usize) -> Role {
    const SERIES: [Role; 8] = [
        Role::Series1,
        Role::Series2,
        Role::Series3,
        Role::Series4,
        Role::Series5,
        Role::Series6,
        Role::Series7,
        Role::Series8,
    ];
    SERIES[i % SERIES.len()]
}

/// How a role is drawn, before it is fitted to the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Entry {
    fg: Option<Ink>,
    bg: Option<Ink>,
    modifier: Modifier,
}

/// A theme, fitted to what the terminal can show.
#[derive(Clone, Debug)]
pub struct Theme {
    pub name: String,
    pub depth: Depth,
    styles: BTreeMap<Role, Style>,
    heat: [Color; 3],
}

/// The themes inside the binary: name and text.
pub const SHIPPED: [(&str, &str); 6] = [
    ("dark", include_str!("../../themes/dark.toml")),
    ("light", include_str!("../../themes/light.toml")),
    ("contrast", include_str!("../../themes/contrast.toml")),
    ("contrast-light", include_str!("../../themes/contrast-light.toml")),
    ("colour-blind", include_str!("../../themes/colour-blind.toml")),
    ("terminal", include_str!("../../themes/terminal.toml")),
];

impl Theme {
    /// The style of a role, ready for the terminal.
    pub fn style(&self, role: Role) -> Style {
        let mut role = role;
        loop {
            match self.styles.get(&role) {
                Some(style) => return *style,
                None if role.fallback() == role => return Style::default(),
                None => role = role.fallback(),
            }
        }
    }

    /// Foreground colour of a role; the terminal's own if the role has none.
    pub fn colour(&self, role: Role) -> Color {
        self.style(role).fg.unwrap_or(Color::Reset)
    }

    /// Colour of a heat map at `t` from 0 to 1; `None` where the terminal has too few colours.
    pub fn heat(&self, t: f64) -> Option<Color> {
        let [low, middle, high] = self.heat;
        let mixed = if t < 0.5 { colour::mix(low, middle, t * 2.0) } else { colour::mix(middle, high, t * 2.0 - 1.0) };
        match self.depth {
            Depth::True => Some(mixed),
            Depth::Ansi256 => Ink { full: mixed, ansi: None }.fit(Depth::Ansi256),
            _ => None,
        }
    }

    /// Whether the theme is for a bright background: the low end of heat maps is what fades into it.
    pub fn is_light(&self) -> bool {
        let (r, g, b) = colour::rgb(self.heat[0]);
        colour::brightness([r, g, b]) > 0.5
    }

    /// Finds, reads and fits a theme. Never fails: what cannot be read is taken from what the theme inherits, and the mistakes
    /// say so.
    pub fn load(wanted: &str, dirs: &[PathBuf], depth: Depth) -> (Theme, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let mut seen = Vec::new();
        let (name, entries) = read(wanted, dirs, &mut seen, &mut mistakes);
        (Theme::fitted(name, &entries, depth), mistakes)
    }

    fn fitted(name: String, entries: &BTreeMap<Role, Entry>, depth: Depth) -> Theme {
        let fit = |entry: &Entry| {
            let mut style = Style::default().add_modifier(entry.modifier);
            if let Some(fg) = entry.fg.and_then(|ink| ink.fit(depth)) {
                style = style.fg(fg);
            }
            match entry.bg.and_then(|ink| ink.fit(depth)) {
                // Few colours: a background of another grey is invisible or unreadable, reversal never is.
                Some(_) if depth < Depth::Ansi256 => style = style.add_modifier(Modifier::REVERSED),
                Some(bg) => style = style.bg(bg),
                None if entry.bg.is_some() => style = style.add_modifier(Modifier::REVERSED),
                None => {}
            }
            style
        };
        let full = |role: Role| {
            let mut role = role;
            loop {
                match entries.get(&role).and_then(|e| e.fg) {
                    Some(ink) => return ink.full,
                    None if role.fallback() == role => return Color::Gray,
                    None => role = role.fallback(),
                }
            }
        };
        Theme {
            name,
            depth,
            heat: [full(Role::HeatLow), full(Role::HeatMiddle), full(Role::HeatHigh)],
            styles: entries.iter().map(|(role, entry)| (*role, fit(entry))).collect(),
        }
    }
}

/// The theme that the environment asks for: `KILN_THEME`, else by the background in `COLORFGBG`, else dark.
pub fn from_environment(var: impl Fn(&str) -> Option<String>) -> String {
    if let Some(name) = var("KILN_THEME").filter(|n| !n.is_empty()) {
        return name;
    }
    let background = var("COLORFGBG").and_then(|v| v.rsplit(';').next().and_then(|n| n.parse::<u8>().ok()));
    if matches!(background, Some(7 | 9..=15)) { "light".into() } else { "dark".into() }
}

#[derive(Deserialize)]
struct File {
    name: Option<String>,
    inherits: Option<Spanned<String>>,
    #[serde(default)]
    palette: BTreeMap<String, Spanned<Value>>,
    #[serde(default)]
    roles: BTreeMap<String, Spanned<Value>>,
}

/// Where a theme of this name lies: its text, and the name to report mistakes under.
fn find(wanted: &str, dirs: &[PathBuf]) -> Result<(String, String), String> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map(|text| (path.display().to_string(), text))
            .map_err(|e| format!("cannot read the theme {}: {e}", path.display()))
    };
    if wanted.contains('/') || wanted.ends_with(".toml") {
        return read(Path::new(wanted));
    }
    for dir in dirs {
        let path = dir.join(format!("{wanted}.toml"));
        if path.is_file() {
            return read(&path);
        }
    }
    match SHIPPED.iter().find(|s| s.0 == wanted) {
        Some((name, text)) => Ok((format!("{name}.toml"), (*text).to_owned())),
        None => {
            let names = SHIPPED.map(|s| s.0);
            let near = nearest(wanted, names).map(|near| format!("did you mean `{near}`?"));
            let hint = near.unwrap_or_else(|| format!("shipped are {}", names.join(", ")));
            Err(format!("there is no theme `{wanted}`; {hint}"))
        }
    }
}

/// What mistakes call a theme's file.
fn told(file: &str) -> String {
    format!("theme {file}")
}

fn read(
    wanted: &str,
    dirs: &[PathBuf],
    seen: &mut Vec<String>,
    mistakes: &mut Vec<Mistake>,
) -> (String, BTreeMap<Role, Entry>) {
    seen.push(wanted.to_owned());
    match find(wanted, dirs) {
        Ok((file, text)) => parse(&file, &text, dirs, seen, mistakes),
        Err(message) => {
            mistakes.push(Mistake { file: told(wanted), line: 1, message });
            fallback(mistakes)
        }
    }
}

/// The shipped dark theme, on which everything rests.
fn fallback(mistakes: &mut Vec<Mistake>) -> (String, BTreeMap<Role, Entry>) {
    parse("dark.toml", SHIPPED[0].1, &[], &mut vec!["dark".into()], mistakes)
}

fn parse(
    file: &str,
    text: &str,
    dirs: &[PathBuf],
    seen: &mut Vec<String>,
    mistakes: &mut Vec<Mistake>,
) -> (String, BTreeMap<Role, Entry>) {
    let mut wrong = |at: usize, message: String| mistakes.push(Mistake::at(&told(file), text, at, message));
    let parsed: File = match toml::from_str(text) {
        Ok(parsed) => parsed,
        Err(e) => {
            wrong(e.span().map_or(0, |s| s.start), e.message().to_owned());
            return fallback(mistakes);
        }
    };
    let keys = toml::de::DeTable::parse(text).map(toml::Spanned::into_inner).unwrap_or_default();
    for key in keys.keys().filter(|k| !["name", "inherits", "palette", "roles"].contains(&k.get_ref().as_ref())) {
        let message = format!("unknown key `{}`; expected name, inherits, palette or roles", key.get_ref());
        wrong(key.span().start, message);
    }
    let mut palette = BTreeMap::new();
    for (name, value) in &parsed.palette {
        match ink(value.get_ref(), &BTreeMap::new()) {
            Ok(found) => {
                palette.insert(name.clone(), found);
            }
            Err(message) => wrong(value.span().start, format!("palette `{name}`: {message}")),
        }
    }
    let mut own = BTreeMap::new();
    for (id, value) in &parsed.roles {
        match Role::ALL.iter().find(|r| r.id() == id) {
            None => wrong(value.span().start, format!("there is no role `{id}`{}", meant(id))),
            Some(role) => match entry(value.get_ref(), &palette) {
                Ok(found) => {
                    own.insert(*role, found);
                }
                Err(message) => wrong(value.span().start, format!("role `{id}`: {message}")),
            },
        }
    }
    let name = parsed.name.unwrap_or_else(|| file.to_owned());
    let mut entries = match parsed.inherits {
        Some(parent) if seen.contains(parent.get_ref()) => {
            wrong(parent.span().start, format!("`{}` inherits from itself", parent.get_ref()));
            BTreeMap::new()
        }
        Some(parent) => read(parent.get_ref(), dirs, seen, mistakes).1,
        None => BTreeMap::new(),
    };
    entries.extend(own);
    (name, entries)
}

/// A hint at the role that was probably meant.
fn meant(id: &str) -> String {
    let near = nearest(id, Role::ALL.iter().map(|role| role.id()));
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

fn ink(value: &Value, palette: &BTreeMap<String, Ink>) -> Result<Ink, String> {
    let one = |text: &str| {
        colour::parse(text).ok_or_else(|| {
            format!("`{text}` is no colour; expected \"#rrggbb\", a name such as \"light-blue\", or \"0\" to \"255\"")
        })
    };
    match value {
        Value::String(name) if palette.contains_key(name) => Ok(palette[name]),
        Value::String(text) => Ok(Ink { full: one(text)?, ansi: None }),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(full), Value::String(ansi)] => Ok(Ink { full: one(full)?, ansi: Some(one(ansi)?) }),
            _ => Err("expected two colours: one for many colours, one for 16".into()),
        },
        other => Err(format!("expected a colour, found {}", other.type_str())),
    }
}

fn entry(value: &Value, palette: &BTreeMap<String, Ink>) -> Result<Entry, String> {
    let Value::Table(table) = value else {
        return Ok(Entry { fg: Some(ink(value, palette)?), ..Entry::default() });
    };
    let mut entry = Entry::default();
    for (key, value) in table {
        let flag = match key.as_str() {
            "fg" => {
                entry.fg = Some(ink(value, palette)?);
                continue;
            }
            "bg" => {
                entry.bg = Some(ink(value, palette)?);
                continue;
            }
            "bold" => Modifier::BOLD,
            "dim" => Modifier::DIM,
            "italic" => Modifier::ITALIC,
            "underline" => Modifier::UNDERLINED,
            "reverse" => Modifier::REVERSED,
            _ => return Err(format!("unknown `{key}`; expected fg, bg, bold, dim, italic, underline or reverse")),
        };
        match value {
            Value::Boolean(true) => entry.modifier |= flag,
            Value::Boolean(false) => {}
            other => return Err(format!("`{key}` is true or false, found {}", other.type_str())),
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Theme, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let (name, entries) = parse("own.toml", text, &[], &mut vec!["own".into()], &mut mistakes);
        (Theme::fitted(name, &entries, Depth::True), mistakes)
    }

    #[test]
    fn shipped_themes_have_no_mistakes_and_name_every_series() {
        for (name, _) in SHIPPED {
            for depth in [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True] {
                let (theme, mistakes) = Theme::load(name, &[], depth);
                assert_eq!(mistakes, []);
                assert_eq!(theme.name, name);
                let colours: std::collections::HashSet<_> = (0..8).map(|i| theme.style(series(i)).fg).collect();
                assert_eq!(colours.len(), if depth == Depth::None { 1 } else { 8 }, "{name} {depth:?}");
            }
        }
    }

    /// A channel of a colour, as light.
    fn linear(colour: Color) -> [f64; 3] {
        let (r, g, b) = colour::rgb(colour);
        [r, g, b].map(|v| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn times(matrix: [[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum())
    }

    /// Contrast as WCAG 2 measures it, from 1 to 21.
    fn contrast(a: Color, b: Color) -> f64 {
        let light = |c| times([[0.2126, 0.7152, 0.0722]; 3], linear(c))[0] + 0.05;
        let (a, b) = (light(a), light(b));
        a.max(b) / a.min(b)
    }

    #[test]
    fn words_of_every_theme_can_be_read() {
        let words = [
            Role::Dim,
            Role::Faint,
            Role::Accent,
            Role::Title,
            Role::Figure,
            Role::Key,
            Role::Good,
            Role::Warn,
            Role::Bad,
            Role::Info,
            Role::Running,
            Role::Queued,
        ];
        for (name, _) in SHIPPED.iter().filter(|s| s.0 != "terminal") {
            let theme = Theme::load(name, &[], Depth::True).0;
            let background = if theme.is_light() { Color::Rgb(255, 255, 255) } else { Color::Rgb(0, 0, 0) };
            for role in words.into_iter().chain((0..8).map(series)) {
                // What is faint in the ordinary themes is meant to be overlooked; nothing is where contrast was asked for.
                let least = if name.starts_with("contrast") {
                    7.0
                } else if role == Role::Faint {
                    3.0
                } else {
                    4.0
                };
                let Some(colour) = theme.style(role).fg.filter(|c| *c != Color::Reset) else { continue };
                let found = contrast(colour, background);
                assert!(found >= least, "{name}: {role:?} {found:.1}");
            }
        }
    }

    /// What is left of a colour to eyes without one kind of cone: Machado, Oliveira, Fernandes (2009), severity 1.
    const BLIND: [(&str, f64, [[f64; 3]; 3]); 4] = [
        ("all cones", 0.15, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "no red",
            0.08,
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        ),
        (
            "no green",
            0.08,
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        ),
        // Very rare, and the dimension with least room.
        (
            "no blue",
            0.05,
            [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
        ),
    ];

    /// Oklab, in which distances are as eyes see them.
    fn oklab(rgb: [f64; 3]) -> [f64; 3] {
        let cones = times(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ],
            rgb.map(|v| v.clamp(0.0, 1.0)),
        );
        times(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ],
            cones.map(f64::cbrt),
        )
    }

    #[test]
    fn series_of_the_colour_blind_theme_differ_to_all_eyes() {
        let nearest = |name: &str, matrix| {
            let theme = Theme::load(name, &[], Depth::True).0;
            let seen: Vec<[f64; 3]> = (0..8).map(|i| oklab(times(matrix, linear(theme.colour(series(i)))))).collect();
            let apart = |a: &[f64; 3], b: &[f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            let pairs = (0..8).flat_map(|i| (0..i).map(move |j| (i, j)));
            pairs.map(|(i, j)| apart(&seen[i], &seen[j])).fold(f64::INFINITY, f64::min)
        };
        for (eyes, least, matrix) in BLIND {
            let found = nearest("colour-blind", matrix);
            assert!(found >= least, "{eyes}: {found:.3}");
        }
        assert!(nearest("dark", BLIND[2].2) < 0.03, "which the dark theme's do not: this measure tells them apart");
    }

    #[test]
    fn mistakes_name_their_line_and_cost_only_their_entry() {
        let (theme, mistakes) = read_text(
            "inherits = \"dark\"\ncolour = 1\n[palette]\nrust = \"#zz0000\"\nsea = \"#001122\"\n[roles]\naccent = \"rust\"\ngood = \"sea\"\nseries-9 = \"red\"\nbad = { fg = \"sea\", bald = true }\n",
        );
        let lines: Vec<_> = mistakes.iter().map(|m| (m.line, m.message.as_str())).collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(lines[0], (2, "unknown key `colour`; expected name, inherits, palette or roles"));
        assert!(lines[1].0 == 4 && lines[1].1.starts_with("palette `rust`: `#zz0000` is no colour"), "{lines:?}");
        assert!(lines.iter().any(|l| l.0 == 7 && l.1.starts_with("role `accent`: `rust` is no colour")), "{lines:?}");
        assert!(lines.contains(&(9, "there is no role `series-9`; did you mean `series-1`?")), "{lines:?}");
        assert!(lines.iter().any(|l| l.0 == 10 && l.1.contains("unknown `bald`")), "{lines:?}");
        let dark = Theme::load("dark", &[], Depth::True).0;
        assert_eq!(theme.colour(Role::Good), Color::Rgb(0, 0x11, 0x22));
        assert_eq!(theme.style(Role::Accent), dark.style(Role::Accent));
        assert_eq!(theme.style(Role::Bad), dark.style(Role::Bad));
    }

    #[test]
    fn a_file_that_is_no_toml_falls_back_whole() {
        let (theme, mistakes) = read_text("[roles]\naccent = \n");
        assert_eq!(mistakes.len(), 1);
        assert_eq!(mistakes[0].line, 2);
        assert_eq!(theme.name, "dark");
        assert!(mistakes[0].to_string().starts_with("theme own.toml, line 2: "));
    }

    #[test]
    fn circles_and_missing_parents_are_named() {
        let (_, mistakes) = read_text("inherits = \"own\"\n");
        assert_eq!(mistakes[0].message, "`own` inherits from itself");
        let (theme, mistakes) = read_text("inherits = \"nowhere\"\n");
        assert!(mistakes[0].message.contains("there is no theme `nowhere`"));
        assert_eq!(theme.colour(Role::Accent), Theme::load("dark", &[], Depth::True).0.colour(Role::Accent));
    }

    #[test]
    fn a_missing_role_takes_its_fallback() {
        let (theme, mistakes) = read_text("[roles]\ndim = \"#010203\"\n");
        assert_eq!(mistakes, []);
        assert_eq!(theme.colour(Role::Rule), Color::Rgb(1, 2, 3));
        assert_eq!(theme.style(Role::Bad), Style::default());
    }

    #[test]
    fn without_colour_a_background_becomes_reversal() {
        let theme = Theme::load("dark", &[], Depth::None).0;
        assert!(theme.style(Role::Selection).add_modifier.contains(Modifier::REVERSED));
        for role in Role::ALL {
            let style = theme.style(*role);
            assert_eq!((style.fg, style.bg), (None, None), "{role:?}");
        }
    }

    #[test]
    fn role_names_are_unique_and_fallbacks_end() {
        let names: std::collections::HashSet<_> = Role::ALL.iter().map(|r| r.id()).collect();
        assert_eq!(names.len(), Role::ALL.len());
        for role in Role::ALL {
            let mut at = *role;
            for _ in 0..Role::ALL.len() {
                at = at.fallback();
            }
            assert_eq!(at, Role::Text);
        }
    }

    #[test]
    fn the_environment_chooses() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned())
        };
        assert_eq!(from_environment(env(&[])), "dark");
        assert_eq!(from_environment(env(&[("COLORFGBG", "0;15")])), "light");
        assert_eq!(from_environment(env(&[("COLORFGBG", "15;default;0")])), "dark");
        assert_eq!(from_environment(env(&[("COLORFGBG", "0;15"), ("KILN_THEME", "mine")])), "mine");
    }
}
