//! The user's editor on a private file.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use secrets_files::DeferSignals;
use secrets_project::variables::is_setting;

/// The options by which Vim leaves no copy of the text outside of the file: no swap file, and no
/// history of commands and registers.
const VIM: [&str; 5] = ["-n", "-i", "NONE", "-c", "set noundofile nobackup nowritebackup"];

/// Runs an editor on a file and waits for it. `editor` is a command line for the shell, as in
/// `code --wait`. The program gets our variables except the settings of `secrets`. A signal that would
/// end this process waits for the editor, and then returns `Interrupted`.
pub fn edit(
    editor: &OsStr,
    path: &Path,
    variables: impl Iterator<Item = (OsString, OsString)>,
    search: &[PathBuf],
) -> io::Result<ExitStatus> {
    let held = DeferSignals::new()?;
    let mut line = OsString::from("exec ");
    line.push(editor);
    line.push(" \"$@\"");

    let is_kept = |(name, _): &(OsString, OsString)| name.to_str().is_none_or(|it| !is_setting(it));
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).arg("secrets");
    if is_vim(editor, search) {
        command.args(VIM);
    }

    command.arg(path).env_clear().envs(variables.filter(is_kept));
    if let Some(directory) = path.parent() {
        command.env("TMPDIR", directory);
    }

    let status = command.status()?;
    if held.take() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(status) }
}

/// Returns true if a command line starts Vim or Neovim, under whatever name.
fn is_vim(editor: &OsStr, search: &[PathBuf]) -> bool {
    let Some(word) = editor.to_str().and_then(|line| line.split_whitespace().next()) else {
        return false;
    };

    let named = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["vim", "nvim", "gvim"].iter().any(|vim| name.starts_with(vim))
    };
    let word = Path::new(word);
    let mut candidates = search.iter().map(|directory| directory.join(word));
    named(word)
        || candidates
            .find(|path| path.is_file())
            .and_then(|path| path.canonicalize().ok())
            .is_some_and(|path| named(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vim_is_known_by_its_own_name_and_behind_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("vim.basic");
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, directory.path().join("vi")).unwrap();
        std::fs::write(directory.path().join("ed"), "").unwrap();
        let search = [directory.path().to_owned()];
        for (line, expected) in [
            ("vim", true),
            ("/usr/bin/nvim -u NONE", true),
            ("vi", true),
            ("ed", false),
            ("code --wait", false),
            ("", false),
        ] {
            assert_eq!(is_vim(OsStr::new(line), &search), expected, "{line}");
        }
    }
}
