//! The signs that screens are drawn with, in Unicode and in ASCII.

/// A sign, one cell wide; in ASCII, `enter` and `plus_minus` are wider.
type Sign = &'static str;

macro_rules! glyphs {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $unicode:expr, $ascii:expr;)*) => {
        /// A set of signs.
        #[derive(Debug, PartialEq)]
        pub struct Glyphs {
            /// Whether charts may use braille; else they are drawn with `'`, `.` and `:`.
            pub braille: bool,
            $($(#[$doc])* pub $name: $type,)*
        }

        pub static UNICODE: Glyphs = Glyphs { braille: true, $($name: $unicode,)* };

        pub static ASCII: Glyphs = Glyphs { braille: false, $($name: $ascii,)* };

        #[cfg(test)]
        impl Glyphs {
            fn all(&self) -> Vec<Sign> {
                use tests::Signs;
                [$(self.$name.signs(),)*].concat()
            }
        }
    };
}

// One sign a line: in Unicode, and in ASCII.
glyphs! {
    ellipsis: Sign = "…", "~";
    queued: Sign = "○", "o";
    starting: Sign = "◌", ":";
    running: Sign = "●", "*";
    paused: Sign = "‖", "=";
    stopping: Sign = "◍", "%";
    stopped: Sign = "■", "#";
    completed: Sign = "✓", "+";
    failed: Sign = "✗", "!";
    /// Full, half and empty part of a progress bar.
    bar: [Sign; 3] = ["━", "╸", "─"], ["#", "-", "."];
    /// Heights of bars in drawings, from a gap to full.
    heights: [Sign; 9] = ["·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"], [".", "_", "_", "-", "-", "=", "=", "#", "#"];
    /// Densities for heat maps without colour, from empty to full.
    shades: [Sign; 5] = [" ", "░", "▒", "▓", "█"], [" ", ".", "+", "x", "#"];
    marker: Sign = "▌", ">";
    ascending: Sign = "▴", "^";
    descending: Sign = "▾", "v";
    on: Sign = "■", "x";
    off: Sign = "□", ".";
    /// One a cluster or group.
    points: [Sign; 8] = ["●", "▲", "■", "◆", "▼", "○", "△", "□"], ["o", "^", "s", "d", "v", "c", "t", "q"];
    /// Names of the axes of pictures: across and up.
    axes: [Sign; 2] = ["→", "↑"], [">", "^"];
    /// A place of an axis worth a line.
    mark: Sign = "╎", "!";
    /// An error bar.
    bar_upright: Sign = "│", "|";
    plus_minus: Sign = "±", "+-";
    /// A measured point on a line.
    spot: Sign = "•", "o";
    centroid: Sign = "✚", "+";
    winner: Sign = "★", "*";
    /// Around a winner in a scatter plot.
    ring: [Sign; 2] = ["(", ")"], ["(", ")"];
    line: Sign = "━", "-";
    grid: Sign = "┈", ".";
    cursor: Sign = "│", "|";
    scrollbar: Sign = "┃", "|";
    rule: Sign = "─", "-";
    back: Sign = "‹", "<";
    forward: Sign = "›", ">";
    separator: Sign = "·", "|";
    none: Sign = "–", "-";
    info: Sign = "●", "*";
    warning: Sign = "▲", "!";
    error: Sign = "✗", "!";
    enter: Sign = "↵", "enter";
    /// Top left, top right, bottom left, bottom right, horizontal, vertical.
    frame: [Sign; 6] = ["╭", "╮", "╰", "╯", "─", "│"], ["+", "+", "+", "+", "-", "|"];
    /// The same around blocks that no shortcut goes round, and around those that have one.
    frame_vital: [Sign; 6] = ["╔", "╗", "╚", "╝", "═", "║"], ["#", "#", "#", "#", "=", "#"];
    frame_open: [Sign; 6] = ["┌", "┐", "└", "┘", "─", "│"], ["+", "+", "+", "+", "-", "|"];
    /// The path that a signal takes whatever is chosen: across, down; the shortcut's start, passing and end above; where it
    /// leaves, passes and enters the line of blocks.
    path: [Sign; 8] = ["━", "┃", "┏", "┳", "┓", "┹", "┸", "┺"], ["=", "|", ".", "+", ".", "+", "+", "+"];
    /// Edges of a graph beside its vertices: across, down; an edge starts at the end of the line or before, ends at the end of
    /// the line or before, is crossed; one ends where another starts.
    rails: [Sign; 8] = ["─", "│", "╮", "┬", "╯", "┴", "┼", "┤"], ["-", "|", ".", ".", "'", "'", "+", "+"];
    vital: Sign = "◆", "V";
    locked: Sign = "■", "L";
    /// Chosen cost, chosen within the sampled, sampled, neither; sampled mean, expected, limit.
    gauge: [Sign; 7] = ["━", "█", "▒", "─", "╋", "◇", "┃"], ["=", "#", "%", ".", "m", "e", "|"];
}

/// Whether a terminal of this environment can be trusted with Unicode: no locale other than UTF-8, and not the Linux
/// console, whose fonts lack braille.
pub fn unicode_terminal(var: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| var(name).filter(|v| !v.is_empty()));
    let term = var("TERM").unwrap_or_default();
    // Containers often set no locale at all, behind a terminal that is perfectly able: only an explicit other one counts.
    let utf8 = locale.is_none_or(|l| l.to_lowercase().replace('-', "").contains("utf8"));
    utf8 && term != "linux" && term != "dumb"
}

