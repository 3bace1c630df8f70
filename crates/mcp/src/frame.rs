//! Messages, one a line.

use std::io::{self, BufRead, Read};

/// The most bytes of a message.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// A line of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A message
    Message(Vec<u8>),
    /// A message that is too long. It was read and dropped.
    TooLong,
}

/// Reads the next line. Returns `None` at the end of the input.
pub(crate) fn read(input: &mut impl BufRead) -> io::Result<Option<Frame>> {
    loop {
        let mut line = Vec::new();
        let length = input.take(MAX_MESSAGE as u64 + 1).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(None);
        }

        if line.last() != Some(&b'\n') && length > MAX_MESSAGE {
            skip_line(input)?;
            return Ok(Some(Frame::TooLong));
        }

        if !line.trim_ascii().is_empty() {
            return Ok(Some(Frame::Message(line)));
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let available = input.fill_buf()?;
        let length = available.len();
        let end = available.iter().position(|byte| *byte == b'\n');
        input.consume(end.map_or(length, |end| end + 1));
        if end.is_some() || length == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_line_is_a_message_and_a_long_one_is_dropped() {
        let long = vec![b'x'; MAX_MESSAGE + 1];
        let most = vec![b'y'; MAX_MESSAGE - 1];
        let text = [b"{}\n\r\n\n", &long[..], b"\n[]\r\n", &most, b"\nend"].concat();
        let mut input = BufReader::with_capacity(1000, &text[..]);
        let mut next = || read(&mut input).unwrap();
        assert_eq!(next(), Some(Frame::Message(b"{}\n".to_vec())));
        assert_eq!(next(), Some(Frame::TooLong));
        assert_eq!(next(), Some(Frame::Message(b"[]\r\n".to_vec())));
        assert_eq!(next(), Some(Frame::Message([&most, &b"\n"[..]].concat())));
        assert_eq!(next(), Some(Frame::Message(b"end".to_vec())));
        assert_eq!(next(), None);
    }
}
