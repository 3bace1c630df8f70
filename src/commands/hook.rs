//! `secrets hook`: lets a shell set a directory's variables while it is there.
//!
//! The code for the shell runs `secrets hook SHELL --apply` before each prompt. SECRETS_HOOK in the shell's
//! environment says what was set and why, so that nothing is done while nothing changes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use secrets_core::model::{Level, ProjectName};
use secrets_project::setup::Manifest;
use secrets_project::shell::Changes;
use secrets_project::variables::is_name;

use super::shared::shells::{ShellArg, print, variable_pairs};
use super::shared::variables::{Request, VariableRequests};
use crate::config::Environment;
use crate::context::{Context, Right};
use crate::error::{Error, Kind};
use crate::ui::prompt;

const EXAMPLES: &str = "\
Examples:
  eval \"$(secrets hook bash)\"     in ~/.bashrc
  eval \"$(secrets hook zsh)\"      in ~/.zshrc
  secrets hook fish | source      in ~/.config/fish/config.fish";

/// Print code for a shell that sets a directory's variables
///
/// In a directory with a .secrets.toml that you trust, and below it, the shell gets the variables that
/// `secrets run` would give to a program. When you leave the directory, they are unset. A variable that
/// is already set is left alone. The hook never asks for a passphrase and never uses the desktop's
/// keychain: while the vault is locked, it sets nothing. `secrets lock` leaves the variables that a shell
/// already has, and a value that changed in the vault arrives when you enter the directory again.
///
/// Every program that you start there has the values, and nothing masks its output. Prefer `secrets
/// run` where a single program needs them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HookArgs {
    /// Write for this shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: ShellArg,
    /// Print the changes for the current directory, for the code that the command prints without it
    #[arg(long, hide = true)]
    apply: bool,
}

impl HookArgs {
    /// Returns what the command needs, and its name for a refusal.
    pub(crate) fn right(&self) -> (Right, &'static str) {
        let right = if self.apply { Right::Level(Level::Use) } else { Right::Nothing };
        (right, "hook")
    }
}

const BASH: &str = r#"_secrets_hook() {
  local status=$?
  eval "$(command secrets hook bash --apply)"
  return $status
}
case ";${PROMPT_COMMAND[*]-};" in
  *_secrets_hook*) ;;
  *) PROMPT_COMMAND="_secrets_hook${PROMPT_COMMAND:+;$PROMPT_COMMAND}" ;;
esac
"#;

const ZSH: &str = r#"_secrets_hook() { eval "$(command secrets hook zsh --apply)"; }
autoload -Uz add-zsh-hook
add-zsh-hook precmd _secrets_hook
"#;

const FISH: &str = "function _secrets_hook --on-event fish_prompt
    command secrets hook fish --apply | source
end
";

const NU: &str = r"$env.config.hooks.pre_prompt = ($env.config.hooks.pre_prompt? | default [] | append {||
  let changes = (^secrets hook nu --apply)
  if ($changes | is-not-empty) {
    let changes = ($changes | from json)
    hide-env --ignore-errors ...$changes.unset
    load-env $changes.set
  }
})
";

const PWSH: &str = r#"if (-not $global:SecretsPrompt) {
  $global:SecretsPrompt = $function:prompt
  function global:prompt {
    $status = $global:LASTEXITCODE
    $changes = (& secrets hook pwsh --apply) -join "`n"
    if ($changes) { Invoke-Expression $changes }
    $global:LASTEXITCODE = $status
    & $global:SecretsPrompt
  }
}
"#;

/// The variable of the shell's environment that says what was done.
const STATE: &str = "SECRETS_HOOK";

/// The state of the shell: a key that changes with everything that matters, and the variables that
/// were set.
#[derive(Default, PartialEq, Eq)]
struct State {
    key: String,
    names: Vec<String>,
}

impl State {
    /// Reads the state, which another program may have written.
    fn of_environment() -> Self {
        let text = Environment::of(STATE).and_then(|text| text.into_string().ok());
        let text = text.unwrap_or_default();
        let (key, names) = text.split_once(':').unwrap_or_default();
        let names = names.split(',').filter(|name| is_name(name)).map(str::to_owned);
        Self { key: key.to_owned(), names: names.collect() }
    }

    fn text(&self) -> String {
        format!("{}:{}", self.key, self.names.join(","))
    }
}

pub(crate) fn run(args: &HookArgs, cx: &Context) -> Result<(), Error> {
    if args.apply {
        return apply(args.shell, cx);
    }

    Ok(cx.ui.text(match args.shell {
        ShellArg::Bash => BASH,
        ShellArg::Zsh => ZSH,
        ShellArg::Fish => FISH,
        ShellArg::Nu => NU,
        ShellArg::Pwsh => PWSH,
    })?)
}

