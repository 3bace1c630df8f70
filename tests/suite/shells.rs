//! `env` and `hook` in real shells.

use std::path::Path;
use std::process::Command;

use crate::support::Sandbox;
use crate::support::faults::skipped;
use crate::support::programs::has;
use crate::support::terminal::Terminal;

/// A value in which every shell finds something to expand.
const ODD: &str = "it's \"$HOME\" `id` $(id) \\ \\\\ ’‘ !! %d ; # \t ä\n\n";

/// Returns the shells that are here, with the option for a command.
fn shells() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    [("bash", &["--norc", "-c"][..]), ("zsh", &["-f", "-c"]), ("fish", &["--no-config", "-c"])]
        .into_iter()
        .filter(|(shell, _)| {
            let is_here = has(shell);
            if !is_here {
                skipped(&format!("{shell} is not installed"));
            }

            is_here
        })
}

/// Prepares a shell that finds the binary.
fn shell(sandbox: &Sandbox, shell: &str, options: &[&str], script: &str) -> Command {
    let directory = Path::new(env!("CARGO_BIN_EXE_secrets")).parent().unwrap();
    let mut command = sandbox.program(shell);
    command.args(options).arg(script).env("PATH", format!("{}:/usr/bin:/bin", directory.display()));
    command
}

/// Runs a script and returns what it printed to stdout and stderr.
fn output(mut command: Command) -> (String, String) {
    let output = command.output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    (stdout, stderr)
}

fn set(shell: &str, command: &str) -> String {
    if shell == "fish" { format!("{command} | source") } else { format!("eval \"$({command})\"") }
}

#[test]
fn a_shell_gets_the_values_as_they_are() {
    let sandbox = Sandbox::new().unlocked();
    let create = ["create", "odd-value", "--exact", "-q"];
    sandbox.command(create).stdin(ODD).run().succeeds();
    for (name, options) in shells() {
        let command =
            format!("secrets env --shell {name} --env 'URL=x/{{{{ secrets.odd-value }}}}'");
        let script = format!("{}; printf '%s|' \"$URL\"", set(name, &command));
        assert_eq!(
            output(shell(&sandbox, name, options, &script)).0,
            format!("x/{ODD}|"),
            "{name}"
        );
        let script = format!("{}; env -0", set(name, &format!("secrets env --shell {name}")));
        let variables = output(shell(&sandbox, name, options, &script)).0;
        assert!(variables.split('\0').any(|it| it == format!("ODD_VALUE={ODD}")), "{name}");
    }

    let json = sandbox.run(["env", "--json"]).succeeds().json();
    assert_eq!(json["variables"], serde_json::json!({"ODD_VALUE": ODD}));
    let log = sandbox.run(["audit", "--kind", "use", "--json"]).succeeds().bytes();
    assert!(String::from_utf8(log).unwrap().contains("\"env\""));
}

