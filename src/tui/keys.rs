//! Keys as text, and back: `q`, `ctrl-c`, `pgdn`, `space`.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key with its modifiers. Shift is part of a character, so it is told only for other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub code: KeyCode,
    pub ctrl: bool,
    pub alt: bool,
    pub shift: bool,
}

const NAMED: [(&str, KeyCode); 28] = [
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backtab", KeyCode::BackTab),
    ("space", KeyCode::Char(' ')),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pgup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
    ("f1", KeyCode::F(1)),
    ("f2", KeyCode::F(2)),
    ("f3", KeyCode::F(3)),
    ("f4", KeyCode::F(4)),
    ("f5", KeyCode::F(5)),
    ("f6", KeyCode::F(6)),
    ("f7", KeyCode::F(7)),
    ("f8", KeyCode::F(8)),
    ("f9", KeyCode::F(9)),
    ("f10", KeyCode::F(10)),
    ("f11", KeyCode::F(11)),
    ("f12", KeyCode::F(12)),
];

impl From<KeyEvent> for Key {
    fn from(event: KeyEvent) -> Key {
        let has = |m| event.modifiers.contains(m);
        let told = !matches!(event.code, KeyCode::Char(_) | KeyCode::BackTab);
        let code = match event.code {
            // Most terminals send no capitals with ctrl; those that do mean the same key.
            KeyCode::Char(c) if has(KeyModifiers::CONTROL) => KeyCode::Char(c.to_ascii_lowercase()),
            other => other,
        };
        Key {
            code,
            ctrl: has(KeyModifiers::CONTROL),
            alt: has(KeyModifiers::ALT),
            shift: told && has(KeyModifiers::SHIFT),
        }
    }
}

impl Key {
    /// The character that the key types, if it types one.
    pub fn typed(&self) -> Option<char> {
        match self.code {
            KeyCode::Char(c) if !self.ctrl && !self.alt => Some(c),
            _ => None,
        }
    }

    /// The digit from 1 to 9 that the key types, with whatever modifiers.
    pub fn digit(&self) -> Option<usize> {
        match self.code {
            KeyCode::Char(c) => c.to_digit(10).filter(|d| *d > 0).map(|d| d as usize),
            _ => None,
        }
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let mut key = Key { code: KeyCode::Null, ctrl: false, alt: false, shift: false };
        let mut rest = text;
        loop {
            let (flag, after) = match rest {
                _ if rest.starts_with("ctrl-") => (&mut key.ctrl, &rest[5..]),
                _ if rest.starts_with("alt-") => (&mut key.alt, &rest[4..]),
                _ if rest.starts_with("shift-") => (&mut key.shift, &rest[6..]),
                _ => break,
            };
            *flag = true;
            rest = after;
        }
        let mut chars = rest.chars();
        key.code = match (NAMED.iter().find(|n| n.0 == rest), chars.next(), chars.next()) {
            (Some(named), _, _) => named.1,
            (None, Some(c), None) if key.ctrl => KeyCode::Char(c.to_ascii_lowercase()),
            (None, Some(c), None) => KeyCode::Char(c),
            _ => {
                let known = "a character such as `x` or `X`, or enter, esc, tab, space, up, pgdn, f1 and so on, with ctrl-, alt- or shift- before it";
                return Err(format!("`{text}` is no key; expected {known}"));
            }
        };
        if key.shift && matches!(key.code, KeyCode::Char(_)) {
            return Err(format!("`{text}` is no key: of a character, write what shift makes of it, such as `X`"));
        }
        Ok(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (on, name) in [(self.ctrl, "ctrl-"), (self.alt, "alt-"), (self.shift, "shift-")] {
            if on {
                f.write_str(name)?;
            }
        }
        match (NAMED.iter().find(|n| n.1 == self.code), self.code) {
            (Some(named), _) => f.write_str(named.0),
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            (None, other) => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_being_written() {
        for text in
            ["q", "?", "-", "+", "ctrl-c", "alt-x", "shift-left", "ctrl-alt-delete", "space", "pgdn", "G", "ü", "f12"]
        {
            let key: Key = text.parse().unwrap();
            assert_eq!(key.to_string(), text);
        }
        for bad in ["", "ctrl-", "qq", "hyper-x", "shift-x", "f13"] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shift_is_part_of_a_character() {
        let shifted = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(Key::from(shifted), "G".parse().unwrap());
        let backtab = KeyEvent::new(KeyCode::BackTab, KeyModifiers::SHIFT);
        assert_eq!(Key::from(backtab), "backtab".parse().unwrap());
        assert_eq!(Key::from(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)).typed(), None);
        let capital = Key::from(KeyEvent::new(KeyCode::Char('P'), KeyModifiers::CONTROL));
        assert_eq!((capital, "ctrl-P".parse()), ("ctrl-p".parse().unwrap(), Ok(capital)));
        assert_eq!((capital.digit(), "alt-7".parse::<Key>().unwrap().digit()), (None, Some(7)));
    }
}
