//! Parses the bytes that a terminal sends for keys.

use std::io;

use ratatui::termion::event::{Event, Key as Sent, parse_event};

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Character(char),
    /// With the control key; the letter is in lower case
    Control(char),
    /// F1 and so on
    Function(u8),
    Enter,
    Tab,
    BackTab,
    Backspace,
    Delete,
    Escape,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Other,
}

/// Parses what was read at once.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes.iter().map(|byte| Ok::<u8, io::Error>(*byte));
    while let Some(Ok(first)) = rest.next() {
        // The key Escape sends the byte with which other keys begin, and nothing after it.
        if first == 0x1b && rest.len() == 0 {
            keys.push(Key::Escape);
            break;
        }

        keys.push(match parse_event(first, &mut rest) {
            Ok(Event::Key(key)) => of(key),
            _ => Key::Other,
        });
    }

    keys
}

fn of(sent: Sent) -> Key {
    match sent {
        Sent::Char('\n' | '\r') => Key::Enter,
        Sent::Char('\t') => Key::Tab,
        Sent::Char(c) if !c.is_control() => Key::Character(c),
        Sent::Ctrl('h') | Sent::Backspace => Key::Backspace,
        Sent::Ctrl(c) => Key::Control(c.to_ascii_lowercase()),
        Sent::F(number) => Key::Function(number),
        Sent::BackTab => Key::BackTab,
        Sent::Delete => Key::Delete,
        Sent::Esc => Key::Escape,
        Sent::Up => Key::Up,
        Sent::Down => Key::Down,
        Sent::Left => Key::Left,
        Sent::Right => Key::Right,
        Sent::PageUp => Key::PageUp,
        Sent::PageDown => Key::PageDown,
        Sent::Home => Key::Home,
        Sent::End => Key::End,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let expected: [(&[u8], &[Key]); 14] = [
            (b"ab", &[Key::Character('a'), Key::Character('b')]),
            ("é".as_bytes(), &[Key::Character('é')]),
            (b"\r", &[Key::Enter]),
            (b"\t", &[Key::Tab]),
            (b"\x1b[Z", &[Key::BackTab]),
            (b"\x1b", &[Key::Escape]),
            (b"\x1b[A", &[Key::Up]),
            (b"\x1b[6~", &[Key::PageDown]),
            (b"\x1bOQ", &[Key::Function(2)]),
            (b"\x1b[15~", &[Key::Function(5)]),
            (b"\x7f", &[Key::Backspace]),
            (b"\x04", &[Key::Control('d')]),
            (b"\x03", &[Key::Control('c')]),
            (b"\xff", &[Key::Other]),
        ];
        for (bytes, keys) in expected {
            assert_eq!(parse(bytes), keys, "{bytes:?}");
        }

        assert_eq!(parse(b""), []);
    }
}
