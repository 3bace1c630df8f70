//! Wraps messages at words, so that a terminal does not break inside one. A command in backticks
//! stays in one piece if it fits on a line.

use textwrap::core::Word;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// The minimum width. On narrower terminals lines are not wrapped.
const NARROWEST: usize = 20;

/// Wraps `text` into lines of `width` columns. Without a width, or on a very narrow terminal,
/// returns it unchanged.
pub(super) fn at_words(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| *width >= NARROWEST) else { return text.to_owned() };
    textwrap::fill(text, options(width))
}

/// The indentation of all lines after the first.
const INDENT: &str = "            ";

/// Wraps in the same way, but indents all lines after the first and breaks words that are longer
/// than a line.
pub(super) fn indented(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| *width >= NARROWEST) else { return text.to_owned() };
    textwrap::fill(text, options(width).subsequent_indent(INDENT).break_words(true))
}

/// Wraps in the same way with another indentation.
pub(crate) fn hanging(text: &str, width: Option<usize>, indentation: &str) -> String {
    let Some(width) = width.filter(|width| *width >= NARROWEST) else { return text.to_owned() };
    textwrap::fill(text, options(width).subsequent_indent(indentation))
}

fn options(width: usize) -> Options<'static> {
    Options::new(width)
        .word_separator(WordSeparator::Custom(|line| Box::new(words(line))))
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit)
        .break_words(false)
}

/// Splits at the blanks outside backticks. Each word includes the blanks after it.
fn words(line: &str) -> impl Iterator<Item = Word<'_>> {
    let mut words = Vec::new();
    let (mut start, mut is_quoted, mut is_blank) = (0, false, false);
    for (at, character) in line.char_indices() {
        if is_blank && character != ' ' {
            words.push(Word::from(&line[start..at]));
            start = at;
        }

        is_quoted ^= character == '`';
        is_blank = character == ' ' && !is_quoted;
    }

    words.push(Word::from(&line[start..]));
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_words_and_commands_stay_whole() {
        let text = "hint: make one with `secrets init --vault PATH`, or put a backup there";
        assert_eq!(
            at_words(text, Some(40)),
            "hint: make one with\n`secrets init --vault PATH`, or put a\nbackup there"
        );

        assert_eq!(at_words(text, Some(200)), text);
        assert_eq!(at_words(text, Some(5)), text);
        assert_eq!(at_words(text, None), text);

        // A word that is longer than a line is left to the terminal.
        assert_eq!(
            at_words("see `a b c d e f g h i j k l m` there", Some(20)),
            "see\n`a b c d e f g h i j k l m`\nthere"
        );

        assert_eq!(
            at_words("\u{1b}[31merror:\u{1b}[0m one two three four", Some(20)),
            "\u{1b}[31merror:\u{1b}[0m one two three\nfour"
        );
    }
}
