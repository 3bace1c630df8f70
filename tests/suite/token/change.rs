//! Changes of tokens: revoke, update, rotate, new keys and expiry.

use super::Tokens;

const VALUE: &str = "{{ secrets.api-key }}";

#[test]
fn a_revoked_token_ends_and_the_others_go_on() {
    let tokens = Tokens::new();
    tokens.create("boss", &["--level", "manage"]);
    tokens.create("ci", &["--level", "use", "--only", "api-key"]);
    tokens.create("user", &["--level", "use"]);
    tokens.with("boss", &["create", "fresh", "-q"]).stdin("kept").run().succeeds();
    std::fs::copy(tokens.0.vault_path(), tokens.0.path("before.db")).unwrap();

    stderr!(tokens.0.run(["token", "revoke", "boss", "-y"]).succeeds(), @"
    revoked token `boss` (manage, project `web`)
    re-encrypted 4 secrets under new keys; the other tokens of the project work as before
    its holder may have kept these values; replace them at the services that issued them:
      api-key
      db-password
      fresh
      other
    ");
    tokens.with("boss", &["list"]).run().fails_with(5).stderr_has("it was revoked");
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    let fresh = ["render", "-e", "{{ secrets.fresh }}"];
    tokens.with("user", &fresh).run().succeeds().stdout("kept");
    tokens.0.run(["verify", "-q"]).succeeds().stdout_has("secrets      5");

    // The holder of another token has seen the revocation, so a copy from before is a rollback.
    std::fs::copy(tokens.0.path("before.db"), tokens.0.vault_path()).unwrap();
    tokens.with("user", &["list"]).run().fails_with(6).stderr_has("rolled back");
}

#[test]
fn a_revocation_without_new_keys_ends_signing() {
    let tokens = Tokens::new();
    tokens.create("boss", &["--level", "manage"]);
    tokens.create("user", &["--level", "use"]);
    std::fs::copy(tokens.0.vault_path(), tokens.0.path("before.db")).unwrap();
    tokens
        .0
        .run(["token", "revoke", "boss", "-y", "--keep-keys"])
        .succeeds()
        .stderr_has("project `web` kept its keys");

    // With the grant put back, the project's policy no longer has the token.
    tokens.0.run(["-p", "web", "get", "other", "-q"]).succeeds().stdout_has("other");
    let old = rusqlite::Connection::open(tokens.0.path("before.db")).unwrap();
    let new = rusqlite::Connection::open(tokens.0.vault_path()).unwrap();
    let mut grants = old.prepare("SELECT token_id, gen, body, escrow FROM grants").unwrap();
    let mut rows = grants.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let cells: Vec<rusqlite::types::Value> = (0..4).map(|at| row.get(at).unwrap()).collect();
        new.execute(
            "INSERT OR IGNORE INTO grants VALUES (?, ?, ?, ?)",
            rusqlite::params_from_iter(cells),
        )
        .unwrap();
    }

    let create = tokens.with("boss", &["create", "x"]).stdin("x").run();
    create.fails_with(5).stderr_has("it was revoked");
    tokens.with("user", &["get", "other", "-q"]).run().succeeds().stdout_has("other");
}

#[test]
fn whatever_takes_keys_gives_the_project_new_keys() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use", "--only", "api-key,other"]);
    let update = |options: &[&str]| tokens.0.run(["token", "update", "ci"].iter().chain(options));

    update(&["--only", "+db-password"]).succeeds().stderr_lacks("under new keys");
    let render = ["render", "-e", "{{ secrets.db-password }}"];
    tokens.with("ci", &render).run().succeeds().stdout("value-of-db-password");
    update(&["--only", "-db-password"]).succeeds().stderr_has("under new keys");
    tokens.with("ci", &render).run().fails_with(3).stderr_has("`db-password`");
    update(&["--level", "read"]).succeeds().stderr_has("under new keys");
    tokens.with("ci", &["render", "-e", VALUE]).run().fails_with(7).stderr_has("has level `read`");
    update(&["--level", "use"]).succeeds().stderr_lacks("under new keys");
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    update(&[]).fails_with(2).stderr_has("there is nothing to change");
    update(&["--only", "api-key"]).fails_with(2).stderr_has("begins with `+` or `-`");
}

