//! The sources of a value: a hidden prompt, stdin, a file or the generator. Never an argument.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use secrets_core::crypto::random::Alphabet;
use secrets_core::model::{SecretBytes, SecretValue, Tag};

use crate::error::{Error, Kind};
use crate::generator::{Generator, Pattern};
use crate::key_pair::{self, KeyPair, KeyPairKind};
use crate::ui::{Ui, input, prompt};

/// The options that generate a value.
const GENERATORS: [&str; 6] = ["generate", "words", "pin", "uuid", "pattern", "key_pair"];

/// The number of characters of a generated value, and of a PIN.
const LENGTH: u16 = 32;
const PIN_LENGTH: u16 = 6;

/// The options of `create` and `update` that select the source of a value.
#[derive(clap::Args)]
pub(crate) struct ValueArgs {
    /// Read the value from a file, byte for byte; `-` is stdin
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath, conflicts_with_all = GENERATORS)]
    value_file: Option<PathBuf>,
    /// Generate the value: letters and digits
    #[arg(long, conflicts_with_all = ["words", "pin", "uuid", "pattern", "key_pair"])]
    generate: bool,
    /// Set the length of a generated value in characters, 4 to 1024 [default: 32, or 6 for a PIN]
    #[arg(long, value_name = "N", conflicts_with_all = ["words", "uuid", "pattern", "key_pair"],
          value_parser = clap::value_parser!(u16).range(4..=1024))]
    length: Option<u16>,
    /// Set the characters of a generated value
    #[arg(long, value_enum, default_value_t, requires = "generate")]
    alphabet: AlphabetArg,
    /// Generate N words with `-` between them, 3 to 64; six have 77 bits
    #[arg(long, value_name = "N", conflicts_with = "key_pair", value_parser = clap::value_parser!(u16).range(3..=64))]
    words: Option<u16>,
    /// Generate a PIN of digits
    #[arg(long, conflicts_with_all = ["words", "uuid", "pattern", "key_pair"])]
    pin: bool,
    /// Generate a random UUID
    #[arg(long, conflicts_with_all = ["words", "pattern", "key_pair"])]
    uuid: bool,
    /// Generate a text like PATTERN: A and a are letters, 9 a digit, # a hexadecimal digit, * a letter or
    /// digit, and \\ keeps the next character
    #[arg(long, conflicts_with_all = ["words", "key_pair"])]
    pattern: Option<Pattern>,
    /// Generate a key pair: store the private half, and print the public half on stdout
    #[arg(long, value_enum, value_name = "KIND")]
    key_pair: Option<KeyPairKind>,
    /// Keep a newline at the end of stdin, and do not warn about one in a file
    #[arg(long, conflicts_with_all = GENERATORS)]
    exact: bool,
    /// Allow an empty value
    #[arg(long)]
    allow_empty: bool,
    /// Options that users may try; refused without being shown
    #[arg(long = "value", aliases = ["secret", "password", "token"], hide = true,
          num_args = 0..=1, value_name = "X")]
    value_attempt: Option<Vec<OsString>>,
}

/// A value, and the public half if it is the private half of a key pair.
pub(crate) struct ReadValue {
    pub(crate) value: SecretValue,
    pub(crate) public: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum AlphabetArg {
    /// Letters and digits
    #[default]
    Alnum,
    /// 0-9 and a-f
    Hex,
    /// Letters, digits, `-` and `_`
    Base64url,
    /// The 94 visible ASCII characters
    Ascii,
}

impl From<AlphabetArg> for Alphabet {
    fn from(arg: AlphabetArg) -> Self {
        match arg {
            AlphabetArg::Alnum => Self::Alnum,
            AlphabetArg::Hex => Self::Hex,
            AlphabetArg::Base64url => Self::Base64Url,
            AlphabetArg::Ascii => Self::Ascii,
        }
    }
}

/// Reports that a value was given on the command line.
pub(crate) fn never_from_an_argument() -> Error {
    Error::usage(
        "a value cannot be an argument: other processes and the shell's history would see it",
    )
    .hint("omit it to type it hidden, pipe it in, or use `--value-file PATH` or `--generate`")
}

fn unreadable(path: &Path, source: &io::Error) -> Error {
    Error::new(Kind::Failure, format!("cannot read `{}`: {source}", path.display()))
}

/// Reports a value that is empty or too large.
fn invalid_value(why: &str, is_empty: bool) -> Error {
    let hint = if is_empty {
        "use `--allow-empty` to store it anyway"
    } else {
        "use a value of at most 1,048,576 bytes"
    };

    Error::usage(format!("{why}; nothing was stored")).hint(hint)
}

impl ValueArgs {
    /// Refuses an attempt to pass the value itself.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.value_attempt.is_some() {
            return Err(never_from_an_argument());
        }

