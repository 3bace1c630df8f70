//! The names of environment variables: who may set which, and which inherited variables are kept.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use secrets_core::model::Tag;

/// Variables that make a shell, the loader, an interpreter or a well-known tool run or load other
/// code, or look for it elsewhere. A value from a vault sets them only if the user asks for exactly
/// that variable.
const DANGEROUS: [&str; 171] = [
    "ANSIBLE_CONFIG",
    "ANSIBLE_LIBRARY",
    "ANSIBLE_VAULT_PASSWORD_FILE",
    "ANT_ARGS",
    "ANT_OPTS",
    "BASHOPTS",
    "BASH_ENV",
    "BROWSER",
    "BUN_OPTIONS",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_HOME",
    "CATALINA_OPTS",
    "CC",
    "CDPATH",
    "CLASSPATH",
    "CLOUDSDK_PYTHON",
    "COMPOSER_HOME",
    "CURL_HOME",
    "CVS_RSH",
    "CXX",
    "DOTNET_STARTUP_HOOKS",
    "EDITOR",
    "ELECTRON_RUN_AS_NODE",
    "ELIXIR_ERL_OPTIONS",
    "EMACSLOADPATH",
    "ENV",
    "ERL_AFLAGS",
    "ERL_FLAGS",
    "ERL_LIBS",
    "ERL_ZFLAGS",
    "EXINIT",
    "FCEDIT",
    "FPATH",
    "GCONV_PATH",
    "GEM_HOME",
    "GEM_PATH",
    "GHCRTS",
    "GIO_EXTRA_MODULES",
    "GLIBC_TUNABLES",
    "GLOBIGNORE",
    "GNUMAKEFLAGS",
    "GOENV",
    "GOFLAGS",
    "GOPATH",
    "GOROOT",
    "GOTOOLCHAIN",
    "GOTOOLDIR",
    "GRADLE_OPTS",
    "GRADLE_USER_HOME",
    "GTK_MODULES",
    "GUILE_LOAD_PATH",
    "HGEDITOR",
    "HGRCPATH",
    "HISTFILE",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "INPUTRC",
    "IPYTHONDIR",
    "JAVA_HOME",
    "JAVA_OPTS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "JRUBY_OPTS",
    "JULIA_DEPOT_PATH",
    "JULIA_LOAD_PATH",
    "JUPYTER_CONFIG_DIR",
    "LESS",
    "LESSCLOSE",
    "LESSKEY",
    "LESSKEYIN",
    "LESSOPEN",
    "LOCPATH",
    "LUA_CPATH",
    "LUA_PATH",
    "MAKEFILES",
    "MAKEFLAGS",
    "MANOPT",
    "MANPAGER",
    "MAVEN_ARGS",
    "MAVEN_OPTS",
    "MFLAGS",
    "MYSQL_HOME",
    "NIX_CONFIG",
    "NIX_PATH",
    "NLSPATH",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PAGER",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PNPM_HOME",
    "PROMPT_COMMAND",
    "PS0",
    "PS1",
    "PS2",
    "PS4",
    "PSQLRC",
    "PSQL_EDITOR",
    "PSQL_PAGER",
    "PYTEST_ADDOPTS",
    "PYTEST_PLUGINS",
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONWARNINGS",
    "QT_PLUGIN_PATH",
    "RES_OPTIONS",
    "RSYNC_CONNECT_PROG",
    "RSYNC_RSH",
    "RUBYLIB",
    "RUBYOPT",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "R_ENVIRON",
    "R_ENVIRON_USER",
    "R_LIBS",
    "R_PROFILE",
    "R_PROFILE_USER",
    "SBT_OPTS",
    "SHELL",
    "SHELLOPTS",
    "SSH_ASKPASS",
    "SUDO_ASKPASS",
    "SUDO_EDITOR",
    "SVN_EDITOR",
    "SVN_SSH",
    "SYSTEMD_EDITOR",
    "SYSTEMD_PAGER",
    "TAR_OPTIONS",
    "TCLLIBPATH",
    "TERMCAP",
    "TERMINFO",
    "TF_CLI_CONFIG_FILE",
    "UV_CONFIG_FILE",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_PYTHON",
    "VIMINIT",
    "VISUAL",
    "WGETRC",
    "YARN_IGNORE_PATH",
    "YARN_PLUGINS",
    "YARN_RC_FILENAME",
    "YARN_YARN_PATH",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];
