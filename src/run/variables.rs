//! Names of environment variables: which may be set by whom, and what is left of our own environment.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::model::Tag;

/// Names by which a shell, the loader, an interpreter or a well-known tool is made to run or load something else, or to
/// look for it elsewhere. A value out of a vault sets them only where somebody has asked for just that.
const STEERING: [&str; 60] = [
    "BASHOPTS",
    "BASH_ENV",
    "BROWSER",
    "CDPATH",
    "CLASSPATH",
    "DOTNET_STARTUP_HOOKS",
    "EDITOR",
    "ENV",
    "FPATH",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GLOBIGNORE",
    "GOFLAGS",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "INPUTRC",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LESSCLOSE",
    "LESSOPEN",
    "LOCPATH",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MAKEFLAGS",
    "MANPAGER",
    "NLSPATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PAGER",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS1",
    "PS2",
    "PS4",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "RES_OPTIONS",
    "RUBYLIB",
    "RUBYOPT",
    "RUSTC_WRAPPER",
    "SHELL",
    "SHELLOPTS",
    "SSH_ASKPASS",
    "SUDO_ASKPASS",
    "TERMCAP",
    "TERMINFO",
    "VISUAL",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];
/// Beginnings of such names.
const STEERING_PREFIXES: [&str; 6] = ["BASH_FUNC_", "DYLD_", "GIT_", "LD_", "MALLOC_", "NPM_CONFIG_"];

/// How a person's environment is known to programs: what `--clean-env` leaves.
const KEPT: [&str; 10] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "COLORTERM", "TMPDIR", "TZ", "USER"];

/// True for a name that shells can use: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// True for a name that is set only by an explicit `--env`.
pub fn steers(name: &str) -> bool {
    STEERING.contains(&name) || STEERING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// True for our own variables that hold or name what unlocks a vault: no program gets them.
pub fn is_ours(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"SECRETS_PASSPHRASE") || name.starts_with(b"SECRETS_TOKEN")
}

/// True for what `--clean-env` leaves.
pub fn is_kept(name: &OsStr) -> bool {
    KEPT.iter().any(|kept| name == *kept) || name.as_bytes().starts_with(b"LC_")
}

/// The variable of a tag: its key in upper case.
pub fn name_of(tag: &Tag) -> String {
    tag.key().as_str().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_order() {
        assert!(STEERING.is_sorted());
        assert!(STEERING_PREFIXES.is_sorted());
    }

    #[test]
    fn names_are_what_shells_take() {
        for name in ["A", "_", "a1", "DATABASE_URL"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1A", "A-B", "A.B", "A=B", "Ä", "A B"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn what_steers_is_known() {
        for name in ["LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "PATH", "IFS", "BASH_ENV", "ENV", "NODE_OPTIONS"] {
            assert!(steers(name), "{name}");
        }
        for name in ["GIT_SSH_COMMAND", "PYTHONPATH"] {
            assert!(steers(name), "{name}");
        }
        for name in ["GITHUB_TOKEN", "DATABASE_URL", "LDAP_PASSWORD", "ENVIRONMENT", "PATHS", "API_KEY"] {
            assert!(!steers(name), "{name}");
        }
        assert!(is_ours(OsStr::new("SECRETS_PASSPHRASE")) && is_ours(OsStr::new("SECRETS_PASSPHRASE_FILE")));
        assert!(is_ours(OsStr::new("SECRETS_TOKEN")) && !is_ours(OsStr::new("SECRETS_VAULT")));
    }
}