#[test]
fn a_token_that_may_sign_under_new_keys_is_admitted_by_the_audit_log() {
    let raise = ["token", "update", "boss", "--level", "manage", "--restricted=false", "-q"];
    let rotate = ["token", "rotate", "boss", "-q", "--output", "new"];
    let (manage, user) = (&["--level", "manage"][..], &["--level", "use", "--restricted"][..]);
    for (options, change, signer, has_other) in [
        (manage, &rotate[..], "new", false),
        (manage, &rotate, "new", true),
        (user, &raise, "boss", false),
        (user, &raise, "boss", true),
    ] {
        let tokens = Tokens::new();
        if has_other {
            tokens.create("other", manage);
            tokens.with("other", &["create", "first", "-q"]).stdin("first").run().succeeds();
        }

        tokens.create("boss", options);
        tokens.0.run(change).succeeds();
        tokens.with(signer, &["create", "fresh", "-q"]).stdin("fresh").run().succeeds();
        if has_other {
            tokens.with("other", &["create", "second", "-q"]).stdin("second").run().succeeds();
        }

        tokens.0.run(["audit", "verify", "-p", "web", "-q"]).succeeds();
        tokens.0.run(["verify", "-q"]).succeeds().stdout_has("secrets ");
        tokens.0.run(["rekey", "-p", "web", "-y", "-q"]).succeeds();
        tokens.with(signer, &["create", "later", "-q"]).stdin("later").run().succeeds();
        tokens.0.run(["backup", "copy.db", "-q"]).succeeds();
    }
}

#[test]
fn a_narrowed_token_may_have_kept_what_it_lost() {
    let tokens = Tokens::new();
    let create = ["create", "-p", "web", "signing-key", "--restricted", "-q"];
    tokens.0.command(create).stdin("value-of-signing-key").run().succeeds();
    tokens.create("ci", &["--level", "use", "--only", "api-key,other"]);
    tokens.create("user", &["--level", "use", "--restricted"]);

    let lost = |options: &[&str], names: &str| {
        let run = tokens.0.run(["token", "update"].iter().chain(options)).succeeds();
        run.stderr_has(&format!("issued them:\n{names}\n"));
    };
    lost(&["ci", "--only", "-api-key"], "  api-key");
    lost(&["user", "--restricted=false"], "  signing-key");
    lost(&["user", "--level", "read"], "  api-key\n  db-password\n  other");
}