/// Prefixes of such names.
const DANGEROUS_PREFIXES: [&str; 18] = [
    "BASH_FUNC_",
    "BUNDLE_",
    "CARGO_TARGET_",
    "COMPLUS_",
    "CORECLR_",
    "COREPACK_",
    "COR_",
    "DIRENV_",
    "DYLD_",
    "GIT_",
    "LD_",
    "LUA_INIT",
    "MALLOC_",
    "NPM_CONFIG_",
    "PIP_",
    "PNPM_CONFIG_",
    "TF_CLI_ARGS",
    "XDG_",
];

/// Variables that change where programs connect to, whom they trust and where they look for
/// credentials. They are set like any other variable, but are marked when a manifest's variables
/// are shown.
const REDIRECTING: [&str; 28] = [
    "ALL_PROXY",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_ENDPOINT_URL",
    "AWS_SHARED_CREDENTIALS_FILE",
    "CURL_CA_BUNDLE",
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "FTP_PROXY",
    "GNUPGHOME",
    "GOPROXY",
    "GOSUMDB",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "KUBECONFIG",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "NO_PROXY",
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PYTHONHTTPSVERIFY",
    "REQUESTS_CA_BUNDLE",
    "RSYNC_PROXY",
    "SSH_AUTH_SOCK",
    "SSLKEYLOGFILE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
];

/// Variables with a meaning of their own in bash, zsh or fish. A shell computes with the value of some, and
/// expands or runs that of others, so a value from a vault is never put into one.
const OF_SHELLS: [&str; 79] = [
    "ARGV",
    "BASHPID",
    "BASH_ALIASES",
    "CDPATH",
    "COLUMNS",
    "COMP_WORDBREAKS",
    "DIRSTACK",
    "EGID",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "ERRNO",
    "EUID",
    "FIGNORE",
    "FPATH",
    "FUNCNEST",
    "GID",
    "GLOBIGNORE",
    "GROUPS",
    "HISTCHARS",
    "HISTCMD",
    "HISTCONTROL",
    "HISTFILESIZE",
    "HISTIGNORE",
    "HISTORY",
    "HISTSIZE",
    "HOSTNAME",
    "KEYTIMEOUT",
    "LINENO",
    "LINES",
    "LISTMAX",
    "LOGCHECK",
    "MAIL",
    "MAILCHECK",
    "MAILPATH",
    "MANPATH",
    "MODULE_PATH",
    "NULLCMD",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PPID",
    "PROMPT",
    "PROMPT2",
    "PROMPT3",
    "PROMPT4",
    "PS3",
    "PSVAR",
    "PWD",
    "RANDOM",
    "READNULLCMD",
    "REPLY",
    "REPORTTIME",
    "RPROMPT",
    "RPROMPT2",
    "RPS1",
    "RPS2",
    "SAVEHIST",
    "SECONDS",
    "SHLVL",
    "SIGNALS",
    "SPROMPT",
    "SRANDOM",
    "STATUS",
    "STTY",
    "TIMEFMT",
    "TIMEFORMAT",
    "TMOUT",
    "TTY",
    "TTYIDLE",
    "UID",
    "UMASK",
    "USERNAME",
    "VERSION",
    "WATCH",
    "WATCHFMT",
    "WORDCHARS",
];
/// Prefixes of such names.
const OF_SHELLS_PREFIXES: [&str; 5] = ["BASH_", "FISH_", "ZLE_", "ZSH_", "__FISH_"];

/// The prefix of our own settings.
const SETTINGS_PREFIX: &str = "SECRETS_";

/// The variables that `--clean-env` keeps, because they describe the user's environment.
const CLEAN_ENVIRONMENT: [&str; 10] =
    ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "COLORTERM", "TMPDIR", "TZ", "USER"];

