//! Colours: how many the terminal has, reading them, and fitting them to what there is.

use ratatui::style::Color;

use crate::options::Colour;

/// How many colours the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    None,
    Ansi16,
    Ansi256,
    True,
}

/// The depth that was asked for, or what the environment says.
pub fn depth(choice: Colour, var: impl Fn(&str) -> Option<String>) -> Depth {
    match choice {
        Colour::None => Depth::None,
        Colour::Ansi16 => Depth::Ansi16,
        Colour::Ansi256 => Depth::Ansi256,
        Colour::True => Depth::True,
        Colour::Auto => {
            let get = |name: &str| var(name).unwrap_or_default();
            let (term, extra, program) = (get("TERM"), get("COLORTERM"), get("TERM_PROGRAM"));
            // SSH passes TERM on and nothing else: what it says by itself counts.
            let bare = term.strip_prefix("xterm-").unwrap_or(&term);
            let able = ["kitty", "alacritty", "ghostty", "foot", "wezterm", "contour", "rio"];
            let able = able
                .iter()
                .any(|name| bare.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')));
            if !get("NO_COLOR").is_empty() || term == "dumb" || term.is_empty() || term.starts_with("vt1") {
                Depth::None
            } else if term.starts_with("screen") && get("TMUX").is_empty() {
                // GNU screen, whatever the terminal around it had said.
                if term.contains("256color") { Depth::Ansi256 } else { Depth::Ansi16 }
            } else if extra == "truecolor"
                || extra == "24bit"
                || term.ends_with("-direct")
                || able
                || ["iTerm.app", "WezTerm", "ghostty", "vscode"].contains(&program.as_str())
            {
                Depth::True
            } else if term.contains("256color") || program == "Apple_Terminal" {
                Depth::Ansi256
            } else {
                Depth::Ansi16
            }
        }
    }
}

/// A colour of a theme: as wished, and for terminals with 16 colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ink {
    pub full: Color,
    pub ansi: Option<Color>,
}

impl Ink {
    /// The colour to send to a terminal of this depth; `None` where it has none.
    pub fn fit(self, depth: Depth) -> Option<Color> {
        match (depth, self.full) {
            (Depth::None, _) => None,
            (Depth::Ansi256, Color::Rgb(r, g, b)) => Some(Color::Indexed(nearest_256(r, g, b))),
            (Depth::Ansi16, full) => Some(self.ansi.unwrap_or(match full {
                Color::Rgb(r, g, b) => nearest_16(r, g, b),
                Color::Indexed(i) if i >= 16 => {
                    let (r, g, b) = of_256(i);
                    nearest_16(r, g, b)
                }
                other => other,
            })),
            (_, full) => Some(full),
        }
    }
}

/// A pixel as a terminal of this depth shows it; `None` where it has too few colours for pictures.
pub fn pixel(rgb: [u8; 3], depth: Depth) -> Option<Color> {
    let [r, g, b] = rgb;
    match depth {
        Depth::True => Some(Color::Rgb(r, g, b)),
        Depth::Ansi256 => Some(Color::Indexed(nearest_256(r, g, b))),
        Depth::Ansi16 | Depth::None => None,
    }
}

/// The hue of a pixel for terminals with 16 colours, at full strength; the brightness has to be told otherwise. `None` for
/// greys.
pub fn hue(rgb: [u8; 3]) -> Option<Color> {
    let [lo, hi] = [rgb.into_iter().min().unwrap_or(0), rgb.into_iter().max().unwrap_or(0)];
    if i32::from(hi) - i32::from(lo) < 48 {
        return None;
    }
    let full = rgb.map(|v| (u32::from(v - lo) * 255 / u32::from(hi - lo)) as u8);
    Some(match full.map(|v| v >= 128) {
        [true, false, false] => Color::LightRed,
        [false, true, false] => Color::LightGreen,
        [false, false, true] => Color::LightBlue,
        [true, true, false] => Color::LightYellow,
        [true, false, true] => Color::LightMagenta,
        _ => Color::LightCyan,
    })
}

/// How bright a colour is to the eye, 0 to 1.
pub fn brightness([r, g, b]: [u8; 3]) -> f64 {
    (0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b)) / 255.0
}