/// The current directory, as the hook sees it.
enum Place<'m> {
    /// No manifest, or one that cannot be read
    Outside,
    Untrusted(String),
    Trusted(String, &'m Manifest),
}

fn apply(shell: ShellArg, cx: &Context) -> Result<(), Error> {
    if cx.ui.stdout_is_terminal() {
        return Err(Error::new(Kind::Refused, "`--apply` prints values for a shell")
            .hint("put the code of `secrets hook SHELL` into the shell's start file"));
    }

    // A prompt of the shell is no place for a question.
    prompt::forbid();
    let before = State::of_environment();
    let place = place(cx);
    let mut after = State::default();
    let (mut pairs, mut loaded) = (Vec::new(), None);
    match &place {
        Place::Outside => {}
        Place::Untrusted(key) => {
            after.key = format!("u{key}");
            if after.key != before.key {
                cx.ui.warn(
                    "this directory's .secrets.toml is not trusted, so no variable is set; `secrets \
                     trust --show` shows what it asks for",
                );
            }
        }
        Place::Trusted(key, _) if before.key == format!("s{key}") => return Ok(()),
        Place::Trusted(key, manifest) => match variables(manifest, cx) {
            Ok(Some((project, found))) => {
                after.key = format!("s{key}");
                pairs = found;
                loaded = Some(project);
            }
            Ok(None) => {
                after.key = format!("l{key}");
                if after.key != before.key {
                    cx.ui.warn("the vault is locked, so no variable is set; unlock it with `secrets unlock`");
                }
            }
            Err(error) => {
                after.key = format!("e{key}");
                if after.key != before.key {
                    let notes = error.notes().iter().map(|note| note.trim());
                    let all: Vec<&str> = [error.message()].into_iter().chain(notes).collect();
                    cx.ui.warn(&format!("no variable is set: {}", all.join("; ")));
                }
            }
        },
    }

    // A variable that the user has set keeps its value.
    let ours: BTreeSet<&str> = before.names.iter().map(String::as_str).collect();
    pairs.retain(|(name, _)| {
        let is_free = ours.contains(name.as_str()) || !Environment::is_set(name);
        if !is_free {
            cx.ui.warn(&format!("`{name}` is already set and keeps its value"));
        }

        is_free
    });
    if let Some(project) = loaded {
        announce(cx, &project, &pairs);
    }

    print(shell, |changes| write(changes, &before, after, &pairs))
}

/// Says which variables the shell gets.
fn announce(cx: &Context, project: &ProjectName, pairs: &[(String, OsString)]) {
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    if !names.is_empty() {
        cx.ui.status(&format!("project `{project}` sets {}", names.join(", ")));
    }
}

/// Writes the way from one state to the next.
fn write(changes: &mut Changes, before: &State, mut after: State, pairs: &[(String, OsString)]) {
    for name in &before.names {
        if pairs.iter().all(|(other, _)| other != name) {
            changes.unset(name);
        }
    }

    for (name, value) in pairs {
        if changes.set(name, value.as_bytes()) {
            after.names.push(name.clone());
        }
    }

    if after == *before {
        return;
    }

    if after.key.is_empty() {
        changes.unset(STATE);
    } else {
        changes.set(STATE, after.text().as_bytes());
    }
}

/// Finds the manifest. The record of trust is compared first, without the vault; its MAC is verified
/// once the vault is open.
fn place(cx: &Context) -> Place<'_> {
    // Reading a manifest warns of one of another user, which is no news for each prompt.
    if Environment::manifest_place().is_none() {
        return Place::Outside;
    }

    let Ok(Some(manifest)) = cx.target.manifest() else { return Place::Outside };
    let Ok(project) = cx.target.project() else { return Place::Outside };
    let key = |text: &str| format!("{}.{project}", &text[..16]);
    let Some(record) = cx.record_of(manifest) else {
        return Place::Untrusted(key(&manifest.sha256()));
    };

    let Ok(coverage) = Context::coverage(manifest) else { return Place::Outside };
    let key = key(&coverage.fingerprint());
    if record.coverage == coverage { Place::Trusted(key, manifest) } else { Place::Untrusted(key) }
}

/// A project, and names and values of variables.
type Loaded = (ProjectName, Vec<(String, OsString)>);

/// Returns the variables of the manifest, or nothing if the vault is locked.
fn variables(manifest: &Manifest, cx: &Context) -> Result<Option<Loaded>, Error> {
    cx.require_trust(manifest)?;
    let requests = VariableRequests::new(Request::default(), cx)?;
    let found = requests.variables_without_asking(cx)?;
    Ok(found.map(|variables| (requests.project().clone(), variable_pairs(variables, cx))))
}
