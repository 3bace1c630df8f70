//! `scan` finds tokens of any vault by their checksum, with the vault and without it.

use serde_json::json;
use terminal_secrets::crypto::token::Token;
use terminal_secrets::model::Level;

use crate::support::{Sandbox, TOKEN};

use super::{git, repository, sandbox, scan};

fn token(level: Level) -> String {
    let text = Token::random(level).unwrap().text();
    String::from_utf8(text.expose().to_vec()).unwrap()
}

#[test]
fn values_and_tokens_are_found_together_and_never_shown() {
    let sandbox = sandbox();
    let tokens = Level::ALL.map(token);
    let [read, using, manage] = &tokens;
    let escaped = format!(r#"{{"a":"x\n{using}"}}"#);
    sandbox.write("a", format!("{TOKEN}\n\nSECRETS_TOKEN={read} {TOKEN}\n{escaped}\n"));
    sandbox.write(&format!("{manage}.txt"), "x");
    std::os::unix::fs::symlink(format!("/{read}"), sandbox.path("link")).unwrap();

    let found = "a:1: api-token (raw)\na:3: api-token (raw)\na:3: a `read` token\n\
                 a:4: a `use` token\nlink:link: a `read` token\n\
                 ‹manage token›.txt:name: a `manage` token\n";
    let run = scan(&sandbox, &["a", "link", &format!("{manage}.txt")]).run().fails_with(8);
    let run = tokens.iter().fold(run.stdout(found), |run, token| run.without(token));
    let run = run.without(TOKEN).stderr_has("error: 2 values and 4 tokens in 3 files\n");
    run.stderr_has("secrets.TAG").stderr_has("token check`");

    let run = scan(&sandbox, &["--json", "a"]).run().fails_with(8).stderr_has("CONFLICT");
    let findings = json!([
        { "file": "a", "place": "line", "line": 1, "tag": "api-token", "form": "raw" },
        { "file": "a", "place": "line", "line": 3, "tag": "api-token", "form": "raw" },
        { "file": "a", "place": "line", "line": 3, "token": "read" },
        { "file": "a", "place": "line", "line": 4, "token": "use" },
    ]);
    assert_eq!(run.json(), json!({ "findings": findings, "files": 1 }));

    // The last character belongs to the checksum.
    let last = if using.ends_with('a') { 'b' } else { 'a' };
    sandbox.write("a", format!("{}{last}", &using[..52]));
    scan(&sandbox, &["a"]).run().succeeds().stderr_has("no values or tokens found in 1 file\n");
}

#[test]
fn tokens_are_found_without_a_vault_and_in_a_locked_one() {
    let (empty, locked) = (Sandbox::empty(), sandbox());
    for (sandbox, code, why) in [(&empty, 3, "no vault"), (&locked, 5, "no passphrase was given")] {
        let run = |arguments: &[&str], input: &str| {
            let prepared = scan(sandbox, arguments).without_env("SECRETS_PASSPHRASE");
            prepared.stdin(input).run()
        };

        let leak = token(Level::Use);
        let found = run(&["/dev/stdin"], &leak).fails_with(8).without(&leak);
        let found = found.stdout("/dev/stdin:1: a `use` token\n");
        found.stderr_has("warning: values were not searched for: ").stderr_has(why);
        let found = run(&["/dev/stdin", "--json"], &leak).fails_with(8).stderr_has("CONFLICT");
        assert_eq!(found.json()["only"], "tokens");

        // Without a token, the file may have a value in it.
        let failed = run(&["/dev/stdin"], "x").fails_with(code).stdout("");
        failed.stderr_has(why).stderr_has("scan --tokens`");

        run(&["--tokens", "/dev/stdin"], "x").succeeds().stderr_has("no tokens found in 1 file\n");
        let found = run(&["--tokens", "/dev/stdin"], &leak).fails_with(8);
        found.stdout("/dev/stdin:1: a `use` token\n").stderr_has("error: 1 token in 1 file\n");
    }
}

#[test]
fn a_staged_token_stops_a_commit_although_the_vault_is_locked() {
    let sandbox = sandbox();
    repository(&sandbox);
    let leak = token(Level::Manage);
    sandbox.write("repo/ci.yml", format!("env:\n  SECRETS_TOKEN: {leak}\n"));
    assert!(git(&sandbox, &["add", "."]));
    sandbox.write("repo/ci.yml", "env:\n");

    for locked in [true, false] {
        let mut hook = scan(&sandbox, &["--staged"]).current_dir(sandbox.path("repo"));
        if locked {
            hook = hook.without_env("SECRETS_PASSPHRASE");
        }

        let run = hook.run().fails_with(8).without(&leak);
        run.stdout("ci.yml:2: a `manage` token\n").stderr_has("error: 1 token in 1 file\n");
    }
}
