//! Pictures in the terminal's own pixels, where it offers a protocol for that: Kitty's, iTerm2's or sixels. Everywhere else
//! they are made of characters ([`crate::mosaic`]).

use std::fmt;
use std::sync::Arc;

use image::{DynamicImage, RgbaImage};
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::widgets::Widget;
use ratatui_image::Image;
use ratatui_image::protocol::Protocol;
use ratatui_image::protocol::iterm2::Iterm2;
use ratatui_image::protocol::kitty::Kitty;
use ratatui_image::protocol::sixel::Sixel;

use crate::mosaic::{DOWN, Pixels};

/// Pixels in all on one page; beyond, a slow line would wait for megabytes, and characters will do.
pub const MOST: usize = 400_000;

/// How a terminal is told of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Kitty,
    Iterm2,
    Sixel,
}

/// What the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// What the environment says that the terminal can.
    #[default]
    Auto,
    /// Characters.
    None,
    This(Kind),
}

impl Wanted {
    /// As on the command line: `auto`, `none`, `kitty`, `iterm2`, `sixel`.
    pub fn parse(text: &str) -> Option<Wanted> {
        Some(match text {
            "auto" => Wanted::Auto,
            "none" => Wanted::None,
            "kitty" => Wanted::This(Kind::Kitty),
            "iterm2" => Wanted::This(Kind::Iterm2),
            "sixel" => Wanted::This(Kind::Sixel),
            _ => return None,
        })
    }
}

/// The terminal's way to show pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graphics {
    pub kind: Kind,
    /// Pixels of a cell, across and down.
    pub cell: (u16, u16),
    /// What is sent must pass through tmux.
    pub tmux: bool,
}

/// A cell of a terminal that does not say how large it is.
const CELL: (u16, u16) = (10, 20);

impl Graphics {
    /// What can be used. `cell`: pixels of a cell, where the terminal says. The terminal is not asked: an answer that is late over
    /// a bad line would be taken for keys.
    pub fn find(wanted: Wanted, cell: Option<(u16, u16)>, var: impl Fn(&str) -> Option<String>) -> Option<Graphics> {
        let set = |name: &str| var(name).is_some_and(|v| !v.is_empty());
        let term = var("TERM").unwrap_or_default();
        let tmux = set("TMUX") || term.starts_with("tmux") || term.starts_with("screen");
        let kind = match wanted {
            Wanted::None => return None,
            Wanted::This(kind) => kind,
            // Between tmux and the terminal outside it nothing is known: what it passes on is its user's choice.
            Wanted::Auto if tmux => return None,
            Wanted::Auto => offered(&term, &var)?,
        };
        // Sixels are as large as they are: cells of a guessed size would be covered too far, or not far enough.
        let cell = match (cell, wanted) {
            (Some(cell), _) => cell,
            (None, Wanted::Auto) if kind == Kind::Sixel => return None,
            (None, _) => CELL,
        };
        Some(Graphics { kind, cell, tmux })
    }

    /// A picture for an area of so many cells, whose upper edge may lie half a cell lower.
    pub fn encode(&self, picture: &Pixels, size: (usize, usize), lowered: bool, cells: (u16, u16)) -> Option<Encoded> {
        let (across, down) = (u32::from(self.cell.0), u32::from(self.cell.1));
        let (width, height) = (u32::from(cells.0) * across, u32::from(cells.1) * down);
        let tall = size.1 as u32 * down / u32::from(DOWN);
        let top = if lowered { down / u32::from(DOWN) } else { 0 };
        let drawn = picture.resampled((size.0 as u32 * across) as usize, tall.max(1) as usize);
        let mut image = RgbaImage::new(width, height);
        for (y, row) in drawn.rows().enumerate() {
            for (x, [r, g, b]) in row.iter().enumerate() {
                if let Some(pixel) = image.get_pixel_mut_checked(x as u32, y as u32 + top) {
                    *pixel = image::Rgba([*r, *g, *b, 255]);
                }
            }
        }
        let id = name(image.as_raw());
        let (image, size) = (DynamicImage::ImageRgba8(image), Size { width: cells.0, height: cells.1 });
        let protocol = match self.kind {
            Kind::Kitty => Kitty::new(image, size, id, self.tmux).map(Protocol::Kitty),
            Kind::Iterm2 => Iterm2::new(image, size, self.tmux).map(Protocol::ITerm2),
            Kind::Sixel => Sixel::new(image, size, self.tmux).map(Protocol::Sixel),
        };
        match protocol {
            Ok(protocol) => Some(Encoded { protocol: Arc::new(protocol) }),
            Err(error) => {
                tracing::warn!(%error, "a picture cannot be encoded for this terminal");
                None
            }
        }
    }
}

