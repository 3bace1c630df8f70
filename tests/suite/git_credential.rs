//! `git-credential` with the real git, and requests that git would not send.

use crate::support::Run;
use crate::support::Sandbox;
use crate::support::terminal::Terminal;

fn sandbox() -> Sandbox {
    let secrets = [
        ("hub", "hunter2-hub"),
        ("lab", "hunter2-lab"),
        ("api", "hunter2-api"),
        ("none", "hunter2-none"),
    ];
    let sandbox = Sandbox::with_secrets(&secrets).unlocked();
    let allow = |arguments: &[&str]| {
        let arguments = [&["allow"], arguments, &["-q"]].concat();
        sandbox.run(arguments).succeeds().bytes();
    };
    allow(&["hub", "--to", "https://hub.example.com"]);
    allow(&["lab", "--to", "https://lab.example.com/me/**", "--in", "basic:password"]);
    allow(&["api", "--to", "https://api.example.com", "--in", "header:x-api-key"]);
    let update = ["update", "hub", "--description", "user: me", "-q"];
    sandbox.run(update).succeeds().bytes();
    sandbox
}

fn get(sandbox: &Sandbox, options: &[&str], request: &str) -> Run {
    let arguments = [&["git-credential"], options, &["get"]].concat();
    sandbox.command(arguments).stdin(request).run()
}

#[test]
fn git_gets_a_password_for_an_allowed_server() {
    let sandbox = sandbox();
    let answer = get(&sandbox, &[], "protocol=https\nhost=hub.example.com\n\n").succeeds();
    answer.stdout("username=me\npassword=hunter2-hub\n");
    let request = "protocol=https\nhost=hub.example.com\npath=a/b.git\nusername=me\n";
    get(&sandbox, &[], request).succeeds().stdout("username=me\npassword=hunter2-hub\n");
    let request = "protocol=https\nhost=lab.example.com\npath=me/b.git\n";
    get(&sandbox, &["--username", "x"], request)
        .succeeds()
        .stdout("username=x\npassword=hunter2-lab\n");
    let log = sandbox.run(["audit", "--kind", "use", "--json"]).succeeds().bytes();
    assert!(String::from_utf8(log).unwrap().contains("git-credential"));

    // The real git asks the helper.
    let helper = format!("!{} git-credential", env!("CARGO_BIN_EXE_secrets"));
    let mut git = sandbox.program("git");
    git.args([
        "-c",
        "credential.helper=",
        "-c",
        &format!("credential.helper={helper}"),
        "credential",
        "fill",
    ]);
    let mut child = git
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut child.stdin.take().unwrap(),
        b"protocol=https\nhost=hub.example.com\n\n",
    )
    .unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(output.contains("username=me\npassword=hunter2-hub\n"), "{output}");
}

#[test]
fn nobody_else_gets_one() {
    let sandbox = sandbox();
    for request in [
        "protocol=https\nhost=evil.example\n",
        "protocol=https\nhost=hub.example.com.evil.example\n",
        "protocol=https\nhost=hub.example.com:8443\n",
        "protocol=https\nhost=api.example.com\n",
        "protocol=https\nhost=hub.example.com\nusername=you\n",
        "protocol=https\nhost=lab.example.com\npath=you/b.git\n",
    ] {
        get(&sandbox, &[], request).succeeds().stdout("");
        get(&sandbox, &["--secret", "none"], request).succeeds().stdout("");
    }

    let run = get(&sandbox, &[], "protocol=https\nhost=lab.example.com\n").succeeds().stdout("");
    stderr!(run, @"warning: git does not say which repository of https://lab.example.com it is; `git config credential.useHttpPath true` changes that");
    for request in [
        "protocol=http\nhost=hub.example.com\n",
        "protocol=https\nhost=hub.example.com\r\n",
        "protocol=https\nhost=\n",
        "protocol=https\nhost=hub.example.com\nhost=evil.example\n",
        "protocol=https\nhost=lab.example.com\npath=me/../you/b.git\n",
        "protocol=https\nhost=lab.example.com\npath=you?/../me/b.git\n",
        "",
    ] {
        get(&sandbox, &[], request).fails_with(7).stdout("").stderr_has("nothing was given to git");
    }
}

#[test]
fn two_secrets_for_one_server_need_a_choice() {
    let sandbox = sandbox();
    sandbox.run(["allow", "none", "--to", "https://hub.example.com", "-q"]).succeeds().bytes();
    let request = "protocol=https\nhost=hub.example.com\n";
    stderr!(get(&sandbox, &[], request).fails_with(7).stdout(""), @"
    error: `hub` and `none` can be sent to https://hub.example.com, and git takes one
    hint: nothing was given to git
    hint: choose one with `--secret TAG`
    ");
    get(&sandbox, &["--secret", "none"], request).succeeds().stdout("password=hunter2-none\n");
}

#[test]
fn other_operations_and_terminals_are_ignored() {
    let sandbox = sandbox();
    for operation in ["store", "erase", "something-new"] {
        let run = sandbox.command(["git-credential", operation]).stdin("protocol=https\n").run();
        run.succeeds().stdout("");
    }

    let mut terminal = Terminal::run(&sandbox, "git-credential get");
    let screen = terminal.types("protocol=https\nhost=hub.example.com\n\x04").ends_with(7);
    assert!(!screen.contains("hunter2"), "{screen}");
    sandbox.run(["lock", "-q"]).succeeds();
    let get = sandbox.command(["git-credential", "get"]).env("GIT_TERMINAL_PROMPT", "0");
    let run = get.stdin("protocol=https\nhost=hub.example.com\n").run();
    run.succeeds().stdout("").stderr_has("the vault is locked");
}
