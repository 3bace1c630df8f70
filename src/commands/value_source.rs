//! Where a value comes from: a hidden prompt, stdin, a file, the generator. Never an argument.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::crypto::random::{Alphabet, generate};
use crate::error::{Error, Kind};
use crate::model::{SecretBytes, SecretValue};
use crate::ui::{Ui, input, prompt};

/// The options of `create` and `update` that name a value's source.
#[derive(clap::Args)]
pub(super) struct ValueArgs {
    /// Take the value from a file, byte for byte; `-` is stdin
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath, conflicts_with = "generate")]
    value_file: Option<PathBuf>,
    /// Generate the value
    #[arg(long)]
    generate: bool,
    /// Characters of a generated value, 8 to 1024
    #[arg(long, value_name = "N", default_value_t = 32, requires = "generate",
          value_parser = clap::value_parser!(u16).range(8..=1024))]
    length: u16,
    /// What a generated value is made of
    #[arg(long, value_enum, default_value_t, requires = "generate")]
    alphabet: AlphabetArg,
    /// Keep a newline at the end of what comes from stdin, and do not warn of one in a file
    #[arg(long, conflicts_with = "generate")]
    exact: bool,
    /// Allow a value without a byte
    #[arg(long)]
    allow_empty: bool,
    /// What people try; refused without being repeated
    #[arg(long = "value", aliases = ["secret", "password", "token"], hide = true,
          num_args = 0..=1, value_name = "X")]
    value_attempt: Option<Vec<OsString>>,
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

/// The answer to a value on the command line.
pub(super) fn never_from_an_argument() -> Error {
    Error::usage("a value is never taken from an argument: other processes and the shell's history would see it")
        .hint("leave it out to type it unseen, pipe it in, or use `--value-file PATH` or `--generate`")
}

fn unreadable(path: &Path, source: &io::Error) -> Error {
    Error::new(Kind::Failure, format!("cannot read `{}`: {source}", path.display()))
}

/// The refusal of a value that is empty or too large.
fn unfit(why: &str, is_empty: bool) -> Error {
    let hint = if is_empty {
        "`--allow-empty` stores it all the same"
    } else {
        "a value has at most 1,048,576 bytes"
    };

    Error::usage(format!("{why}; nothing was stored")).hint(hint)
}

impl ValueArgs {
    /// Refuses an attempt to pass the value itself.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.value_attempt.is_some() { Err(never_from_an_argument()) } else { Ok(()) }
    }

    /// Fails if the value's file cannot be read or is too large, before anything is asked for.
    pub(super) fn check_file(&self) -> Result<(), Error> {
        let Some(path) = self.value_file.as_deref().filter(|path| *path != Path::new("-")) else {
            return Ok(());
        };

        let metadata = input::check(path).map_err(|source| unreadable(path, &source))?;
        if metadata.len() > SecretValue::MAX as u64 {
            return Err(unfit("the value is larger than 1 MiB", false));
        }

        Ok(())
    }

    /// True where an option names a source.
    pub(super) fn names_a_source(&self) -> bool {
        self.generate || self.value_file.is_some()
    }

    /// True where the value is read from stdin, if it is read.
    pub(super) fn is_stdin(&self) -> bool {
        !self.generate && self.value_file.as_deref().is_none_or(|path| path == Path::new("-"))
    }

    /// Reads the value. Warns of what was probably not meant.
    pub(super) fn read(&self, question: &str, ui: &Ui) -> Result<SecretValue, Error> {
        let stdin = self.value_file.as_deref() == Some(Path::new("-"));
        if self.generate && input::stdin_has_bytes() {
            ui.warn("stdin was not read: the value is generated");
        }

        let bytes = match &self.value_file {
            _ if self.generate => generate(self.length.into(), self.alphabet.into())?,
            Some(path) if !stdin => input::file(path, SecretValue::MAX)
                .map(|(bytes, _)| bytes)
                .map_err(|source| unreadable(path, &source))?,
            None if input::stdin_is_terminal() => prompt::value(question)?,
            _ => self.stdin()?,
        };

        if self.value_file.is_some() && !stdin && !self.exact {
            self.warn_of_newline(&bytes, ui);
        }

        let empty = bytes.is_empty();
        SecretValue::new(bytes, self.allow_empty).map_err(|why| unfit(&why.to_string(), empty))
    }

    /// Warns of a newline at the end of a file's only line. In a file of several lines, a PEM key for example, it belongs
    /// to the value.
    fn warn_of_newline(&self, bytes: &SecretBytes, ui: &Ui) {
        let bytes = bytes.expose();
        let newlines = memchr::memchr_iter(b'\n', bytes).count();
        if newlines == 1 && bytes.ends_with(b"\n") && bytes.len() > 1 {
            ui.warn(
                "the value ends with a newline, as the file does; stdin drops it: `secrets create TAG < FILE`; \
                 `--exact` stores it without this warning",
            );
        }
    }

    fn stdin(&self) -> Result<SecretBytes, Error> {
        // Two bytes more than a value: a newline at the end is not counted.
        let mut bytes = input::stdin(SecretValue::MAX + 2)?;
        if !self.exact {
            input::drop_newline(&mut bytes);
        }

        Ok(bytes)
    }
}
