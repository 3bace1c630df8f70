//! The needles of a set of secrets: every form of every value, ready to be looked for. They are never shown.

use super::automaton::Automaton;
use super::decode::Encoding;
use super::prefilter::Prefilter;
use super::texts::Texts;
use crate::model::Tag;

/// How a value may stand in a stream, in the order of precedence where two forms are the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// As it is, or as a terminal writes its newlines
    Raw,
    /// One line of it, or it without the white space around it
    Line,
    /// The password in a URL
    Password,
    /// With backslashes, as JSON, shells and programming languages write it
    Escaped,
    /// In a shell's single quotes
    Shell,
    /// With doubled quotes, as CSV, SQL and YAML write it, or doubled percent signs
    Quoted,
    /// Percent-encoded
    Url,
    /// With the entities of XML and HTML
    Xml,
    /// Hexadecimal
    Hex,
    /// Base32, at any place in the encoded data
    Base32,
    /// Base64 in either alphabet, at any place in the encoded data
    Base64,
}

impl Form {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Line => "line",
            Self::Password => "password",
            Self::Escaped => "escaped",
            Self::Shell => "shell",
            Self::Quoted => "quoted",
            Self::Url => "url",
            Self::Xml => "xml",
            Self::Hex => "hex",
            Self::Base32 => "base32",
            Self::Base64 => "base64",
        }
    }

    /// The form of text that another reading of the stream has in this form.
    pub(super) fn read_as(self, reading: Encoding) -> Self {
        match (self, reading) {
            (Self::Raw | Self::Line | Self::Password, Encoding::Percent) => Self::Url,
            (Self::Raw | Self::Line | Self::Password, Encoding::Escaped) => Self::Escaped,
            (Self::Raw | Self::Line | Self::Password, Encoding::Entities) => Self::Xml,
            _ => self,
        }
    }

    /// True for forms that programs write in lines of any width.
    pub(super) fn wraps(self) -> bool {
        matches!(self, Self::Hex | Self::Base32 | Self::Base64)
    }
}

/// What is looked for: an automaton over all forms of all values, which is wiped when dropped.
///
/// It takes two to three bytes of memory for each byte of each form, and some fifty for each form; a value has some fifteen to
/// fifty times its length in forms.
pub struct Needles {
    pub(super) automaton: Automaton,
    pub(super) skip: Prefilter,
    /// By the number that the automaton has for it
    list: Vec<Needle>,
    tags: Vec<Tag>,
    short: Vec<Tag>,
}

/// One needle, without its bytes.
#[derive(Clone, Copy)]
pub(super) struct Needle {
    pub(super) length: u32,
    /// Index of its tag
    pub(super) tag: u32,
    pub(super) form: Form,
    /// The same bytes may be of another form as well
    pub(super) wraps: bool,
}

impl Needles {
    /// Fewest bytes of a needle; what is shorter stands in streams by chance.
    pub const SHORTEST: usize = 8;

    /// Takes the secrets in the order in which they win where two have the same bytes in some form.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a Tag, &'a [u8])>) -> Self {
        let (mut tags, mut short, mut texts) = (Vec::new(), Vec::new(), Texts::default());
        for (tag, value) in secrets {
            if Self::is_short(value) {
                short.push(tag.clone());
            }

            if value.len() < Self::SHORTEST {
                continue;
            }

            texts.add_all(number(tags.len()), value);
            tags.push(tag.clone());
        }

        let sorted = texts.sorted();
        let (automaton, skip) = (Automaton::new(&sorted), Prefilter::new(&sorted));
        Self { automaton, skip, list: sorted.into_needles(), tags, short }
    }

    /// Returns at most how many bytes of memory the needles of some values take while they are made.
    pub fn memory<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        values.into_iter().map(|value| value.len() as u64 * 400).sum()
    }

    /// True for a value that is not found everywhere: without the white space around it, it is too short to be looked for.
    pub fn is_short(value: &[u8]) -> bool {
        value.trim_ascii().len() < Self::SHORTEST
    }

    /// Tags of the values that are too short to be looked for, or are without the white space around them.
    pub fn short(&self) -> &[Tag] {
        &self.short
    }

    /// True where nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Length of a needle that the automaton named.
    pub(super) fn length(&self, needle: u32) -> u64 {
        self.list[needle as usize].length.into()
    }

    /// True for a needle that programs write in lines of any width.
    pub(super) fn wraps(&self, needle: u32) -> bool {
        self.list[needle as usize].wraps
    }

    /// Whose value a needle is, and in which form.
    pub(super) fn origin(&self, needle: u32) -> (&Tag, Form) {
        let needle = &self.list[needle as usize];
        (&self.tags[needle.tag as usize], needle.form)
    }
}

/// A number of a tag or of a text's bytes, of which there are less than 2^32: memory ends before.
pub(super) fn number(n: usize) -> u32 {
    u32::try_from(n).expect("less than 2^32")
}