/// What the environment says of the terminal.
fn offered(term: &str, var: &impl Fn(&str) -> Option<String>) -> Option<Kind> {
    let program = var("TERM_PROGRAM").unwrap_or_default();
    let lc = var("LC_TERMINAL").unwrap_or_default();
    let starts = |names: &[&str]| names.iter().any(|name| term.starts_with(name));
    if starts(&["xterm-kitty", "xterm-ghostty"]) || program == "ghostty" {
        return Some(Kind::Kitty);
    }
    if matches!(program.as_str(), "iTerm.app" | "WezTerm" | "mintty") || lc == "iTerm2" {
        return Some(Kind::Iterm2);
    }
    let konsole = var("KONSOLE_VERSION").and_then(|v| v.parse::<u32>().ok()).is_some_and(|v| v >= 220_370);
    (starts(&["foot", "mlterm", "contour", "yaft"]) || konsole).then_some(Kind::Sixel)
}

/// A number by which a terminal keeps a picture: the same for the same pixels. Never 0.
fn name(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

/// A picture as the terminal takes it.
#[derive(Clone)]
pub struct Encoded {
    protocol: Arc<Protocol>,
}

impl Encoded {
    /// Puts it into the cells of `area`, which is as large as it was made for.
    pub fn draw(&self, buf: &mut Buffer, area: Rect) {
        Image::new(&self.protocol).render(area.intersection(buf.area), buf);
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Encoded) -> bool {
        Arc::ptr_eq(&self.protocol, &other.protocol)
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Encoded").field(&self.protocol.size()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::view::Picture;

    fn found(pairs: &'static [(&str, &str)], wanted: Wanted, cell: Option<(u16, u16)>) -> Option<(Kind, bool)> {
        let var = |name: &str| pairs.iter().find(|p| p.0 == name).map(|p| p.1.to_owned());
        Graphics::find(wanted, cell, var).map(|g| (g.kind, g.tmux))
    }

    #[test]
    fn terminals_are_known_by_their_environment_and_the_user_knows_better() {
        let cell = Some((9, 18));
        assert_eq!(found(&[("TERM", "xterm-kitty")], Wanted::Auto, cell), Some((Kind::Kitty, false)));
        assert_eq!(
            found(&[("TERM", "xterm-256color"), ("LC_TERMINAL", "iTerm2")], Wanted::Auto, None),
            Some((Kind::Iterm2, false))
        );
        assert_eq!(found(&[("TERM", "foot")], Wanted::Auto, cell), Some((Kind::Sixel, false)));
        assert_eq!(found(&[("TERM", "foot")], Wanted::Auto, None), None, "the size of its cells is not known");
        assert_eq!(found(&[("TERM", "xterm-256color")], Wanted::Auto, cell), None);
        assert_eq!(found(&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/x")], Wanted::Auto, cell), None);
        assert_eq!(
            found(&[("TERM", "screen-256color")], Wanted::This(Kind::Kitty), None),
            Some((Kind::Kitty, true)),
            "as wanted"
        );
        assert_eq!(found(&[("TERM", "xterm-kitty")], Wanted::None, cell), None);
        for name in ["auto", "none", "kitty", "iterm2", "sixel"] {
            assert!(Wanted::parse(name).is_some());
        }
        assert_eq!(Wanted::parse("regis"), None);
    }

    /// The text that a picture puts into the first cell of its area; the others are left to the terminal.
    fn sent(kind: Kind) -> String {
        let graphics = Graphics { kind, cell: (4, 8), tmux: false };
        let picture = Pixels::of(&Picture::new("", 2, 2, 3, &[255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])).unwrap();
        let encoded = graphics.encode(&picture, (3, 5), true, (3, 3)).unwrap();
        let mut buf = Buffer::empty(Rect::new(0, 0, 6, 5));
        encoded.draw(&mut buf, Rect::new(1, 1, 3, 3));
        for y in 0..5 {
            for x in 0..6 {
                if !(1..4).contains(&x) || !(1..4).contains(&y) {
                    assert_eq!(buf[(x, y)].symbol(), " ", "{kind:?} {x} {y}");
                }
            }
        }
        buf[(1, 1)].symbol().to_owned()
    }

    #[test]
    fn each_protocol_is_spoken() {
        assert!(sent(Kind::Kitty).contains("\x1b_G"), "{:?}", sent(Kind::Kitty));
        assert!(sent(Kind::Iterm2).contains("\x1b]1337;File="), "{:?}", sent(Kind::Iterm2));
        let sixel = sent(Kind::Sixel);
        // Twelve pixels by twenty-four.
        assert!(sixel.contains("\x1bP") && sixel.contains("12;24"), "{sixel:?}");
    }

    #[test]
    fn the_same_pixels_have_the_same_name_and_others_another() {
        assert_eq!(name(&[1, 2, 3]), name(&[1, 2, 3]));
        assert_ne!(name(&[1, 2, 3]), name(&[1, 2, 4]));
    }
}