impl Glyphs {
    /// A progress bar: the done part and the rest, together `width` cells.
    pub fn bar_of(&self, width: u16, fraction: f64) -> (String, String) {
        let halves = (fraction.clamp(0.0, 1.0) * f64::from(width) * 2.0).floor() as usize;
        let (full, half) = (halves / 2, halves % 2);
        let [done, partial, rest] = self.bar;
        let track = usize::from(width) - full - half;
        (done.repeat(full) + if half == 1 { partial } else { "" }, rest.repeat(track))
    }

    /// Shares from 0 to 1, the newest last, as `cells` heights: each the mean of as many neighbours as needed. Blanks stand
    /// where there are fewer values.
    pub fn spark(&self, values: &[f64], cells: usize) -> String {
        let each = values.len().div_ceil(cells.max(1)).max(1);
        let bars: Vec<&str> = values
            .rchunks(each)
            .take(cells)
            .map(|part| {
                let finite: Vec<f64> = part.iter().copied().filter(|v| v.is_finite()).collect();
                let mean = finite.iter().sum::<f64>() / finite.len().max(1) as f64;
                // The lowest sign is that of a gap: what was measured is at least the next one.
                self.heights[1 + (mean.clamp(0.0, 1.0) * 7.0).round() as usize]
            })
            .collect();
        " ".repeat(cells - bars.len()) + &bars.into_iter().rev().collect::<String>()
    }

    /// The sign of an order: upwards where values rise from the first row on, downwards where the greatest stands first.
    pub fn order(&self, descending: bool) -> &'static str {
        if descending { self.descending } else { self.ascending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::width;

    /// What a field of the table holds.
    pub trait Signs {
        fn signs(&self) -> Vec<Sign>;
    }

    impl Signs for Sign {
        fn signs(&self) -> Vec<Sign> {
            vec![self]
        }
    }

    impl<const N: usize> Signs for [Sign; N] {
        fn signs(&self) -> Vec<Sign> {
            self.to_vec()
        }
    }

    #[test]
    fn every_sign_is_one_cell_wide() {
        // What ASCII has no sign for.
        let words = [ASCII.enter, ASCII.plus_minus];
        for set in [&UNICODE, &ASCII] {
            assert!(set.all().len() > 100);
            for sign in set.all().into_iter().filter(|s| !words.contains(s)) {
                assert_eq!(width(sign), 1, "{sign:?}");
            }
        }
        assert!(format!("{ASCII:?}").is_ascii());
    }

    #[test]
    fn sparks_fill_their_cells_with_the_newest_on_the_right() {
        let spark = |values: &[f64], cells| UNICODE.spark(values, cells);
        assert_eq!(spark(&[0.0, 0.5, 1.0], 5), "  ▁▅█");
        assert_eq!(spark(&[1.0, 0.0, 0.0, 1.0, 1.0], 3), "█▁█", "the odd one is the oldest");
        assert_eq!(spark(&[], 3), "   ");
        assert_eq!(spark(&[f64::NAN, 9.0], 2), "▁█");
        assert_eq!(spark(&[1.0; 9], 0), "");
    }

    #[test]
    fn the_environment_decides() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned())
        };
        assert!(unicode_terminal(env(&[("LANG", "en_GB.UTF-8"), ("TERM", "xterm-256color")])));
        assert!(unicode_terminal(env(&[("LC_ALL", "C.utf8"), ("LANG", "C")])));
        assert!(!unicode_terminal(env(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")])));
        assert!(!unicode_terminal(env(&[("LANG", "en_GB.UTF-8"), ("TERM", "linux")])));
        assert!(unicode_terminal(env(&[])));
    }
}
