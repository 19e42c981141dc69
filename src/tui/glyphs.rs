//! The signs that screens are drawn with, in Unicode and in ASCII.

/// A set of signs. Each is one cell wide.
#[derive(Debug, PartialEq)]
pub struct Glyphs {
    /// Whether charts may use braille; else they are drawn with `'`, `.` and `:`.
    pub braille: bool,
    pub ellipsis: &'static str,
    pub queued: &'static str,
    pub starting: &'static str,
    pub running: &'static str,
    pub paused: &'static str,
    pub stopping: &'static str,
    pub stopped: &'static str,
    pub completed: &'static str,
    pub failed: &'static str,
    /// Full, half and empty part of a progress bar.
    pub bar: [&'static str; 3],
    /// Heights of bars in drawings, from a gap to full.
    pub heights: [&'static str; 9],
    /// Densities for heat maps without colour, from empty to full.
    pub shades: [&'static str; 5],
    pub marker: &'static str,
    pub ascending: &'static str,
    pub descending: &'static str,
    pub on: &'static str,
    pub off: &'static str,
    /// One a cluster or group.
    pub points: [&'static str; 8],
    /// Names of the axes of pictures: across and up.
    pub axes: [&'static str; 2],
    /// A place of an axis worth a line.
    pub mark: &'static str,
    /// An error bar.
    pub bar_upright: &'static str,
    pub plus_minus: &'static str,
    /// A measured point on a line.
    pub spot: &'static str,
    pub centroid: &'static str,
    pub winner: &'static str,
    /// Around a winner in a scatter plot.
    pub ring: [&'static str; 2],
    pub line: &'static str,
    pub grid: &'static str,
    pub cursor: &'static str,
    pub scrollbar: &'static str,
    pub rule: &'static str,
    pub back: &'static str,
    pub separator: &'static str,
    pub none: &'static str,
    pub info: &'static str,
    pub warning: &'static str,
    pub error: &'static str,
    pub enter: &'static str,
    /// Top left, top right, bottom left, bottom right, horizontal, vertical.
    pub frame: [&'static str; 6],
    /// The same around blocks that no shortcut goes round, and around those that have one.
    pub frame_vital: [&'static str; 6],
    pub frame_open: [&'static str; 6],
    /// The path that a signal takes whatever is chosen: across, down; the shortcut's start, passing and end above; where it
    /// leaves, passes and enters the line of blocks.
    pub path: [&'static str; 8],
    /// Edges of a graph beside its vertices: across, down; an edge starts at the end of the line or before, ends at the end of
    /// the line or before, is crossed; one ends where another starts.
    pub rails: [&'static str; 8],
    pub vital: &'static str,
    pub locked: &'static str,
    /// Chosen cost, chosen within the sampled, sampled, neither; sampled mean, expected, limit.
    pub gauge: [&'static str; 7],
}

pub static UNICODE: Glyphs = Glyphs {
    braille: true,
    ellipsis: "…",
    queued: "○",
    starting: "◌",
    running: "●",
    paused: "‖",
    stopping: "◍",
    stopped: "■",
    completed: "✓",
    failed: "✗",
    bar: ["━", "╸", "─"],
    heights: ["·", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    shades: [" ", "░", "▒", "▓", "█"],
    marker: "▌",
    ascending: "▴",
    descending: "▾",
    on: "■",
    off: "□",
    points: ["●", "▲", "■", "◆", "▼", "○", "△", "□"],
    axes: ["→", "↑"],
    mark: "╎",
    bar_upright: "│",
    plus_minus: "±",
    spot: "•",
    centroid: "✚",
    winner: "★",
    ring: ["(", ")"],
    line: "━",
    grid: "┈",
    cursor: "│",
    scrollbar: "┃",
    rule: "─",
    back: "‹",
    separator: "·",
    none: "–",
    info: "●",
    warning: "▲",
    error: "✗",
    enter: "↵",
    frame: ["╭", "╮", "╰", "╯", "─", "│"],
    frame_vital: ["╔", "╗", "╚", "╝", "═", "║"],
    frame_open: ["┌", "┐", "└", "┘", "─", "│"],
    path: ["━", "┃", "┏", "┳", "┓", "┹", "┸", "┺"],
    rails: ["─", "│", "╮", "┬", "╯", "┴", "┼", "┤"],
    vital: "◆",
    locked: "■",
    gauge: ["━", "█", "▒", "─", "╋", "◇", "┃"],
};

pub static ASCII: Glyphs = Glyphs {
    braille: false,
    ellipsis: "~",
    queued: "o",
    starting: ":",
    running: "*",
    paused: "=",
    stopping: "%",
    stopped: "#",
    completed: "+",
    failed: "!",
    bar: ["#", "-", "."],
    heights: [".", "_", "_", "-", "-", "=", "=", "#", "#"],
    shades: [" ", ".", "+", "x", "#"],
    marker: ">",
    ascending: "^",
    descending: "v",
    on: "x",
    off: ".",
    points: ["o", "^", "s", "d", "v", "c", "t", "q"],
    axes: [">", "^"],
    mark: "!",
    bar_upright: "|",
    plus_minus: "+-",
    spot: "o",
    centroid: "+",
    winner: "*",
    ring: ["(", ")"],
    line: "-",
    grid: ".",
    cursor: "|",
    scrollbar: "|",
    rule: "-",
    back: "<",
    separator: "|",
    none: "-",
    info: "*",
    warning: "!",
    error: "!",
    enter: "enter",
    frame: ["+", "+", "+", "+", "-", "|"],
    frame_vital: ["#", "#", "#", "#", "=", "#"],
    frame_open: ["+", "+", "+", "+", "-", "|"],
    path: ["=", "|", ".", "+", ".", "+", "+", "+"],
    rails: ["-", "|", ".", ".", "'", "'", "+", "+"],
    vital: "V",
    locked: "L",
    gauge: ["=", "#", "%", ".", "m", "e", "|"],
};

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
    /// The sign of an order: upwards where values rise from the first row on, downwards where the greatest stands first.
    pub fn order(&self, descending: bool) -> &'static str {
        if descending { self.descending } else { self.ascending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::width;

    #[test]
    fn every_sign_is_one_cell_wide() {
        for set in [&UNICODE, &ASCII] {
            let one = [
                set.ellipsis,
                set.queued,
                set.starting,
                set.running,
                set.paused,
                set.stopping,
                set.stopped,
                set.completed,
                set.failed,
                set.marker,
                set.ascending,
                set.descending,
                set.on,
                set.off,
                set.mark,
                set.bar_upright,
                set.vital,
                set.locked,
                set.spot,
                set.centroid,
                set.winner,
                set.line,
                set.grid,
                set.cursor,
                set.scrollbar,
                set.rule,
                set.back,
                set.separator,
                set.none,
                set.info,
                set.warning,
                set.error,
            ];
            let many = [
                &set.bar[..],
                &set.heights,
                &set.shades,
                &set.points,
                &set.ring,
                &set.frame,
                &set.axes,
                &set.frame_vital,
                &set.frame_open,
                &set.path,
                &set.gauge,
                &set.rails,
            ]
            .concat();
            for sign in one.into_iter().chain(many) {
                assert_eq!(width(sign), 1, "{sign:?}");
            }
        }
        assert!(format!("{ASCII:?}").is_ascii());
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
