//! Warnings about rendered files, as people read them. They name variables, tags and readers, never
//! a value.

use std::fmt;

use secrets_core::model::Tag;

use crate::dotenv::readers::Reader;

/// A structured file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        })
    }
}

impl Format {
    /// Returns the format of a file by its name, which must be in lower case.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// A difference between the meaning of a rendered file and that of its template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Variables of a dotenv file for which some readers get another value
    Misread { names: Vec<String>, readers: Vec<Reader> },
    /// Variables of a dotenv file that some readers cannot read, whatever the value is
    Unreadable { names: Vec<String>, readers: Vec<Reader> },
    /// The file is invalid, or its structure differs from the template's
    Structure {
        format: Format,
        /// The secret whose value alone breaks the structure, if there is one
        tag: Option<Tag>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misread { names, readers } => {
                let (verb, value) = (
                    if readers.len() == 1 { "reads" } else { "read" },
                    if names.len() == 1 { "a different value" } else { "different values" },
                );

                let readers = listed(readers.iter().map(|reader| reader.name()));
                write!(f, "{readers} {verb} {value} for {}; ", listed(names))?;
                f.write_str(
                    "write the placeholder without quotes and with the filter `dotenv`, \
                     or set `readers` for the file",
                )
            }
            Self::Unreadable { names, readers } => {
                let named = listed(readers.iter().map(|reader| reader.name()));
                let what = match (&readers[..], names.len()) {
                    ([Reader::Bash], 1) => "cannot have a variable named",
                    ([Reader::Bash], _) => "cannot have variables named",
                    ([_], 1) => "does not read the variable",
                    ([_], _) => "does not read the variables",
                    (_, 1) => "do not read the variable",
                    _ => "do not read the variables",
                };

                write!(f, "{named} {what} {}; ", listed(names))?;
                f.write_str("list the programs that read the file in `readers`")
            }
            Self::Structure { format, tag } => {
                match tag {
                    Some(tag) => write!(f, "the value of `{tag}` breaks the {format}; ")?,
                    None => write!(f, "the stored values break the {format}; ")?,
                }

                f.write_str(
                    "write its placeholder between double quotes and with the filter `json`",
                )
            }
        }
    }
}

fn listed(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}
