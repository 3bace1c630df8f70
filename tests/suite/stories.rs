//! docs/stories.md: each story is typed on a real terminal, and prints what the page shows.

use std::os::unix::fs::PermissionsExt;

use regex::Regex;

use crate::support::faults::skipped;
use crate::support::files::root;
use crate::support::programs::has;
use crate::support::terminal::Terminal;
use crate::support::{PASSPHRASE, Sandbox};

/// Returns the text of a story: everything below its heading.
fn story(heading: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/stories.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().unwrap().to_owned()
}

/// Returns the lines of the blocks of one language.
fn lines(story: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = story.split(&opening).skip(1);
    let lines = blocks.flat_map(|rest| rest.split("```").next().unwrap().lines());
    lines.map(str::to_owned).collect()
}

/// Types a story's commands and compares what is printed. `answers` are typed at prompts, in order, and
/// `keys` when the list of `pick` is there. `before` runs in the shell first.
fn play(sandbox: &Sandbox, before: &str, story: &str, answers: &[&str], keys: &[(&str, &str)]) {
    // What differs from run to run: hints of generated values, dates and ids.
    let varies = Regex::new(r"[0-9a-f]{4}…[0-9a-f]{4}|\d{4}-\d\d-\d\d|se[0-9a-f]{16}|  +").unwrap();
    let home = sandbox.path("").display().to_string();
    let lines = lines(story, "console");
    let commands: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("$ ")).collect();
    let function = "secrets() { if [ \"$1\" = init ]; then set -- \"$@\" --kdf-memory 19 \
        --kdf-iterations 1 --kdf-parallelism 1; fi; \"$secrets\" \"$@\"; }";
    let script = format!(
        "stty cols 200 rows 24; export TERM=xterm; {function}\n{before}\n{}",
        commands.join("\n")
    );

    let mut terminal = Terminal::shell(sandbox, &script);
    let mut answers = answers.iter();
    for line in &lines {
        if let Some(command) = line.strip_prefix("$ ") {
            if command.starts_with("secrets pick") {
                for (shown, typed) in keys {
                    terminal.shows(shown).types(typed);
                }
            }

            continue;
        }

        let line = line.replace("/home/you", home.trim_end_matches('/'));
        for part in varies.split(&line).map(str::trim).filter(|part| !part.is_empty()) {
            terminal.waits_for(part);
        }

        let is_prompt = ["Value of", "New value of", "New passphrase", "Repeat", "Passphrase for"];
        if line.ends_with(':') && is_prompt.iter().any(|begin| line.starts_with(begin)) {
            terminal.types(answers.next().expect(&line)).types("\n");
        }
    }

    assert!(answers.next().is_none(), "an answer was not asked for");
    terminal.ends();
}

/// A repository with the files of the first story.
fn repository(sandbox: &Sandbox) {
    let manifest = lines(&story("A web developer with three environments"), "toml").join("\n");
    sandbox.git("", &["init", "-q", "repo"]);
    sandbox.write("repo/.secrets.toml", manifest + "\n");
    let template = "DATABASE_URL={{ secrets.database-url | dotenv }}\n\
        SESSION_KEY={{ secrets.session-key }}\n";
    sandbox.write("repo/web.env.tmpl", template);
}

#[test]
fn a_web_developer_with_three_environments() {
    let sandbox = Sandbox::new().unlocked();
    repository(&sandbox);
    let answers = ["postgres://localhost/web", "postgres://staging.example.com/web"];
    play(&sandbox, "cd repo", &story("A web developer with three environments"), &answers, &[]);
    let rendered = String::from_utf8(sandbox.read("repo/web.env")).unwrap();
    assert!(rendered.starts_with("DATABASE_URL=postgres://staging.example.com/web\n"));
}

#[test]
fn a_newcomer_who_clones_and_sets_up() {
    let sandbox = Sandbox::empty().without_trust();
    repository(&sandbox);
    let answers = [PASSPHRASE, PASSPHRASE, PASSPHRASE, "postgres://localhost/web"];
    let before = "unset SECRETS_VAULT; HOME=$PWD; export HOME; unset XDG_DATA_HOME; cd repo";
    play(&sandbox, before, &story("A newcomer who clones and sets up"), &answers, &[]);
    assert!(sandbox.path("repo/web.env").exists());
    let lock = sandbox.command(["lock", "--all", "-q"]).env("HOME", sandbox.path(""));
    lock.run().succeeds();
}