/// Reads `"#rrggbb"`, a name such as `"light-blue"`, `"default"`, or a number from 0 to 255.
pub fn parse(text: &str) -> Option<Color> {
    if let Some(hex) = text.strip_prefix('#') {
        let value = u32::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 6)?;
        return Some(Color::Rgb((value >> 16) as u8, (value >> 8) as u8, value as u8));
    }
    if let Ok(index) = text.parse::<u8>() {
        return Some(Color::Indexed(index));
    }
    Some(match text {
        "default" => Color::Reset,
        "black" => Color::Black,
        "red" => Color::Red,
        "green" => Color::Green,
        "yellow" => Color::Yellow,
        "blue" => Color::Blue,
        "magenta" => Color::Magenta,
        "cyan" => Color::Cyan,
        "gray" => Color::Gray,
        "dark-gray" => Color::DarkGray,
        "light-red" => Color::LightRed,
        "light-green" => Color::LightGreen,
        "light-yellow" => Color::LightYellow,
        "light-blue" => Color::LightBlue,
        "light-magenta" => Color::LightMagenta,
        "light-cyan" => Color::LightCyan,
        "white" => Color::White,
        _ => return None,
    })
}

/// Red, green and blue of a true colour; of others, roughly what terminals show.
pub fn rgb(colour: Color) -> (u8, u8, u8) {
    match colour {
        Color::Rgb(r, g, b) => (r, g, b),
        Color::Indexed(i) => of_256(i),
        other => ANSI.iter().find(|a| a.0 == other).map_or((128, 128, 128), |a| a.1),
    }
}

/// A point on the way from `a` to `b`; `t` from 0 to 1.
pub fn mix(a: Color, b: Color, t: f64) -> Color {
    let (a, b) = (rgb(a), rgb(b));
    let part = |x: u8, y: u8| (f64::from(x) + (f64::from(y) - f64::from(x)) * t.clamp(0.0, 1.0)).round() as u8;
    Color::Rgb(part(a.0, b.0), part(a.1, b.1), part(a.2, b.2))
}

/// The usual values of the 16 colours; every terminal has its own.
const ANSI: [(Color, (u8, u8, u8)); 16] = [
    (Color::Black, (0, 0, 0)),
    (Color::Red, (170, 0, 0)),
    (Color::Green, (0, 170, 0)),
    (Color::Yellow, (170, 130, 0)),
    (Color::Blue, (0, 0, 170)),
    (Color::Magenta, (170, 0, 170)),
    (Color::Cyan, (0, 170, 170)),
    (Color::Gray, (190, 190, 190)),
    (Color::DarkGray, (100, 100, 100)),
    (Color::LightRed, (255, 85, 85)),
    (Color::LightGreen, (85, 255, 85)),
    (Color::LightYellow, (255, 255, 85)),
    (Color::LightBlue, (85, 130, 255)),
    (Color::LightMagenta, (255, 85, 255)),
    (Color::LightCyan, (85, 255, 255)),
    (Color::White, (255, 255, 255)),
];

/// Levels of the 6x6x6 cube.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

fn distance(a: (u8, u8, u8), b: (u8, u8, u8)) -> u32 {
    // Weighted by how well eyes tell the channels apart.
    let d = |x: u8, y: u8| (i32::from(x) - i32::from(y)).unsigned_abs().pow(2);
    2 * d(a.0, b.0) + 4 * d(a.1, b.1) + 3 * d(a.2, b.2)
}

fn of_256(index: u8) -> (u8, u8, u8) {
    match index {
        0..16 => ANSI[usize::from(index)].1,
        16..232 => {
            let i = usize::from(index - 16);
            (LEVELS[i / 36], LEVELS[i / 6 % 6], LEVELS[i % 6])
        }
        _ => {
            let v = 8 + 10 * (index - 232);
            (v, v, v)
        }
    }
}

/// Nearest of the 240 fixed colours (the first 16 differ between terminals). Pictures ask for thousands a frame: the
/// distance is a sum over channels, so the nearest of the cube is that of each channel, and the nearest grey that of the
/// weighted mean.
fn nearest_256(r: u8, g: u8, b: u8) -> u8 {
    let level = |v: u8| LEVELS.iter().enumerate().min_by_key(|(_, l)| l.abs_diff(v)).map_or(0, |(i, _)| i as u8);
    let cube = 16 + 36 * level(r) + 6 * level(g) + level(b);
    let mean = (2 * i32::from(r) + 4 * i32::from(g) + 3 * i32::from(b) + 4) / 9;
    let step = ((mean - 8 + 5).div_euclid(10)).clamp(0, 23);
    // Rounding may miss by a step.
    let greys = [step - 1, step, step + 1].into_iter().map(|s| 232 + s.clamp(0, 23) as u8);
    greys.fold(cube, |best, grey| {
        let nearer = distance(of_256(grey), (r, g, b)) < distance(of_256(best), (r, g, b));
        if nearer { grey } else { best }
    })
}

