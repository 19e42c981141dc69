//! One line that is being typed, with its cursor: the same keys wherever something is typed.

use std::ops::Range;

use crossterm::event::KeyCode;
use unicode_segmentation::UnicodeSegmentation;

use crate::keys::Key;
use crate::text;

/// A line and the cursor in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    text: String,
    /// In bytes, at the beginning of a character or at the end.
    cursor: usize,
    /// The text was there before, and nobody has touched it: what is typed takes its place.
    selected: bool,
}

/// The part of a line that is in view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Before the cursor, on it (a blank at the end), and behind it.
    pub before: &'a str,
    pub at: &'a str,
    pub after: &'a str,
}

impl Input {
    /// A text that is gone on with at its end.
    pub fn at_end(text: &str) -> Input {
        Input { text: text.to_owned(), cursor: text.len(), selected: false }
    }

    /// A text that is there to be replaced: the first character typed takes its place, keys that move edit it.
    pub fn selected(text: &str) -> Input {
        Input { selected: !text.is_empty(), ..Input::at_end(text) }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether what is typed next takes the place of all.
    pub fn is_selected(&self) -> bool {
        self.selected
    }

    /// Another text; the cursor is at its end.
    pub fn set(&mut self, text: &str) {
        *self = Input::at_end(text);
    }

    /// Types or pastes. What is no character of a line, such as a line's end, is left out.
    pub fn insert(&mut self, text: &str) {
        if std::mem::take(&mut self.selected) {
            self.set("");
        }
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
    }

    /// Does what a key means in a line. Returns whether it means something there.
    pub fn key(&mut self, key: Key) -> bool {
        match (key.code, key.ctrl, key.alt) {
            (KeyCode::Left, false, false) => self.cursor = self.left(),
            (KeyCode::Right, false, false) => self.cursor = self.right(),
            (KeyCode::Home, false, false) | (KeyCode::Char('a'), true, false) => self.cursor = 0,
            (KeyCode::End, false, false) | (KeyCode::Char('e'), true, false) => self.cursor = self.text.len(),
            (KeyCode::Backspace, false, false) => self.cut(self.left()..self.cursor),
            (KeyCode::Delete, false, false) => self.cut(self.cursor..self.right()),
            (KeyCode::Char('u'), true, false) => self.cut(0..self.cursor),
            (KeyCode::Char('w'), true, false) => {
                let before = self.text[..self.cursor].trim_end();
                self.cut(before.rfind(' ').map_or(0, |at| at + 1)..self.cursor);
            }
            _ => match key.typed() {
                Some(c) => {
                    self.insert(c.encode_utf8(&mut [0; 4]));
                    return true;
                }
                None => return false,
            },
        }
        self.selected = false;
        true
    }

    /// Where the character before the cursor begins.
    fn left(&self) -> usize {
        self.text[..self.cursor].grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    /// Where the character on the cursor ends.
    fn right(&self) -> usize {
        self.cursor + self.text[self.cursor..].graphemes(true).next().map_or(0, str::len)
    }

    fn cut(&mut self, range: Range<usize>) {
        self.cursor = range.start;
        self.text.replace_range(range, "");
    }

    /// What is in view of it in `cells` cells: the cursor always, and as much before it as there is room for.
    pub fn shown(&self, cells: usize) -> Shown<'_> {
        let (before, rest) = self.text.split_at(self.cursor);
        let (at, after) = rest.split_at(self.right() - self.cursor);
        let at = if at.is_empty() { " " } else { at };
        let room = cells.saturating_sub(text::width(at));
        let from = |text: &str, room: usize| {
            let fits = text.grapheme_indices(true).map(|(at, _)| at).find(|at| text::width(&text[*at..]) <= room);
            fits.unwrap_or(text.len())
        };
        let before = &before[from(before, room)..];
        let room = room - text::width(before);
        let mut end = 0;
        for (start, grapheme) in after.grapheme_indices(true) {
            if text::width(&after[..start + grapheme.len()]) > room {
                break;
            }
            end = start + grapheme.len();
        }
        Shown { before, at, after: &after[..end] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(input: &mut Input, keys: &str) {
        for key in keys.split(' ') {
            assert!(input.key(key.parse().unwrap()), "{key}");
        }
    }

    #[test]
    fn what_is_typed_takes_the_place_of_a_value_that_was_there() {
        let mut input = Input::selected("0.01");
        press(&mut input, "3 e - 4");
        assert_eq!(input.text(), "3e-4");
        let mut input = Input::selected("0.01");
        input.insert("7\n8");
        assert_eq!(input.text(), "78", "pasting, too, and no line's end");
        assert!(!Input::selected("").is_selected());
    }

    #[test]
    fn keys_that_move_edit_the_value_that_was_there() {
        for (keys, text) in [
            ("backspace 2", "0.02"),
            ("left 2", "0.021"),
            ("home - ", "-0.01"),
            ("end 5", "0.015"),
            ("right 5", "0.015"),
            ("ctrl-a delete 9", "9.01"),
            ("ctrl-e 5", "0.015"),
            ("left left ctrl-u", "01"),
        ] {
            let mut input = Input::selected("0.01");
            press(&mut input, keys.trim_end());
            assert_eq!(input.text(), text, "{keys}");
        }
    }

    #[test]
    fn words_and_wide_characters_go_whole() {
        let mut input = Input::at_end("tag:paper -failed  ");
        press(&mut input, "ctrl-w");
        assert_eq!(input.text(), "tag:paper ");
        press(&mut input, "home ctrl-w delete");
        assert_eq!(input.text(), "ag:paper ");
        let mut input = Input::at_end("a日e\u{301}");
        press(&mut input, "left left x");
        assert_eq!(input.text(), "ax日e\u{301}");
        press(&mut input, "end backspace");
        assert_eq!(input.text(), "ax日");
        assert!(!input.key("up".parse().unwrap()) && !input.key("ctrl-p".parse().unwrap()));
        press(&mut input, "home backspace end delete");
        assert_eq!(input.text(), "ax日");
    }

    #[test]
    fn the_cursor_is_in_view_however_little_room_there_is() {
        let mut input = Input::at_end("日本語 and more");
        for moves in 0..14 {
            for cells in 1..20 {
                let shown = input.shown(cells);
                let wide = [shown.before, shown.at, shown.after].map(text::width).iter().sum::<usize>();
                assert!(wide <= cells.max(text::width(shown.at)), "{moves}, {cells}: {shown:?}");
                assert!(input.text().contains(format!("{}{}{}", shown.before, shown.at, shown.after).trim_end()));
            }
            input.key("left".parse().unwrap());
        }
        let input = Input::at_end("abc");
        let shown = input.shown(10);
        assert_eq!((shown.before, shown.at, shown.after), ("abc", " ", ""));
    }
}