#[test]
fn an_operator_who_rotates_what_is_expiring() {
    let sandbox = Sandbox::new().unlocked();
    sandbox.git("", &["init", "-q", "repo"]);
    sandbox.write(
        "repo/.secrets.toml",
        "project = \"web\"\n\n[[render]]\ntemplate = \"web.env.tmpl\"\noutput = \"web.env\"\n\n\
         [secrets.stripe-key]\nsource = \"https://dashboard.stripe.com/apikeys\"\nexpires-after = \"90d\"\n",
    );
    sandbox.write("repo/web.env.tmpl", "STRIPE_KEY={{ secrets.stripe-key }}\n");
    let create = ["-p", "web", "create", "stripe-key", "-q", "--expires", "12d"];
    sandbox.command(create).stdin("sk_live_4eC39HqLyjWDarjtT1zdp3c7").run().succeeds();
    sandbox.trust(&sandbox.path("repo"));
    let setup = sandbox.command(["setup", "-q"]).current_dir(sandbox.path("repo")).run();
    setup.succeeds().stderr_has("expires on");

    let answers = ["sk_live_9Hx2kQ81nnd72hs8Zq41"];
    play(&sandbox, "cd repo", &story("An operator who rotates what is expiring"), &answers, &[]);
    assert_eq!(
        String::from_utf8(sandbox.read("repo/web.env")).unwrap(),
        "STRIPE_KEY=sk_live_9Hx2kQ81nnd72hs8Zq41\n"
    );
}

/// Puts a clipboard in front of `PATH`: it keeps what it gets and serves until it is told to end. Returns
/// the line for the shell.
fn clipboard(sandbox: &Sandbox) -> &'static str {
    std::fs::create_dir(sandbox.path("bin")).unwrap();
    let path = sandbox.write(
        "bin/wl-copy",
        "#!/bin/sh\ncat >>\"$HOME/copied\"; echo >>\"$HOME/copied\"\n\
         trap exit TERM; while :; do sleep 0.1; done\n",
    );
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
    "PATH=$PWD/bin:$PATH WAYLAND_DISPLAY=none HOME=$PWD; export PATH WAYLAND_DISPLAY HOME"
}

#[test]
fn somebody_who_migrates_from_pass() {
    if !has("pass") || !has("gpg") {
        return skipped("pass and gpg are not installed");
    }

    let sandbox = Sandbox::new().unlocked();
    let fill = "export PASSWORD_STORE_DIR=$PWD/store GNUPGHOME=$PWD/gnupg; mkdir -m 700 gnupg\n\
        gpg --batch -q --passphrase '' --quick-generate-key me future-default default never 2>gnupg/log\n\
        pass init me >gnupg/log\n\
        printf 'hunter2-github\\nuser: me\\nurl: https://github.com\\notpauth://totp/GitHub:me?secret=JBSWY3DPEHPK3PXP\\n' \
        | pass insert -m github.com >gnupg/log\n\
        echo postgres://app:hunter2@db/app | pass insert -m work/database-url >gnupg/log\n\
        echo sk_live_hunter2 | pass insert -m work/stripe-key >gnupg/log";
    let before = format!("{}\n{fill}", clipboard(&sandbox));
    play(&sandbox, &before, &story("Somebody who migrates from pass"), &[], &[]);
    let copied = String::from_utf8(sandbox.read("copied")).unwrap();
    let copied: Vec<&str> = copied.lines().collect();
    assert!(copied[0] == "hunter2-github" && copied[1].len() == 6, "{copied:?}");
    let stop = sandbox
        .program("gpgconf")
        .args(["--kill", "all"])
        .env("GNUPGHOME", sandbox.path("gnupg"))
        .status();
    assert!(stop.unwrap().success());
}

#[test]
fn somebody_who_needs_one_password() {
    let sandbox = Sandbox::new().unlocked();

    let before = format!("stty cols 80; {}", clipboard(&sandbox));
    let keys = [("1/1", "\x19"), ("copied `shop-password`", "\x1b")];
    play(&sandbox, &before, &story("Somebody who needs one password for a web page"), &[], &keys);

    let copied = String::from_utf8(sandbox.read("copied")).unwrap();
    let copied: Vec<&str> = copied.lines().collect();
    assert_eq!(copied.len(), 2, "{copied:?}");
    assert!(copied[0] == copied[1] && copied[0].split('-').count() >= 5, "{copied:?}");
}