#[test]
fn a_rotated_token_works_for_its_grace_only() {
    let tokens = Tokens::new();
    let old = tokens.create("ci", &["--level", "use"]);
    let rotate = ["token", "rotate", "ci", "--grace", "1h", "-q", "--output", "new"];
    tokens.0.run(rotate).succeeds();
    assert!(!tokens.0.read("new").starts_with(old.as_bytes()));
    tokens.with("new", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    let old = tokens.with("ci", &["render", "-e", VALUE]).run().succeeds();
    let replaced = "this string of token `ci` was replaced and works until ";
    old.stdout("value-of-api-key").stderr_has(replaced).stderr_lacks("token update");
    let check = tokens.with("ci", &["token", "check", "--json"]).run().succeeds();
    assert_eq!(check.stderr_has(replaced).json()["replaced"], true);
    tokens.0.run(["token", "list", "-p", "web"]).succeeds().stdout_has("ci (old)");

    // Without grace, no earlier string works any longer.
    tokens.0.run(["token", "rotate", "ci", "-q", "--output", "newest"]).succeeds();
    for old in ["ci", "new"] {
        tokens.with(old, &["list"]).run().fails_with(5).stderr_has("it was revoked");
    }
    tokens.with("newest", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");

    let minutes = tokens.0.run(["token", "rotate", "ci", "--grace", "30m"]).fails_with(2);
    minutes.stderr_has("`m` is months");
    let rotate = ["token", "rotate", "ci", "--grace", "1h", "-q", "--output", "last"];
    tokens.0.run(rotate).succeeds();
    let revoked = tokens.0.run(["token", "revoke", "ci", "-y"]).succeeds();
    revoked.stderr_has("revoked the old string of token `ci`").stderr_has("revoked token `ci`");
}

#[test]
fn new_keys_of_the_project_keep_tokens_and_those_of_the_vault_do_not() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use", "--only", "api-key"]);
    tokens.create("boss", &["--level", "manage"]);
    tokens.0.run(["rekey", "-p", "web", "-y", "-q"]).succeeds();
    tokens.with("ci", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    tokens.with("boss", &["create", "x", "-q"]).stdin("x").run().succeeds();
    tokens.0.run(["verify", "-q"]).succeeds().stdout_has("projects     2");

    let rekey = tokens.0.run(["rekey", "-y", "--json"]).succeeds();
    assert_eq!(rekey.json()["tokens"], serde_json::json!(["boss", "ci"]));
    tokens.create("late", &["--level", "use"]);
    let rekey = tokens.0.run(["rekey", "-y"]).succeeds();
    rekey.stderr_has("removed every token, because the old root key opens their keys: `late`");
    tokens.with("ci", &["list"]).run().fails_with(5).stderr_has("opens nothing in this vault");
    let none = tokens.0.run(["token", "list", "--all-projects"]).succeeds().stdout("");
    none.stderr("no tokens in the vault\n");
    tokens.0.run(["verify", "-q"]).succeeds().stdout_has("projects     2");
}

#[test]
fn what_is_taken_from_a_token_is_taken_from_its_old_string_too() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use", "--only", "api-key,other"]);
    let rotate = ["token", "rotate", "ci", "--grace", "5d", "-q", "-o", "new"];
    tokens.0.run(rotate).succeeds();
    let deny = tokens.0.run(["-p", "web", "access", "other", "--deny", "ci"]).succeeds();
    deny.stderr_has("  other");
    for string in ["ci", "new"] {
        let get = tokens.with(string, &["get", "other"]).run().fails_with(3);
        get.stderr_has("token `ci` is limited to some secrets");
        let render = tokens.with(string, &["render", "-e", VALUE]).run().succeeds();
        render.stdout("value-of-api-key").everything();
    }

    let json = tokens.0.run(["token", "update", "ci", "--level", "read", "--json"]).succeeds();
    let json = json.json();
    assert_eq!((&json["newKeys"], &json["exposed"][0]["tag"]), (&true.into(), &"api-key".into()));
    let json = tokens.0.run(["token", "rotate", "ci", "--json"]).succeeds().json();
    assert_eq!((&json["newKeys"], &json["exposed"]), (&true.into(), &serde_json::json!([])));

    tokens.create("whole", &["--level", "use"]);
    let add = tokens.0.run(["token", "update", "whole", "--only", "+api-key"]).fails_with(2);
    add.stderr_has("token `whole` has every secret of its project already");
}

#[test]
fn all_tokens_are_revoked_at_once() {
    let tokens = Tokens::new();
    tokens.0.run(["token", "revoke", "--all", "-y"]).succeeds().stderr("there are no tokens\n");
    tokens.create("ci", &["--level", "use"]);
    let far = ["token", "create", "far", "--level", "read", "-p", "elsewhere", "-q", "-o", "far"];
    tokens.0.run(far).succeeds();
    tokens.0.run(["token", "revoke", "--all"]).fails_with(7).stderr_has("requires `--yes`");
    let all = tokens.0.run(["token", "revoke", "--all", "-y", "--json"]).succeeds();
    let all = all.json();
    assert_eq!(all["tokens"].as_array().unwrap().len(), 2);
    for token in ["ci", "far"] {
        tokens.with(token, &["list"]).run().fails_with(5).stderr_has("it was revoked");
    }
    tokens
        .0
        .run(["token", "revoke", "--all", "ci"])
        .fails_with(2)
        .stderr_has("cannot be used with");
}

#[test]
fn tokens_expire_and_say_so_before() {
    let tokens = Tokens::new();
    tokens.create("soon", &["--level", "read", "--expires", "13d"]);
    tokens
        .with("soon", &["list"])
        .run()
        .succeeds()
        .stdout_has("other")
        .stderr_has("warning: token `soon` expires on");
    tokens.create("later", &["--level", "read"]);
    tokens.with("later", &["list"]).run().succeeds().stdout_has("other").stderr("");
    tokens.create("always", &["--level", "read", "--expires", "never"]);
    tokens.0.run(["token", "show", "always"]).succeeds().stdout_has("expires      never");

    let show = tokens.0.run(["token", "show", "later", "--json"]).succeeds().json();
    let expires = show["expiresAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let left = expires.as_millisecond() - jiff::Timestamp::now().as_millisecond();
    let days = left / (24 * 60 * 60 * 1000);
    assert!((89..=90).contains(&days), "{days}");
}

#[test]
fn a_name_is_taken_once() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "read"]);
    stderr!(tokens.0.run(["token", "create", "ci", "--level", "use", "-p", "web"]).fails_with(4).stdout(""), @"
    error: token `ci` already exists
    hint: replace its string with `secrets token rotate ci`
    ");
    tokens.0.run(["token", "revoke", "nobody", "-y"]).fails_with(3).stderr_has("no token `nobody`");
    tokens.0.run(["token", "show", "nobody"]).fails_with(3).stderr_has("no token `nobody`");
    let unknown = ["token", "create", "x", "--level", "use", "-p", "web", "--only", "nothing"];
    tokens.0.run(unknown).fails_with(3).stdout("").stderr_has("no secret `nothing`");
}
