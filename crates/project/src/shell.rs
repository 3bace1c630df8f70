//! Lines that set and unset variables in a shell. A value is quoted so that the shell takes each of its
//! characters literally: nothing in it is expanded or run.

use secrets_core::model::SecretBytes;

use crate::variables::is_name;

/// A shell whose syntax is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    /// Nushell, which takes a JSON document instead of lines
    Nu,
    /// PowerShell
    Pwsh,
}

/// Changes of a shell's variables.
pub struct Changes {
    shell: Shell,
    text: SecretBytes,
    /// The members of Nushell's `unset`
    removed: Vec<String>,
}

impl Changes {
    /// Creates an empty list of changes.
    pub fn new(shell: Shell) -> Self {
        Self { shell, text: SecretBytes::with_capacity(0), removed: Vec::new() }
    }

    /// Sets a variable. Returns false if the shell cannot hold the name, which has something other than letters,
    /// digits and `_`, or the value: one with a NUL byte, or for Nushell and PowerShell one that is not UTF-8.
    pub fn set(&mut self, name: &str, value: &[u8]) -> bool {
        let is_text = std::str::from_utf8(value).is_ok();
        if !is_name(name)
            || value.contains(&0)
            || (!is_text && matches!(self.shell, Shell::Nu | Shell::Pwsh))
        {
            return false;
        }

        match self.shell {
            Shell::Bash | Shell::Zsh => {
                self.text.extend(format!("export {name}='").as_bytes());
                self.replaced(value, b"'", b"'\\''");
                self.text.extend(b"'\n");
            }
            Shell::Fish => {
                self.text.extend(format!("set -gx {name} '").as_bytes());
                for byte in value {
                    if matches!(byte, b'\\' | b'\'') {
                        self.text.push(b'\\');
                    }

                    self.text.push(*byte);
                }

                self.text.extend(b"'\n");
            }
            Shell::Pwsh => {
                self.text.extend(format!("${{env:{name}}} = '").as_bytes());
                self.powershell(value);
                self.text.extend(b"'\n");
            }
            Shell::Nu => {
                let separator = if self.text.is_empty() { "" } else { "," };
                self.text.extend(format!("{separator}\"{name}\":").as_bytes());
                self.json(value);
            }
        }

        true
    }

    /// Unsets a variable.
    pub fn unset(&mut self, name: &str) {
        let line = match self.shell {
            Shell::Bash | Shell::Zsh => format!("unset -v {name}\n"),
            Shell::Fish => format!("set -e {name}\n"),
            Shell::Pwsh => {
                format!("Remove-Item -LiteralPath 'env:{name}' -ErrorAction SilentlyContinue\n")
            }
            Shell::Nu => return self.removed.push(name.to_owned()),
        };
        self.text.extend(line.as_bytes());
    }

    /// Returns the text for the shell. Without changes it is empty.
    pub fn into_text(self) -> SecretBytes {
        if self.shell != Shell::Nu || (self.text.is_empty() && self.removed.is_empty()) {
            return self.text;
        }

        let removed: Vec<String> = self.removed.iter().map(|name| format!("\"{name}\"")).collect();
        let mut document = SecretBytes::with_capacity(self.text.len() + 64);
        document.extend(format!("{{\"unset\":[{}],\"set\":{{", removed.join(",")).as_bytes());
        document.extend(self.text.expose());
        document.extend(b"}}\n");
        document
    }

    fn replaced(&mut self, value: &[u8], from: &[u8], to: &[u8]) {
        let mut rest = value;
        while let Some(at) = memchr::memmem::find(rest, from) {
            self.text.extend(&rest[..at]);
            self.text.extend(to);
            rest = &rest[at + from.len()..];
        }

        self.text.extend(rest);
    }

    /// Doubles the characters that end a quoted text in PowerShell: the apostrophe and four typographic
    /// ones.
    fn powershell(&mut self, value: &[u8]) {
        for character in String::from_utf8_lossy(value).chars() {
            // PowerShell reads a program's output by lines, so a carriage return would be lost.
            if character == '\r' {
                self.text.extend(b"'+[char]13+'");
                continue;
            }

            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            if matches!(character, '\'' | '\u{2018}'..='\u{201b}') {
                self.text.extend(bytes);
            }

            self.text.extend(bytes);
        }
    }

    /// Appends a JSON string (RFC 8259, section 7).
    fn json(&mut self, value: &[u8]) {
        self.text.push(b'"');
        for byte in value {
            match byte {
                b'"' | b'\\' => {
                    self.text.push(b'\\');
                    self.text.push(*byte);
                }
                0..0x20 | 0x7f => self.text.extend(format!("\\u{byte:04x}").as_bytes()),
                _ => self.text.push(*byte),
            }
        }

        self.text.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "it's \"$HOME\" `x` \\ ’ \n!";

    fn text(shell: Shell, value: &[u8]) -> String {
        let mut changes = Changes::new(shell);
        assert!(changes.set("A", value));
        changes.unset("B");
        String::from_utf8(changes.into_text().expose().to_vec()).unwrap()
    }

    #[test]
    fn each_shell_takes_every_character_literally() {
        for (shell, expected) in [
            (Shell::Bash, "export A='it'\\''s \"$HOME\" `x` \\ ’ \n!'\nunset -v B\n"),
            (Shell::Fish, "set -gx A 'it\\'s \"$HOME\" `x` \\\\ ’ \n!'\nset -e B\n"),
            (
                Shell::Pwsh,
                "${env:A} = 'it''s \"$HOME\" `x` \\ ’’ \n!'\nRemove-Item -LiteralPath 'env:B' \
                 -ErrorAction SilentlyContinue\n",
            ),
            (
                Shell::Nu,
                "{\"unset\":[\"B\"],\"set\":{\"A\":\"it's \\\"$HOME\\\" `x` \\\\ ’ \\u000a!\"}}\n",
            ),
        ] {
            assert_eq!(text(shell, VALUE.as_bytes()), expected, "{shell:?}");
        }

        assert_eq!(text(Shell::Zsh, VALUE.as_bytes()), text(Shell::Bash, VALUE.as_bytes()));
        let document: serde_json::Value =
            serde_json::from_str(&text(Shell::Nu, b"\x01\x7f\n")).unwrap();
        assert_eq!(document["set"]["A"], "\u{1}\u{7f}\n");
    }

    #[test]
    fn what_a_shell_cannot_hold_is_reported() {
        for (shell, value, expected) in [
            (Shell::Bash, &b"a\0"[..], false),
            (Shell::Nu, b"\xff", false),
            (Shell::Pwsh, b"\xff", false),
            (Shell::Fish, b"\xff", true),
        ] {
            assert_eq!(Changes::new(shell).set("A", value), expected, "{shell:?}");
        }

        assert!(Changes::new(Shell::Nu).into_text().is_empty());
    }
}