/// Returns true for a name that shells can use: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Returns true for a name that only an explicit `--env` sets. Case is ignored, because npm reads
/// `npm_config_script_shell`.
pub fn is_dangerous(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    DANGEROUS.binary_search(&name.as_str()).is_ok()
        || DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns true for a variable with a meaning of its own in a shell, which is never set. Case is ignored, because zsh and
/// fish have lower-case names.
pub fn is_of_shells(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    OF_SHELLS.binary_search(&name.as_str()).is_ok()
        || OF_SHELLS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns true for a name that redirects programs, which is marked when it is shown.
pub fn redirects(name: &str) -> bool {
    REDIRECTING.binary_search(&name.to_ascii_uppercase().as_str()).is_ok()
}

/// Returns true for a setting of this program, which a manifest cannot set.
pub fn is_setting(name: &str) -> bool {
    let prefix = name.get(..SETTINGS_PREFIX.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(SETTINGS_PREFIX))
}

/// Returns true for our own variables that contain or name a vault's credentials, or that give
/// consent. They are never passed to a program.
pub fn is_credential(name: &OsStr) -> bool {
    let never: [&[u8]; 4] =
        [b"SECRETS_KEY_FILE", b"SECRETS_PASSPHRASE", b"SECRETS_TOKEN", b"SECRETS_TRUST_MANIFEST"];
    never.iter().any(|start| name.as_bytes().starts_with(start))
}

/// Returns true for a variable that `--clean-env` keeps.
pub fn is_kept(name: &OsStr) -> bool {
    CLEAN_ENVIRONMENT.iter().any(|kept| name == *kept) || name.as_bytes().starts_with(b"LC_")
}

/// Returns the name of a tag's variable, which is its key in upper case.
pub fn name_of(tag: &Tag) -> String {
    tag.key().as_str().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_order() {
        assert!(DANGEROUS.is_sorted());
        assert!(DANGEROUS_PREFIXES.is_sorted());
        assert!(REDIRECTING.is_sorted());
        assert!(OF_SHELLS.is_sorted());
        assert!(REDIRECTING.iter().all(|name| !is_dangerous(name)));
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
        for name in [
            "LD_PRELOAD",
            "DYLD_INSERT_LIBRARIES",
            "PATH",
            "IFS",
            "BASH_ENV",
            "ENV",
            "NODE_OPTIONS",
        ] {
            assert!(is_dangerous(name), "{name}");
        }

        for name in
            ["GIT_SSH_COMMAND", "PYTHONPATH", "GIT_CONFIG_COUNT", "PIP_INDEX_URL", "LUA_INIT_5_4"]
        {
            assert!(is_dangerous(name), "{name}");
        }

        for name in ["npm_config_script_shell", "Npm_Config_X", "bash_env", "Path", "ld_preload"] {
            assert!(is_dangerous(name), "{name}");
        }

        for name in [
            "CARGO_REGISTRY_TOKEN",
            "NPM_TOKEN",
            "UV_PUBLISH_TOKEN",
            "TF_VAR_password",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            assert!(!is_dangerous(name), "{name}");
        }

        assert!(
            redirects("https_proxy")
                && redirects("NODE_EXTRA_CA_CERTS")
                && !redirects("PROXY_PASSWORD")
        );

        assert!(
            is_setting("SECRETS_VAULT")
                && is_setting("secrets_project")
                && !is_setting("SECRET_KEY")
        );

        for name in
            ["GITHUB_TOKEN", "DATABASE_URL", "LDAP_PASSWORD", "ENVIRONMENT", "PATHS", "API_KEY"]
        {
            assert!(!is_dangerous(name), "{name}");
        }

        assert!(
            is_credential(OsStr::new("SECRETS_PASSPHRASE"))
                && is_credential(OsStr::new("SECRETS_PASSPHRASE_FILE"))
        );

        assert!(is_credential(OsStr::new("SECRETS_TRUST_MANIFEST")));
        assert!(
            is_credential(OsStr::new("SECRETS_TOKEN"))
                && !is_credential(OsStr::new("SECRETS_VAULT"))
        );
    }
}
