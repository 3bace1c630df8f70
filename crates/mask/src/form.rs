//! The forms in which a value may be written.

use super::decode::Encoding;

/// The form in which a value is written, in order of precedence if two forms have the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The value as it is, or with a terminal's newlines
    Raw,
    /// One line of the value, or the value without white space around it
    Line,
    /// The password in a URL
    Password,
    /// With backslashes, as in JSON, shells and programming languages
    Escaped,
    /// In single quotes for a shell, or with `$$` for `$`
    Shell,
    /// With doubled quotes, as in CSV, SQL and YAML, with doubled percent signs, or with escaped
    /// quotes only
    Quoted,
    /// Percent-encoded
    Url,
    /// With XML and HTML entities
    Xml,
    Hex,
    /// Base32, at any position in the encoded data
    Base32,
    /// Base64 in either alphabet, at any position in the encoded data
    Base64,
}

impl Form {
    /// Returns the name used in messages.
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

    /// Returns the form to report for a needle of this form that was found in another reading.
    pub(super) fn read_as(self, reading: Encoding) -> Self {
        match (self, reading) {
            (Self::Raw | Self::Line | Self::Password, Encoding::Percent) => Self::Url,
            (Self::Raw | Self::Line | Self::Password, Encoding::Escaped) => Self::Escaped,
            (Self::Raw | Self::Line | Self::Password, Encoding::Entities) => Self::Xml,
            _ => self,
        }
    }

    /// Returns true for forms that programs write in lines of any width.
    pub(super) fn wraps(self) -> bool {
        matches!(self, Self::Hex | Self::Base32 | Self::Base64)
    }
}
