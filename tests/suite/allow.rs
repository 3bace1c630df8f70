//! `secrets allow`: destinations are added, listed and removed, and go where their secret goes.

use serde_json::json;

use crate::support::values::revealed;
use crate::support::{Sandbox, project, secret};

const VALUE: &str = "sk_test_abcdefghijklmnop123456789";

fn destinations(sandbox: &Sandbox, tag: &str) -> Vec<String> {
    let secret = sandbox.vault().get(&project("default"), &tag.parse().unwrap()).unwrap();
    secret.metadata.destinations.iter().map(ToString::to_string).collect()
}

#[test]
fn destinations_are_added_listed_and_removed() {
    for sandbox in [
        Sandbox::with_secrets(&[("key", VALUE)]),
        Sandbox::with_secrets(&[("key", VALUE)]).unlocked(),
    ] {
        let to = ["allow", "key", "--to", "https://API.stripe.com/v1/**", "--method", "post,GET"];
        stderr!(sandbox.run(to).succeeds().stdout(""), @"`key` may now be sent to https://api.stripe.com/v1/** in `header:authorization`, only GET, POST");
        stderr!(sandbox.run(to).succeeds(), @"`key` may already be sent to https://api.stripe.com/v1/** in `header:authorization`, only GET, POST");
        let to = [
            "allow",
            "key",
            "--to",
            "https://a.example:8443/",
            "--in",
            "header:X-Key",
            "--in",
            "query:key",
        ];
        stderr!(sandbox.run(to).succeeds(), @"
        `key` may now be sent to https://a.example:8443 in `header:x-key`
        `key` may now be sent to https://a.example:8443 in `query:key`
        ");
        sandbox.run(["allow", "key"]).succeeds().stdout(
            "key\thttps://a.example:8443\theader:x-key\tall\n\
             key\thttps://a.example:8443\tquery:key\tall\n\
             key\thttps://api.stripe.com/v1/**\theader:authorization\tGET,POST\n",
        );
        sandbox.run(["get", "key"]).succeeds().stdout_has(
            "sent to      https://a.example:8443 in `header:x-key`\n             https://a.example:8443 in",
        );
        let expected = json!([
            { "to": "https://a.example:8443", "in": "header:x-key" },
            { "to": "https://a.example:8443", "in": "query:key" },
            { "to": "https://api.stripe.com/v1/**", "in": "header:authorization", "methods": ["GET", "POST"] },
        ]);
        let listed = sandbox.run(["allow", "--list", "--json"]).succeeds().json();
        assert_eq!(listed["secrets"][0]["destinations"], expected);
        assert_eq!(
            sandbox.run(["get", "key", "--json"]).succeeds().json()["destinations"],
            expected
        );
        assert_eq!(revealed(&sandbox, "key"), VALUE.as_bytes());

        let remove =
            ["allow", "key", "--to", "https://a.example:8443", "--in", "query:key", "--remove"];
        stderr!(sandbox.run(remove).succeeds(), @"`key` lost 1 destination");
        stderr!(sandbox.run(remove).fails_with(3), @"
        error: `key` has no such destination
        hint: list its destinations with `secrets allow key`
        ");
        let removed = sandbox.run(["allow", "key", "--remove", "--json"]).succeeds().json();
        assert_eq!(removed["secrets"][0].get("destinations"), None);
        stderr!(sandbox.run(["allow", "key", "--remove"]).succeeds(), @"`key` had no destinations; it cannot be sent anywhere");
        stderr!(sandbox.run(["allow"].into_iter().chain(["--list"])).succeeds().stdout(""), @"no secret of project `default` may be sent anywhere; allow it with `secrets allow TAG --to https://HOST`");
        assert_eq!(revealed(&sandbox, "key"), VALUE.as_bytes());
        sandbox.run(["verify", "-q"]).succeeds().stdout_has("secrets      1");
    }
}

/// In direnv and mise, a bare `allow` trusts a directory.
#[test]
fn a_bare_allow_names_trust() {
    stderr!(Sandbox::empty().run(["allow"]).fails_with(2), @"
    error: `allow` needs a secret
    hint: to trust this directory's `.secrets.toml`, use `secrets trust`; to let a secret be sent to a service, use `secrets allow TAG --to https://HOST`
    ");
}

#[test]
fn what_cannot_be_a_destination_is_refused() {
    let sandbox = Sandbox::with_secrets(&[
        ("key", VALUE),
        ("lines", "first line\nsecond line"),
        ("word", "pässwörd-long-enough"),
    ]);
    for (arguments, why) in [
        (&["key", "--to", "http://a.example"][..], "a value is never sent without TLS"),
        (&["key", "--to", "a.example"], "it does not begin with `https://`"),
        (&["key", "--to", "https://a.example/v1?x=1"], "it has a query or a fragment"),
        (&["key", "--to", "https://user@a.example"], "it contains a user name"),
        (&["key", "--to", "https://*.com"], "at least two labels"),
        (&["key", "--to", "https://*.co.uk"], "anybody can get a host below `co.uk`"),
        (&["key", "--to", "https://*.github.io"], "anybody can get a host below `github.io`"),
        (&["key", "--to", "https://a.example/a/../b"], "a segment `.` or `..`"),
        (
            &["key", "--to", "https://a.example", "--in", "header:host"],
            "cannot stand in the header `host`",
        ),
        (&["key", "--to", "https://a.example", "--in", "foo"], "a place is `header:NAME`"),
        (&["key", "--to", "https://a.example", "--method", "TRACE"], "TRACE never carries a value"),
        (&["lines", "--to", "https://a.example"], "it contains a line break or a NUL byte"),
        (&["word", "--to", "https://a.example"], "it contains characters outside of ASCII"),
        (&["key", "--in", "path"], "--to"),
        (&["key", "--list", "--remove"], "--remove"),
    ] {
        let run = sandbox.run([&["allow"], arguments].concat()).fails_with(2);
        run.stderr_has(why);
    }

    sandbox.run(["allow", "kez", "--to", "https://a.example"]).fails_with(3).stderr_has("`key`");
    sandbox
        .run(["allow", "lines", "--to", "https://a.example", "--in", "body"])
        .succeeds()
        .stderr_has("may now");
    sandbox
        .run(["allow", "key", "--to", "https://*.s3.amazonaws.com", "--in", "sigv4"])
        .succeeds()
        .stderr_has("may now");

    for number in 0..32 {
        let to = format!("https://a.example/{number}");
        let run = sandbox.run(["allow", "lines", "-q", "--in", "body", "--to", &to]);
        if number < 31 {
            run.succeeds().stdout("");
        } else {
            run.fails_with(2).stderr_has("a secret has at most 32 destinations");
        }
    }
}

#[test]
fn destinations_go_with_their_secret() {
    const TO: &str = "* https://a.example header:authorization";
    let sandbox = Sandbox::with_secrets(&[("key", VALUE), ("other", "another value")]);
    sandbox.run(["allow", "key", "--to", "https://a.example", "-q"]).succeeds().stdout("");
    sandbox.command(["update", "key", "-q"]).stdin("sk_test_another_value").run().succeeds();
    sandbox.run(["update", "key", "--name", "Key", "-q"]).succeeds().stdout("");
    sandbox.run(["access", "key", "--restricted", "-q"]).succeeds().stdout("");
    sandbox.run(["rekey", "--project", "default", "-q", "-y"]).succeeds().stdout("");
    sandbox.run(["rekey", "-q", "-y"]).succeeds().stdout("");
    assert_eq!(destinations(&sandbox, "key"), [TO]);
    assert_eq!(revealed(&sandbox, "key"), b"sk_test_another_value");

    // A copy may be sent where the original may. An overwritten secret keeps its own destinations.
    sandbox.run(["allow", "other", "--to", "https://b.example", "-q"]).succeeds().stdout("");
    sandbox.run(["clone", "key", "--tag", "copy", "-q"]).succeeds().stdout("");
    sandbox
        .run(["clone", "key", "--tag", "other", "--on-conflict", "overwrite", "-q"])
        .succeeds()
        .stdout("");
    assert_eq!(destinations(&sandbox, "copy"), [TO]);
    assert_eq!(destinations(&sandbox, "other"), ["* https://b.example header:authorization"]);
    assert_eq!(revealed(&sandbox, "copy"), b"sk_test_another_value");
    assert_eq!(revealed(&sandbox, "other"), b"sk_test_another_value");

    sandbox.run(["backup", "copy.db", "-q"]).succeeds().stdout("");
    sandbox.run(["allow", "key", "--remove", "-q"]).succeeds().stdout("");
    sandbox.run(["restore", "copy.db", "-q", "-y"]).succeeds();
    assert_eq!(destinations(&sandbox, "key"), [TO]);
    assert_eq!(revealed(&sandbox, "key"), b"sk_test_another_value");
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("secrets      3");
}

#[test]
fn an_id_names_a_secret_of_another_project() {
    let sandbox = Sandbox::with_secrets(&[("key", VALUE)]);
    let web = sandbox.vault().create(&project("web"), secret("web-key", b"value-of-web")).unwrap();
    sandbox
        .run(["allow", &web.id.to_string(), "--to", "https://a.example"])
        .succeeds()
        .stderr_has("`web-key` may now");
    sandbox
        .run(["allow", "--list", "-p", "web"])
        .succeeds()
        .stdout_has("web-key\thttps://a.example");
}