fn nearest_16(r: u8, g: u8, b: u8) -> Color {
    ANSI.iter().min_by_key(|a| distance(a.1, (r, g, b))).map_or(Color::Reset, |a| a.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned())
    }

    #[test]
    fn depth_comes_from_the_flag_then_the_environment() {
        let xterm = &[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];
        assert_eq!(depth(Colour::Auto, env(xterm)), Depth::True);
        assert_eq!(depth(Colour::Ansi16, env(xterm)), Depth::Ansi16);
        assert_eq!(depth(Colour::Auto, env(&[("TERM", "tmux-256color")])), Depth::Ansi256);
        assert_eq!(depth(Colour::Auto, env(&[("TERM", "xterm")])), Depth::Ansi16);
        assert_eq!(depth(Colour::Auto, env(&[("TERM", "xterm-kitty")])), Depth::True, "over SSH, without COLORTERM");
        assert_eq!(depth(Colour::Auto, env(&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")])), Depth::True);
        let screen = &[("TERM", "screen-256color"), ("COLORTERM", "truecolor")];
        assert_eq!(depth(Colour::Auto, env(screen)), Depth::Ansi256, "what GNU screen was started in does not count");
        let tmux = &[("TERM", "screen-256color"), ("COLORTERM", "truecolor"), ("TMUX", "/tmp/tmux-0/default,1,0")];
        assert_eq!(depth(Colour::Auto, env(tmux)), Depth::True);
        assert_eq!(depth(Colour::Auto, env(&[("TERM", "dumb"), ("COLORTERM", "truecolor")])), Depth::None);
        assert_eq!(depth(Colour::Auto, env(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")])), Depth::None);
        assert_eq!(depth(Colour::Auto, env(&[("TERM", "xterm-256color"), ("NO_COLOR", "")])), Depth::Ansi256);
    }

    #[test]
    fn colours_fit_what_the_terminal_has() {
        let ink = Ink { full: Color::Rgb(255, 0, 0), ansi: Some(Color::LightRed) };
        assert_eq!(ink.fit(Depth::True), Some(Color::Rgb(255, 0, 0)));
        assert_eq!(ink.fit(Depth::Ansi256), Some(Color::Indexed(196)));
        assert_eq!(ink.fit(Depth::Ansi16), Some(Color::LightRed));
        assert_eq!(ink.fit(Depth::None), None);
        let plain = Ink { full: Color::Rgb(0, 160, 10), ansi: None };
        assert_eq!(plain.fit(Depth::Ansi16), Some(Color::Green));
    }

    #[test]
    fn the_256_colours_map_to_themselves() {
        for i in 16..=255_u8 {
            let (r, g, b) = of_256(i);
            assert_eq!(of_256(nearest_256(r, g, b)), (r, g, b));
        }
    }

    #[test]
    fn the_nearest_of_256_is_no_farther_than_any_other() {
        for i in 0..30_000_u32 {
            let z = i.wrapping_mul(0x9e37_79b1);
            let (r, g, b) =
                if i < 256 { [i as u8; 3].into() } else { ((z >> 24) as u8, (z >> 16) as u8, (z >> 8) as u8) };
            let least = (16..=255).map(|i| distance(of_256(i), (r, g, b))).min().unwrap();
            assert_eq!(distance(of_256(nearest_256(r, g, b)), (r, g, b)), least, "{r} {g} {b}");
        }
    }

    #[test]
    fn bad_colours_are_refused() {
        for bad in ["#12345", "#gggggg", "#1234567", "256", "reddish", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("#0a0B0c"), Some(Color::Rgb(10, 11, 12)));
        assert_eq!(parse("light-blue"), Some(Color::LightBlue));
        assert_eq!(parse("200"), Some(Color::Indexed(200)));
    }

    #[test]
    fn mixing_keeps_its_ends() {
        let (a, b) = (Color::Rgb(0, 10, 20), Color::Rgb(100, 110, 120));
        assert_eq!(mix(a, b, 0.0), a);
        assert_eq!(mix(a, b, 1.0), b);
        assert_eq!(mix(a, b, 0.5), Color::Rgb(50, 60, 70));
        assert_eq!(mix(a, b, f64::NAN), Color::Rgb(0, 0, 0));
    }
}