        if self.length.is_some() && !self.generate && !self.pin {
            return Err(Error::usage("`--length` needs `--generate` or `--pin`"));
        }

        Ok(())
    }

    /// Returns how the value is generated, or `None` if it is not.
    fn generator(&self) -> Option<Generator> {
        let length = |usual| self.length.unwrap_or(usual).into();
        if self.generate {
            Some(Generator::Characters(length(LENGTH), self.alphabet.into()))
        } else if self.pin {
            Some(Generator::Characters(length(PIN_LENGTH), Alphabet::Digits))
        } else if let Some(count) = self.words {
            Some(Generator::Words(count.into()))
        } else if self.uuid {
            Some(Generator::Uuid)
        } else {
            self.pattern.clone().map(Generator::Pattern)
        }
    }

    /// Fails before any prompt if the value's file cannot be read or is too large.
    pub(crate) fn check_file(&self) -> Result<(), Error> {
        let Some(path) = self.value_file.as_deref().filter(|path| *path != Path::new("-")) else {
            return Ok(());
        };

        let metadata = input::check(path).map_err(|source| unreadable(path, &source))?;
        if metadata.len() > SecretValue::MAX as u64 {
            return Err(invalid_value("the value is larger than 1 MiB", false));
        }

        Ok(())
    }

    /// Returns true if an option selects a source.
    pub(crate) fn names_a_source(&self) -> bool {
        self.is_generated() || self.value_file.is_some()
    }

    fn is_generated(&self) -> bool {
        self.generator().is_some() || self.key_pair.is_some()
    }

    /// Returns true if the value, in case it is read, is read from stdin.
    pub(crate) fn is_stdin(&self) -> bool {
        !self.is_generated() && self.value_file.as_deref().is_none_or(|path| path == Path::new("-"))
    }

    /// Reads the value of a secret. Warns about input that is probably a mistake. `word` begins the
    /// question.
    pub(crate) fn read(&self, word: &str, tag: &Tag, ui: &Ui) -> Result<ReadValue, Error> {
        if self.is_generated() && input::stdin_has_bytes() {
            ui.warn("stdin was not read: the value is generated");
        }

        if let Some(kind) = self.key_pair {
            let KeyPair { private, public } = key_pair::draw(kind, tag.as_str())
                .map_err(|error| Error::new(Kind::Failure, error.to_string()))?;
            let value = SecretValue::new(private, false)
                .map_err(|why| invalid_value(&why.to_string(), false))?;
            return Ok(ReadValue { value, public: Some(public) });
        }

        let question = format!("{word} of {tag}");
        Ok(ReadValue { value: self.read_value(&question, ui)?, public: None })
    }

    fn read_value(&self, question: &str, ui: &Ui) -> Result<SecretValue, Error> {
        let stdin = self.value_file.as_deref() == Some(Path::new("-"));
        let generator = self.generator();
        let bytes = match (&generator, &self.value_file) {
            (Some(generator), _) => generator.generate()?,
            (None, Some(path)) if !stdin => input::file(path, SecretValue::MAX)
                .map(|(bytes, _)| bytes)
                .map_err(|source| unreadable(path, &source))?,
            (None, None) if input::stdin_is_terminal() => prompt::value(question)?,
            _ => self.stdin()?,
        };

        if self.value_file.is_some() && !stdin && !self.exact {
            self.warn_of_newline(&bytes, ui);
        }

        let empty = bytes.is_empty();
        SecretValue::new(bytes, self.allow_empty)
            .map_err(|why| invalid_value(&why.to_string(), empty))
    }

    /// Warns about a newline at the end of a one-line file. In a file with several lines, such as a
    /// PEM key, the newline belongs to the value.
    fn warn_of_newline(&self, bytes: &SecretBytes, ui: &Ui) {
        let bytes = bytes.expose();
        let newlines = memchr::memchr_iter(b'\n', bytes).count();
        if newlines == 1 && bytes.ends_with(b"\n") && bytes.len() > 1 {
            ui.warn(
                "the value ends with the newline of the file; use `secrets create TAG < FILE` to \
                 drop it, or `--exact` to store it without this warning",
            );
        }
    }

    fn stdin(&self) -> Result<SecretBytes, Error> {
        // The limit is two bytes above that of a value, because a newline at the end does not
        // count.
        let mut bytes = input::stdin(SecretValue::MAX + 2)?;
        if !self.exact {
            input::drop_newline(&mut bytes);
        }

        Ok(bytes)
    }
}
