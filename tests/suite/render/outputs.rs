//! Values go to a file or a pipe, never to a terminal, and not to a file that git tracks.

use std::fs;

use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

use super::sandbox;

#[test]
fn output_dash_is_stdout_and_text_may_start_with_a_dash() {
    let sandbox = Sandbox::with_secrets(&[("x", "value")]);
    sandbox.run(["render", "-e", "-{{X}}", "-o", "-"]).succeeds().stdout("-value");
    assert!(!sandbox.path("-").exists());
    let output = sandbox.run(["render", "-e", "{{X}}", "-o", "-", "--check"]).fails_with(2);

    stderr!(output, @"
    error: `--check` and `--mode` require a file
    hint: set it with `-o OUT`
    ");
}

#[test]
fn a_terminal_shows_the_tag_in_place_of_each_value() {
    let sandbox = sandbox();
    sandbox.write(
        "t",
        "a={{X}} b={{ secrets.MY_SECRET | json }} c={{TOKEN}} d={{ nothing }} e=\\{{X}}\n",
    );

    let masked = "a=‹x› b=‹my-secret› c=‹TOKEN› d={{ nothing }} e={{X}}\r\n";
    let note =
        "warning: a terminal shows ‹tag› for each value; use `--reveal` to print the\r\nvalues\r\n";
    let script = format!(
        "export SECRETS_PASSPHRASE='{PASSPHRASE}'\n\
         \"$secrets\" render t --keep-unknown 2>/dev/null; echo 1\n\
         \"$secrets\" render t --keep-unknown -o - 2>&1 | cat >/dev/null; \"$secrets\" render -e '{{{{X}}}}!'; echo 2\n\
         \"$secrets\" render -e '[{{{{X}}}}]' --reveal; echo 3\n\
         \"$secrets\" render -e '({{{{X}}}})' | cat; echo 4\n\
         \"$secrets\" render -e 'plain'; echo 5"
    );

    let mut terminal = Terminal::shell(&sandbox, &script);

    // This holds for short values and for filtered ones.
    terminal.waits_for(masked).waits_for("1\r\n").waits_for(note).waits_for("‹x›!2\r\n");
    terminal.waits_for("[vx]3\r\n").waits_for("(vx)4\r\n").waits_for("plain5\r\n");
    assert_eq!(terminal.ends_with(0).matches("warning: a terminal shows").count(), 1);
}

#[test]
fn pipes_and_files_get_the_values_with_and_without_reveal() {
    let sandbox = sandbox();
    for reveal in [&[][..], &["--reveal"]] {
        sandbox
            .run([&["render", "-e", "{{X}}"][..], reveal].concat())
            .succeeds()
            .stdout("vx")
            .stderr("");

        sandbox
            .run([&["render", "-q", "-e", "{{X}}", "-o", "out"][..], reveal].concat())
            .succeeds();
        assert_eq!(sandbox.read("out"), b"vx");
        fs::remove_file(sandbox.path("out")).unwrap();
    }
}

#[test]
fn an_output_that_git_tracks_is_refused_and_an_unignored_one_is_a_warning() {
    let sandbox = Sandbox::with_secrets(&[("key", "a-value-of-it")]);
    fs::create_dir(sandbox.path("repo")).unwrap();
    sandbox.write("repo/t", "K={{ secrets.key }}\n");
    sandbox.write("repo/plain", "no placeholder\n");
    sandbox.write("repo/out", "before\n");
    sandbox.write("repo/.gitignore", "/ignored\n");
    sandbox.git("repo", &["init", "-q"]);
    sandbox.git("repo", &["add", "."]);

    let render = |arguments: &[&str]| {
        sandbox.command([&["render"], arguments].concat()).current_dir(sandbox.path("repo")).run()
    };

    let run = render(&["t", "-o", "out"]).fails_with(7);
    stderr!(run, @"
    error: `out` is tracked by git: the next commit would publish its content
    hint: remove it from git with `git rm --cached out`, or write it anyway with `--force`
    ");

    assert_eq!(sandbox.read("repo/out"), b"before\n");

    // The error comes before the question for a passphrase.
    let locked = sandbox.command(["render", "t", "-o", "out"]).without_env("SECRETS_PASSPHRASE");
    stderr!(locked.current_dir(sandbox.path("repo")).run().fails_with(7), @"
    error: `out` is tracked by git: the next commit would publish its content
    hint: remove it from git with `git rm --cached out`, or write it anyway with `--force`
    ");

    // Checking is not writing. An output without a value may be committed.
    stderr!(render(&["t", "-o", "out", "--check"]).fails_with(8), @"
    error: `out` is out of date
    hint: render it without `--check`
    ");

    stderr!(render(&["plain", "-o", "out"]).succeeds(), @"wrote `out`");
    stderr!(render(&["t", "-o", "out", "--force"]).succeeds(), @"wrote `out`");
    assert_eq!(sandbox.read("repo/out"), b"K=a-value-of-it\n");

    let warning =
        "warning: git does not ignore `new`: add it to .gitignore before the next commit\n";
    render(&["t", "-o", "new"]).succeeds().stderr(&format!("{warning}wrote `new`\n"));
    render(&["t", "-o", "new", "--check"]).succeeds();
    stderr!(render(&["t", "-o", "ignored"]).succeeds(), @"wrote `ignored`");
    stderr!(render(&["t", "-o", "../outside"]).succeeds(), @"wrote `../outside`");

    // The repository is found from another directory as well.
    let run = sandbox.run(["render", "repo/t", "-o", "repo/out"]).fails_with(7);
    stderr!(run, @"
    error: `repo/out` is tracked by git: the next commit would publish its content
    hint: remove it from git with `git rm --cached repo/out`, or write it anyway with `--force`
    ");

    // A repository that cannot be read does not count as missing.
    sandbox.write("repo/.git/index", "DIRC");
    stderr!(render(&["t", "-o", "other"]).fails_with(1), @"
    error: cannot read `[dir]/repo/.git/index`: it is truncated
    hint: check the repository with `git fsck`
    hint: use `--force` to write the file without checking git
    ");

    stderr!(render(&["t", "-o", "other", "--force"]).succeeds(), @"wrote `other`");
    stderr!(sandbox.run(["render", "--all", "--force"]).fails_with(2), @"
    error: `--all` cannot be used with `--force`
    hint: usage: secrets render [OPTIONS] [FILE]
    ");
}

#[test]
fn no_link_leads_a_template_or_an_output_into_a_git_directory() {
    let sandbox = Sandbox::with_secrets(&[("key", "a-value-of-it")]);
    fs::create_dir(sandbox.path("repo")).unwrap();
    sandbox.git("repo", &["init", "-q"]);
    sandbox.write("repo/t", "K={{ secrets.key }}\n");
    std::os::unix::fs::symlink(".git/config", sandbox.path("repo/app.tmpl")).unwrap();
    std::os::unix::fs::symlink(".git/hooks", sandbox.path("repo/conf")).unwrap();
    std::os::unix::fs::symlink(".git", sandbox.path("repo/store")).unwrap();

    let render = |arguments: &[&str]| {
        sandbox.command([&["render"], arguments].concat()).current_dir(sandbox.path("repo")).run()
    };

    for arguments in [
        &["app.tmpl"][..],
        &["store/config"],
        &["t", "-o", "conf/pre-commit"],
        &["t", "-o", "store/x"],
    ] {
        let run = render(arguments).fails_with(7).stdout("");
        run.stderr_has("` leads into a git directory by a symbolic link\n");
    }

    // A path that was typed is intentional.
    stderr!(render(&["t", "-o", ".git/mine"]).succeeds(), @"wrote `.git/mine`");
    render(&[".git/mine"]).succeeds().stdout("K=a-value-of-it\n");
}
