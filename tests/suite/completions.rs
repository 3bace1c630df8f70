//! `secrets completions`: a script for each shell; no vault is needed.

use crate::support::Sandbox;

#[test]
fn completions_come_for_every_shell_without_a_vault() {
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
fn completions_of_an_unknown_shell_name_the_known_ones() {
    let run = Sandbox::empty().run(["completions", "tcsh"]);
    run.fails_with(2).stdout("").stderr(
        "error: `<SHELL>` is not one of its possible values\n\
         hint: possible values: bash, zsh, fish, elvish, powershell\n",
    );
    Sandbox::empty().run(["completions"]).fails_with(2).stdout("").stderr_has("error: `<SHELL>` is missing\n");
}

#[test]
fn completions_offer_the_commands() {
    let run = Sandbox::empty().command(["--", "secrets", ""]).env("COMPLETE", "fish").run();
    let (code, stdout, stderr) = run.everything();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let offered = String::from_utf8(stdout).unwrap();
    for command in ["init", "create", "list", "get", "update", "delete", "clone", "render", "project", "completions"] {
        assert!(offered.lines().any(|line| line.split('\t').next() == Some(command)), "{command}: {offered}");
    }
    // What exists to be refused is not offered.
    let run = Sandbox::empty().command(["--", "secrets", "create", "--"]).env("COMPLETE", "fish").run();
    let offered = String::from_utf8(run.everything().1).unwrap();
    assert!(offered.contains("--value-file"), "{offered}");
    for refused in ["--value\t", "--value\n", "--secret", "--password", "--token"] {
        assert!(!offered.contains(refused), "{refused}: {offered}");
    }
}