#[test]
fn what_a_shell_cannot_hold_is_left_out() {
    let sandbox = Sandbox::new().unlocked();
    let create = |tag: &str, value: &[u8]| {
        sandbox.command(["create", tag, "-q"]).stdin(value).run().succeeds();
    };
    create("bytes", b"\xff");
    create("plain", b"1");
    for shell in ["nu", "pwsh"] {
        let run = sandbox.run(["env", "--shell", shell]).succeeds();
        run.stderr_has("`BYTES` is left out").stdout_has("PLAIN").bytes();
    }

    let nu = sandbox.run(["env", "--shell", "nu", "--only", "plain"]).succeeds();
    nu.stdout("{\"unset\":[],\"set\":{\"PLAIN\":\"1\"}}\n");
    let pwsh = sandbox.run(["env", "--shell", "pwsh", "--only", "plain"]).succeeds();
    pwsh.stdout("${env:PLAIN} = '1'\n");
    stderr!(sandbox.run(["env", "--shell", "bash", "--only", "none"]).fails_with(3).stdout(""), @"
    error: no secret `none` in project `default`
    hint: `secrets list` shows the secrets of the project
    ");
    sandbox.run(["env"]).fails_with(2).stderr_has("--shell").bytes();
}

#[test]
fn a_terminal_shows_no_values_unasked() {
    let sandbox = Sandbox::with_secrets(&[("a", "hunter2-value")]).unlocked();
    for command in ["env --shell bash", "hook bash --apply"] {
        let mut terminal = Terminal::run(&sandbox, command);
        let screen = terminal.ends_with(7);
        assert!(!screen.contains("hunter2"), "{screen}");
    }

    let mut terminal = Terminal::run(&sandbox, "env --shell bash --reveal");
    terminal.waits_for("export A='hunter2-value'").ends_with(0);
}

/// bash computes with the value of an integer variable, which runs a `$(…)` in it. Other names choose files that
/// a shell runs, or its prompt.
#[test]
fn a_variable_with_a_meaning_in_shells_is_left_out() {
    let sandbox = Sandbox::new().unlocked();
    let value = "a[$(touch ran; echo 0)]";
    let names =
        ["optind", "random", "histcmd", "mailpath", "prompt", "fish_function_path", "zle_x"];
    for name in names {
        sandbox.command(["create", name, "-q"]).stdin(value).run().succeeds();
    }

    sandbox.command(["create", "plain", "-q"]).stdin(value).run().succeeds();
    sandbox.command(["create", "secrets-vault", "-q"]).stdin("/evil").run().succeeds();
    for (name, options) in shells() {
        let line =
            set(name, &format!("secrets env --shell {name} --env RANDOM={{{{secrets.plain}}}}"));
        output(shell(&sandbox, name, options, &line));
        let line = set(name, &format!("secrets env --shell {name}"));
        let (printed, said) = output(shell(&sandbox, name, options, &format!("{line}; env")));
        assert!(printed.contains(&format!("PLAIN={value}")), "{name}: {said}");
        assert!(
            !printed.contains("/evil") && said.matches("is left out").count() == names.len(),
            "{name}: {said}"
        );
    }

    assert!(!sandbox.path("ran").exists());
}

/// A repository with a manifest that the user trusts, and the function of the hook in a script.
fn repository() -> Sandbox {
    let sandbox = Sandbox::with_secrets(&[("unused", "hunter2-unused")]).unlocked().without_trust();
    sandbox.git("", &["init", "-q", "repo"]);
    std::fs::create_dir(sandbox.path("repo/below")).unwrap();
    let manifest = "project = \"web\"\n\n[run.env]\nKEY = \"{{ secrets.key }}\"\nLOG = \"info\"\n";
    sandbox.write("repo/.secrets.toml", manifest);
    let create = ["-p", "web", "create", "key", "-q"];
    sandbox.command(create).stdin("hunter2-key").run().succeeds();
    sandbox
}

fn trust(sandbox: &Sandbox) {
    let trust = sandbox.command(["trust", "--yes", "-q"]).current_dir(sandbox.path("repo"));
    trust.run().succeeds().bytes();
}

/// Runs a script in which `hook` stands for a prompt. It prints the variables as `[KEY LOG]`.
fn hooked(sandbox: &Sandbox, name: &str, options: &[&str], script: &str) -> (String, String) {
    let prompt = match name {
        "fish" => "emit fish_prompt",
        _ => "_secrets_hook",
    };
    let show = "printf '[%s %s]' \"$KEY\" \"$LOG\"";
    let setup = set(name, &format!("secrets hook {name}"));
    let script = script.replace("hook", prompt).replace("show", show);
    output(shell(sandbox, name, options, &format!("{setup}; {script}")))
}

#[test]
fn variables_follow_the_directory() {
    let sandbox = repository();
    trust(&sandbox);
    for (name, options) in shells() {
        let script = "hook; show; cd repo; hook; show; cd below; hook; show; cd ../..; hook; show";
        let (printed, said) = hooked(&sandbox, name, options, script);
        assert_eq!(printed, "[ ][hunter2-key info][hunter2-key info][ ]", "{name}: {said}");
        assert_eq!(said, "project `web` sets KEY, LOG\n", "{name}");
    }

    // What is set already stays, also behind a placeholder of our own.
    let script = "export LOG=debug; cd repo; hook; show; cd ..; hook; show";
    let (printed, said) = hooked(&sandbox, "bash", &["--norc", "-c"], script);
    assert_eq!(printed, "[hunter2-key debug][ debug]");
    assert!(said.contains("`LOG` is already set and keeps its value"), "{said}");

    // A shell inside the shell knows what was set.
    let inner = "cd repo; hook; bash --norc -c 'eval \"$(secrets h\"\"ook bash)\"; cd ..; _SECRETS; printf \"<%s>\" \"$KEY\"'";
    let inner = inner.replace("_SECRETS", "_secrets_h\"\"ook");
    let (printed, _) = hooked(&sandbox, "bash", &["--norc", "-c"], &inner);
    assert_eq!(printed, "<>");
}

#[test]
fn nothing_is_set_without_trust_or_while_locked() {
    let sandbox = repository();
    let bash = |script: &str| hooked(&sandbox, "bash", &["--norc", "-c"], script);
    let (printed, said) = bash("cd repo; hook; hook; show");
    assert_eq!(printed, "[ ]");
    insta::assert_snapshot!(said, @"warning: this directory's .secrets.toml is not trusted, so no variable is set; `secrets trust --show` shows what it asks for");

    trust(&sandbox);
    let change = "cd repo; hook; show; echo '# new' >>.secrets.toml; hook; show";
    let (printed, said) = bash(change);
    assert_eq!(printed, "[hunter2-key info][ ]", "{said}");
    assert!(said.contains("not trusted"), "{said}");

    trust(&sandbox);
    sandbox.run(["lock", "-q"]).succeeds();
    let (printed, said) = bash("cd repo; hook; hook; show");
    assert_eq!(printed, "[ ]");
    insta::assert_snapshot!(said, @"warning: the vault is locked, so no variable is set; unlock it with `secrets unlock`");

    // A hostile state in the environment is no code.
    let (printed, said) = bash("export SECRETS_HOOK='s:A,$(touch ran),B;id'; cd repo; hook; show");
    assert_eq!(printed, "[ ]", "{said}");
    assert!(!sandbox.path("repo/ran").exists() && !sandbox.path("ran").exists());
}

/// A repository's dotenv file has other names than a shell, and could choose another vault.
#[test]
fn a_name_that_is_no_variable_of_the_shell_is_left_out() {
    let sandbox = Sandbox::with_secrets(&[]);
    sandbox.write("names", "A=1\na.b-c=2\nSECRETS_VAULT=/evil\nSECRETS_HOOK=x\nB=3\n");
    let run = sandbox.run(["env", "--shell", "zsh", "--env-file", "names"]).succeeds();
    stderr!(run, @"
    warning: `SECRETS_VAULT` is left out: it is a setting of `secrets`; `secrets run` sets it for a program
    warning: `SECRETS_HOOK` is left out: it is a setting of `secrets`; `secrets run` sets it for a program
    warning: `a.b-c` is left out: this shell cannot hold its name or its value
    ").stdout("export A='1'\nexport B='3'\n");
}

#[test]
fn an_empty_variable_is_a_variable() {
    let sandbox = repository();
    trust(&sandbox);
    let (printed, said) =
        hooked(&sandbox, "bash", &["--norc", "-c"], "export KEY=; cd repo; hook; show");
    assert_eq!(printed, "[ info]", "{said}");
    assert!(said.contains("`KEY` is already set"), "{said}");
}

#[test]
fn missing_secrets_are_said_once() {
    let sandbox = repository();
    trust(&sandbox);
    sandbox.run(["-p", "web", "delete", "key", "-y", "-q"]).succeeds().bytes();
    let (printed, said) = hooked(&sandbox, "bash", &["--norc", "-c"], "cd repo; hook; hook; show");
    assert_eq!(printed, "[ ]");
    sandbox.run(["audit", "--kind", "use"]).succeeds().stderr_has("no entries").bytes();
    insta::assert_snapshot!(said, @"warning: no variable is set: a placeholder refers to a secret that does not exist in project `web`; .secrets.toml:4 KEY:1:1: `key`");
}

#[test]
fn the_code_for_each_shell_is_printed() {
    let sandbox = Sandbox::empty();
    for (shell, part) in [
        ("bash", "PROMPT_COMMAND"),
        ("zsh", "add-zsh-hook precmd"),
        ("fish", "--on-event fish_prompt"),
        ("nu", "load-env $changes.set"),
        ("pwsh", "Invoke-Expression $changes"),
    ] {
        sandbox.run(["hook", shell]).succeeds().stdout_has(part);
    }
}
