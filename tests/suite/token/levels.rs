//! Each level permits what its keys open.

use super::Tokens;

const VALUE: &str = "{{ secrets.api-key }}";

#[test]
fn a_read_token_lists_and_uses_nothing() {
    let tokens = Tokens::new();
    tokens.create("reader", &["--level", "read"]);
    let listed = tokens.with("reader", &["list", "--json"]).run().succeeds().json();
    assert_eq!(listed["secrets"].as_array().unwrap().len(), 3);
    tokens.with("reader", &["get", "other"]).run().succeeds().stdout_has("other");

    stderr!(tokens.with("reader", &["render", "-e", VALUE]).run().fails_with(7).stdout(""), @"
    error: `render` needs a token with level `use`; `reader` has level `read`
    hint: the owner can raise it with `secrets token update reader --level use`
    ");
    for refused in [&["run", "--", "true"][..], &["create", "x"], &["export", "--encrypted", "x"]] {
        tokens.with("reader", refused).run().fails_with(7).stderr_has("needs a token with level");
    }
}

#[test]
fn a_use_token_puts_values_to_work_and_changes_nothing() {
    let tokens = Tokens::new();
    tokens.create("user", &["--level", "use"]);
    tokens.with("user", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
    let run = tokens.with("user", &["run", "--", "sh", "-c", "printf %s \"$OTHER\" | wc -c"]).run();
    run.succeeds().stdout_has("14");

    for refused in [
        &["create", "x"][..],
        &["update", "other", "--name", "x"],
        &["rename", "other", "x"],
        &["delete", "other", "-y"],
        &["clone", "other", "--tag", "more"],
        &["import", "x.env"],
    ] {
        tokens.with("user", refused).run().fails_with(7).stderr_has("with level `manage`");
    }
}

#[test]
fn a_manage_token_creates_updates_deletes_and_clones() {
    let tokens = Tokens::new();
    tokens.create("boss", &["--level", "manage"]);
    tokens.with("boss", &["create", "fresh", "-q"]).stdin("new value").run().succeeds();
    tokens.with("boss", &["update", "fresh", "-q"]).stdin("newer value").run().succeeds();
    tokens.with("boss", &["clone", "fresh", "--tag", "copy", "-q"]).run().succeeds();
    tokens.with("boss", &["rename", "copy", "second", "-q"]).run().succeeds();
    tokens.with("boss", &["delete", "other", "-y", "-q"]).run().succeeds();
    let render = ["render", "-e", "{{ secrets.second }}"];
    tokens.with("boss", &render).run().succeeds().stdout("newer value");

    // The owner accepts what it signed, and the log says who did it.
    tokens.0.run(["-p", "web", "get", "fresh"]).succeeds().stdout_has("fresh");
    tokens.0.run(["verify", "-q"]).succeeds().stdout_has("secrets      5");
}

#[test]
fn only_a_manage_token_says_where_a_secret_may_be_sent() {
    let tokens = Tokens::new();
    tokens.create("reader", &["--level", "read"]);
    tokens.create("user", &["--level", "use"]);
    tokens.create("boss", &["--level", "manage"]);
    let allow = ["allow", "api-key", "--to", "https://a.example"];
    stderr!(tokens.with("user", &allow).run().fails_with(7).stdout(""), @"
    error: `allow` needs a token with level `manage`; `user` has level `use`
    hint: the owner can raise it with `secrets token update user --level manage`
    ");
    tokens.with("boss", &allow).run().succeeds().stderr_has("`api-key` may now be sent to");
    let listed = tokens.with("reader", &["allow", "--list"]).run().succeeds();
    listed.stdout("api-key\thttps://a.example\theader:authorization\tall\n");
    tokens.with("user", &["allow", "api-key", "--remove"]).run().fails_with(7).stderr_has("manage");
    tokens.with("user", &["render", "-e", VALUE]).run().succeeds().stdout("value-of-api-key");
}

#[test]
fn only_the_passphrase_does_what_concerns_the_whole_vault() {
    let tokens = Tokens::new();
    tokens.create("boss", &["--level", "manage"]);
    for refused in [
        &["rekey", "-y"][..],
        &["passwd"],
        &["verify"],
        &["backup", "copy.db"],
        &["project", "list"],
        &["project", "delete", "web", "-y"],
        &["token", "list"],
        &["token", "create", "x", "--level", "read"],
        &["token", "revoke", "boss", "-y"],
        &["template", "x"],
    ] {
        let run = tokens.with("boss", refused).run().fails_with(7).stdout("");
        run.stderr_has("needs the passphrase; a token does not permit it");
    }

    tokens
        .with("boss", &["list", "-p", "elsewhere"])
        .run()
        .fails_with(7)
        .stderr_has("the token is for another project");
    let create = tokens.with("boss", &["create", "x", "-p", "new"]).stdin("x").run();
    create.fails_with(7).stderr_has("the token is for another project");
}

#[test]
fn a_token_for_some_secrets_sees_no_other_one() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use", "--only", "api-key,db-password"]);
    let listed = tokens.with("ci", &["list", "--json"]).run().succeeds().json();
    let tags: Vec<&str> = listed["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["tag"].as_str().unwrap())
        .collect();
    assert_eq!(tags, ["api-key", "db-password"]);
    let both = "{{ secrets.api-key }} {{DB_PASSWORD}}";
    let run = tokens.with("ci", &["render", "-e", both]).run();
    run.succeeds().stdout("value-of-api-key value-of-db-password");

    // Neither by tag nor by id.
    let other = tokens.0.run(["-p", "web", "get", "other", "--json"]).succeeds().json();
    let id = other["id"].as_str().unwrap();
    tokens.with("ci", &["get", "other"]).run().fails_with(3).stdout("").stderr_has("no secret");
    tokens
        .with("ci", &["get", id])
        .run()
        .fails_with(7)
        .stdout("")
        .stderr_has("does not include this secret");
    let render = tokens.with("ci", &["render", "-e", "{{ secrets.other }}"]).run();
    render.fails_with(3).stdout("").stderr_has("`other`");

    // A secret that was deleted and made again is another one.
    tokens.0.run(["-p", "web", "delete", "api-key", "-y", "-q"]).succeeds();
    tokens.0.command(["-p", "web", "create", "api-key", "-q"]).stdin("again").run().succeeds();
    tokens.with("ci", &["get", "api-key"]).run().fails_with(3).stderr_has("no secret `api-key`");
    tokens.with("ci", &["get", "db-password"]).run().succeeds().stdout_has("db-password");
}

#[test]
fn a_renamed_secret_stays_in_a_set() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use", "--only", "api-key"]);
    tokens.0.command(["-p", "web", "update", "api-key", "-q"]).stdin("rotated").run().succeeds();
    let render = tokens.with("ci", &["render", "-e", VALUE]).run();
    render.succeeds().stdout("rotated");
}

#[test]
fn manage_is_for_a_whole_project() {
    let tokens = Tokens::new();
    let create = ["token", "create", "x", "-p", "web", "--level", "manage", "--only", "api-key"];
    stderr!(tokens.0.run(create).fails_with(2).stdout(""), @"
    error: a token with level `manage` cannot be limited to some secrets
    hint: whoever manages some secrets signs for all of them: move them to a project of their own
    ");
    tokens.create("ci", &["--level", "use", "--only", "api-key"]);
    tokens
        .0
        .run(["token", "update", "ci", "--level", "manage"])
        .fails_with(2)
        .stderr_has("cannot be limited to some secrets");
}

#[test]
fn a_bundle_has_what_its_token_needs_and_is_only_read() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use", "--only", "api-key", "--bundle", "ci.vault"]);
    let bundle = |arguments: &[&str]| {
        let arguments: Vec<&str> =
            ["--vault", "ci.vault"].iter().chain(arguments).copied().collect();
        tokens.with("ci", &arguments).run()
    };
    bundle(&["render", "-e", VALUE]).succeeds().stdout("value-of-api-key");
    let other = bundle(&["get", "other"]).fails_with(3).stderr_has("no secret `other`");
    other.stderr_has("token `ci` is limited to some secrets");

    let status = tokens.0.run(["--vault", "ci.vault", "status"]).fails_with(5);
    status.stdout_has("ci.vault").stderr_has("is a bundle, which only its token opens");
    let owner = tokens.0.run(["--vault", "ci.vault", "list"]).fails_with(7);
    owner.stderr_has("the file is a bundle, which only its token opens");
    for refused in [
        &["restore", "ci.vault", "-y"][..],
        &["backup", "--replace", "ci.vault"],
        &["--vault", "ci.vault", "rekey", "-y"],
        &["--vault", "ci.vault", "salvage", "out.db"],
        &["--vault", "ci.vault", "token", "list"],
        &["--vault", "ci.vault", "verify"],
    ] {
        let (code, _, stderr) = tokens.0.run(refused).everything();
        assert_eq!(code, Some(7), "{refused:?} {stderr}");
    }

    // It is refreshed without the passphrase, and a manager gets none.
    tokens.0.command(["-p", "web", "update", "api-key", "-q"]).stdin("rotated").run().succeeds();
    tokens.with("ci", &["token", "bundle", "ci", "ci.vault", "-q"]).run().succeeds();
    bundle(&["render", "-e", VALUE]).succeeds().stdout("rotated");
    tokens.create("boss", &["--level", "manage"]);
    tokens.0.run(["token", "bundle", "boss", "b"]).fails_with(2).stderr_has("gets no bundle");
}

#[test]
fn what_a_bundle_carries_is_not_taken_from_the_file_before() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use", "--only", "api-key", "--bundle", "ci.vault"]);
    tokens.create("other", &["--level", "use"]);
    let bundle = |name| tokens.0.command(["token", "bundle", name, "ci.vault"]);
    let other = bundle("other").run().fails_with(7);
    other.stderr_has("`ci.vault` is not a bundle of this token");
    let locked = bundle("ci").without_env("SECRETS_PASSPHRASE").run();
    locked.fails_with(5).stderr_has("no passphrase was given");

    tokens.0.run(["token", "update", "ci", "--only", "+other", "-q"]).succeeds();
    bundle("ci").run().succeeds().stderr_has("wrote a bundle with 2 secrets");
    tokens
        .with("ci", &["--vault", "ci.vault", "get", "other"])
        .run()
        .succeeds()
        .stdout_has("other");

    // A new string gets a new bundle in the same place. Other files stay.
    tokens.0.run(["token", "rotate", "ci", "-q", "-o", "ci.new"]).succeeds();
    let written = bundle("ci").run().succeeds().stderr_has("wrote a bundle with 2 secrets");
    written.stdout("");
    tokens.with("ci.new", &["--vault", "ci.vault", "list"]).run().succeeds().stdout_has("other");
    tokens.0.write("notes", "text");
    let notes = tokens.0.run(["token", "bundle", "ci", "notes"]).fails_with(7);
    notes.stderr_has("`notes` is not a bundle of this token");

    // A bundle has no passphrase, so none is asked for.
    let none = tokens.0.command(["--vault", "ci.vault", "token", "bundle", "ci", "new"]);
    let none = none.without_env("SECRETS_PASSPHRASE").run().fails_with(7);
    none.stderr_has("the file is a bundle, which only its token opens");
}

#[test]
fn a_token_whose_files_cannot_be_written_is_not_created() {
    let tokens = Tokens::new();
    tokens.0.write("taken", "content");
    let create = ["token", "create", "ci", "-p", "web", "--level", "use"];
    for (option, path) in [("--bundle", "taken"), ("--bundle", "/proc/x"), ("--output", "/proc/x")]
    {
        let run = tokens.0.run(create.iter().copied().chain([option, path]));
        let (code, stdout, stderr) = run.everything();
        assert!(
            code != Some(0) && stdout.is_empty() && !stderr.contains("created token"),
            "{stderr}"
        );
        let none = tokens.0.run(["token", "list", "-p", "web"]).succeeds().stdout("");
        none.stderr_has("no tokens in project `web`");
    }
}

#[test]
fn a_restricted_secret_of_a_new_token_is_named() {
    let tokens = Tokens::new();
    let create = ["create", "-p", "web", "signing-key", "--restricted", "-q"];
    tokens.0.command(create).stdin("value-of-signing-key").run().succeeds();
    let token = |options: &[&str]| {
        let arguments = ["token", "create", "ci", "-p", "web", "--only", "api-key,signing-key"];
        let run = tokens.0.run(arguments.iter().chain(options)).succeeds().stdout_has("sx");
        tokens.0.run(["token", "revoke", "ci", "-y", "-q"]).succeeds();
        run
    };
    let note =
        "it cannot use the value of `signing-key`, which needs `secrets -p web token update ci";
    token(&["--level", "use"]).stderr_has(note);
    token(&["--level", "use", "--restricted"]).stderr_lacks("cannot use");
    token(&["--level", "read"]).stderr_lacks("cannot use");

    let both = ["--level", "use", "--only", "api-key", "-q", "-o", "ci"];
    tokens.0.run(["token", "create", "ci", "-p", "web"].iter().chain(&both)).succeeds();
    let access = |arguments: &[&str]| {
        tokens.0.run(["access", "-p", "web", "signing-key"].iter().chain(arguments)).succeeds()
    };
    let allowed = access(&["--allow", "ci"]).stderr_has("token `ci` now has `signing-key`");
    allowed.stderr_has("it cannot use its value, because the secret is restricted");
    access(&["--deny", "ci"]).stderr_has("token `ci` no longer has `signing-key`");
    tokens.create("whole", &["--level", "use"]);
    let whole = |option: &str| {
        let arguments = ["access", "-p", "web", "signing-key", option, "whole"];
        tokens.0.run(arguments).fails_with(2).stderr_has("has the whole project `web`")
    };
    whole("--allow").stderr_has("`secrets token update whole --restricted`");
    whole("--deny").stderr_has("`secrets token update whole --only -signing-key`");
}

#[test]
fn only_the_passphrase_lists_what_a_token_may_use() {
    let tokens = Tokens::new();
    tokens.create("ci", &["--level", "use"]);
    let list = tokens.with("ci", &["list", "--usable-by", "ci"]).run().fails_with(7).stdout("");
    list.stderr_has("`list --usable-by` needs the passphrase");
}
