//! `secrets completions` prints a script for each shell and needs no vault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::Sandbox;
use crate::support::programs::environment;

#[test]
fn completions_exist_for_every_shell_without_a_vault() {
    let sandbox = Sandbox::empty();
    for (shell, part) in [
        ("bash", "complete -o nospace"),
        ("zsh", "#compdef secrets"),
        ("fish", "complete --keep-order --exclusive --command secrets"),
        ("elvish", "edit:completion:arg-completer"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let run = sandbox.command(["completions", shell]).without_env("SECRETS_PASSPHRASE").run();
        run.succeeds().stdout_has(part);
    }

    assert!(!sandbox.vault_path().exists());
}

#[test]
fn an_unknown_shell_error_names_the_known_ones() {
    let run = Sandbox::empty().run(["completions", "tcsh"]);
    stderr!(run.fails_with(2).stdout(""), @"
    error: `<SHELL>` is not one of its possible values
    hint: possible values: bash, zsh, fish, elvish, powershell
    ");

    stderr!(Sandbox::empty().run(["completions"]).fails_with(2).stdout(""), @"
    error: `<SHELL>` is missing
    hint: usage: secrets completions [OPTIONS] <SHELL>
    ");
}

#[test]
fn completions_offer_the_commands() {
    let run = Sandbox::empty().command(["--", "secrets", ""]).env("COMPLETE", "fish").run();
    let (code, stdout, stderr) = run.everything();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let offered = String::from_utf8(stdout).unwrap();

    for command in [
        "init",
        "create",
        "list",
        "get",
        "update",
        "delete",
        "clone",
        "render",
        "project",
        "completions",
    ] {
        assert!(
            offered.lines().any(|line| line.split('\t').next() == Some(command)),
            "{command}: {offered}"
        );
    }

    // Options that exist only to be refused are not offered.
    let run =
        Sandbox::empty().command(["--", "secrets", "create", "--"]).env("COMPLETE", "fish").run();
    let offered = String::from_utf8(run.everything().1).unwrap();
    assert!(offered.contains("--value-file"), "{offered}");
    for refused in ["--value\t", "--value\n", "--secret", "--password", "--token\t", "--token\n"] {
        assert!(!offered.contains(refused), "{refused}: {offered}");
    }
}

/// Returns what fish would offer for a command line.
fn offered(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let run = sandbox.command([&["--", "secrets"], words].concat()).env("COMPLETE", "fish").run();
    let (code, stdout, stderr) = run.everything();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let word = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();

    String::from_utf8(stdout).unwrap().lines().map(word).collect()
}

#[test]
fn programs_and_files_are_offered_after_the_dashes_of_run() {
    let sandbox = Sandbox::empty();
    sandbox.write("script_main.py", "");
    fs::create_dir(sandbox.path("programs")).unwrap();
    let program = sandbox.write("programs/script_runner", "");

    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    sandbox.write("programs/script_data", "");
    let path = format!("{}:/usr/bin:/bin", sandbox.path("programs").display());
    let offered = |words: &[&str]| {
        let words = [&["--", "secrets"], words].concat();
        let run = sandbox.command(words).env("COMPLETE", "fish").env("PATH", &path).run();
        String::from_utf8(run.succeeds().bytes()).unwrap()
    };

    assert_eq!(offered(&["run", "--", "script_"]), "script_main.py\nscript_runner\n");
    assert_eq!(offered(&["run", "--only", "x", "--", "sh", "script_"]), "script_main.py\n");
    assert_eq!(
        offered(&["run", "--", "sh", "-c", "x", "programs/script_d"]),
        "programs/script_data\n"
    );

    // Options after the program belong to it.
    assert_eq!(offered(&["run", "--", "sh", "--"]), "");
}

#[test]
fn global_options_are_offered_only_while_typing_an_option() {
    let sandbox = Sandbox::empty();
    for words in [&["list", ""][..], &["create", ""], &["run", ""], &["project", ""], &[""]] {
        let all = offered(&sandbox, words);
        for option in [
            "--vault",
            "--project",
            "--json",
            "--quiet",
            "-q",
            "-p",
            "--passphrase-file",
            "--color",
        ] {
            assert!(!all.iter().any(|it| it == option), "{option}: {words:?} {all:?}");
        }
    }

    for words in [&["list", "-"][..], &["list", "--"], &["-"]] {
        let all = offered(&sandbox, words);
        assert!(
            all.iter().any(|it| it == "--vault") && all.iter().any(|it| it == "--json"),
            "{words:?} {all:?}"
        );
    }

    assert_eq!(offered(&sandbox, &["list", "--vau"]), ["--vault"]);
}

#[test]
fn tags_are_offered_in_the_typed_spelling() {
    let sandbox = Sandbox::with_secrets(&[("stripe-key", "x"), ("SESSION_KEY", "y")]);
    sandbox.run(["unlock", "-q"]).succeeds();
    for (words, expected) in [
        (&["get", "str"][..], "stripe-key"),
        (&["get", "STRIPE_"], "STRIPE_KEY"),
        (&["get", "stripe_"], "stripe_key"),
        (&["get", "session-"], "session-KEY"),
        (&["run", "--only", "stripe-key,Ses"], "stripe-key,SesSION_KEY"),
        (&["run", "--file", "A=STR"], "A=STRIPE_KEY"),
    ] {
        eventually(expected, || offered(&sandbox, words).first().cloned().unwrap_or_default());
    }

    bash_completes_a_variable_and_its_tag_as_one_word(&sandbox);
    sandbox.run(["lock", "--all", "-q"]).succeeds();
}

/// The agent has 40 ms to answer, and a busy machine may need several attempts.
fn eventually(expected: &str, offered: impl Fn() -> String) {
    let all: Vec<String> = (0..40).map(|_| offered()).take_while(|it| it != expected).collect();
    assert!(all.len() < 40, "{expected:?}: {all:?}");
}

/// Readline splits `A=str`, and replaces only the part after the `=`.
fn bash_completes_a_variable_and_its_tag_as_one_word(sandbox: &Sandbox) {
    let program = sandbox.command(["completions", "bash"]).command;
    let script = "secrets() { \"$program\" \"$@\"; }; source <(secrets completions bash | sed 's/\"secrets\" --/\"$program\" --/')\n\
        COMP_WORDBREAKS=' =:'; COMP_TYPE=9; COMP_CWORD=$(($# - 1)); COMP_WORDS=(\"$@\"); last=${!#}; [[ $last == = ]] && last=\n\
        _clap_complete_secrets secrets \"$last\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let offered = |words: &[&str]| {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", script, "bash"])
            .args(words)
            .current_dir(sandbox.path(""))
            .env_clear();

        bash.envs(environment(&program));
        bash.env("program", program.get_program()).env("PATH", "/usr/bin:/bin");
        let output = bash.output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };

    for (words, expected) in [
        (&["--file", "A", "=", "str"][..], "stripe-key\n"),
        (&["--file", "A", "="], "SESSION_KEY\nstripe-key\n"),
        (&["--only", "=", "str"], "stripe-key\n"),
        (&["--file", "A", "=", "stripe-key", "--stdin", "SE"], "SESSION_KEY\n"),
        (&["--env", "A", "=", "b", "--", "bash", "--no"], "\n"),
    ] {
        eventually(expected, || offered(&[&["secrets", "run"], words].concat()));
    }
}
