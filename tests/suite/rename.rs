//! `rename` gives a secret another tag, and writes it into the files that refer to it.

use std::os::unix::fs::symlink;

use crate::support::Sandbox;
use crate::support::repository::{Project, differences};

const MANIFEST: &str = "# The database\nproject = \"web\"\n\
    [secrets.db-url]  # main\ndescription = \"db-url\"\n\
    [secrets.\"DB_URL\".generate]\nlength = 40\n\
    [[render]]\ntemplate = \"web.env.tmpl\"\noutput = \"web.env\"\n\
    [[render]]\ntemplate = \"conf.tmpl\"\noutput = \"conf\"\ndelimiters = \"[[,]]\"\n\
    [run.env]\nA = \"x {{ secrets.db_url | json }}\"\nB = '{{DB_URL}}'\n\
    [[proxy.rule]]\nsecret = \"db-url\"\nto = \"https://db.example.com\"\n\
    [environments.staging.run.env]\nA = \"{{secrets.DB-URL}} {{ secrets.db-url-2 }}\"\n";

fn project() -> Project {
    let manifest =
        MANIFEST.replace("[secrets.\"DB_URL\".generate]", "[secrets.\"db-url\".generate]");
    let project = Project::in_git(&[
        (".secrets.toml", &manifest),
        (
            "web.env.tmpl",
            "A={{ secrets.db-url }}\r\nB=\"{{DB_URL|json}}\" \\{{ secrets.db-url }}\n",
        ),
        ("conf.tmpl", "[[ secrets.Db_Url ]] {{ secrets.db-url }}\n"),
        ("notes.md", "Use `{{ secrets.db_url }}`, {{DB_URL}} and db-url.\n"),
        ("other.txt", "{{ secrets.db-url-2 }}\n"),
    ]);
    project.store("web", "db-url", "postgres://dev");
    project.store("web.staging", "db-url", "postgres://staging");
    project.store("web", "other", "x");
    project
}

#[test]
fn the_secret_keeps_its_id_and_everything_else() {
    let sandbox = Sandbox::with_secrets(&[("old", "value-of-it")]).unlocked();
    sandbox.run(["update", "old", "-q", "--name", "Name", "--expires", "9y"]).succeeds();
    let get = |tag: &str| sandbox.run(["get", tag, "--json"]).succeeds().json();
    let before = get("old");

    stderr!(
        sandbox.run(["rename", "OLD", "new-tag"]).succeeds().stdout(""),
        @"renamed `old` to `new-tag` in project `default`"
    );
    let after = get("new-tag");
    for member in ["id", "name", "hint", "createdAt", "expiresAt", "project"] {
        assert_eq!(before[member], after[member], "{member}");
    }

    assert_eq!(after["tag"], "new-tag");
    sandbox.run(["get", "old"]).fails_with(3).stderr_has("no secret");
    sandbox.run(["verify", "-q"]).succeeds().stdout_has("1");
    let rendered = sandbox.command(["render", "-"]).stdin("{{ secrets.new_tag }}").run();
    rendered.succeeds().stdout("value-of-it");

    // By id, in another project, and only the spelling.
    let id = before["id"].as_str().unwrap();
    let json = sandbox.run(["rename", id, "NEW_TAG", "-p", "other", "--json"]).succeeds().json();
    assert_eq!(json["secrets"][0]["tag"], "NEW_TAG");
    assert_eq!(json["references"], serde_json::json!([]));
    assert_eq!(get("new-tag")["id"], id);
    sandbox.run(["rename", "new_tag", "NEW_TAG"]).succeeds().stderr_has("has this tag already");

    let log = sandbox.run(["audit", "--kind", "change", "--json"]).succeeds().json();
    let last = log["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last["action"].as_str(), last["count"].as_u64()), (Some("rename"), Some(1)));
    let found = sandbox.run(["audit", "--secret", "old"]).succeeds();
    found.stdout_has("old -> new-tag");
}

#[test]
fn a_taken_or_unknown_tag_changes_nothing() {
    let sandbox = Sandbox::with_secrets(&[("one", "1"), ("two", "2")]).unlocked();
    stderr!(sandbox.run(["rename", "one", "TWO"]).fails_with(4).stdout(""), @"
    error: secret `two` already exists in project `default`
    hint: choose another tag; nothing was renamed
    ");
    stderr!(sandbox.run(["rename", "onne", "three"]).fails_with(3).stdout(""), @"
    error: no secret `onne` in project `default`
    hint: did you mean `one`?
    ");
    sandbox.run(["rename", "one", "se0123456789abcdef"]).fails_with(2).stderr_has("shape");
    let list = sandbox.run(["list", "--json"]).succeeds().json();
    let tags: Vec<_> = list["secrets"].as_array().unwrap().iter().map(|it| &it["tag"]).collect();
    assert_eq!(tags, ["one", "two"]);
}

#[test]
fn without_references_the_places_are_listed_and_stay() {
    let project = project();
    let before = project.files();
    let run = project.run(&["rename", "db-url", "database-url"]).succeeds();
    stderr!(run.stdout_has("web.env.tmpl:1:3: db-url\n"), @"
    renamed `db-url` to `database-url` in project `web`
    10 places still refer to `db-url`; rewrite them with `secrets rename db-url database-url --references`
    ");
    assert!(differences(&before, &project.files()).is_empty());
    let checked = project.run(&["check", "-q"]).fails_with(3);
    checked.stdout_has("db-url").stderr_has("missing");

    // The files follow later.
    let late = || project.run(&["rename", "db-url", "database-url", "--references"]);
    let run = late().succeeds().stdout_has(".secrets.toml:3:10: db-url (declared)\n");
    run.stderr_has("rewrote 9 references in 4 files");
    project.run(&["get", "database-url", "-q", "-p", "web.staging"]).succeeds().stdout_has("hint");
    late().fails_with(3).stderr_has("no secret `db-url`");
    // Only the secret that no other file has is missing.
    let checked = project.run(&["check", "-q"]).fails_with(3).stdout_has("missing\tdb-url-2");
    checked.stderr_has("a secret is missing");
}

#[test]
fn references_are_rewritten_in_their_spelling_and_nothing_else_is() {
    let project = project();
    let run = project.run(&["rename", "db-url", "database-url", "--references"]).succeeds();
    stderr!(run.stdout_has("notes.md:1:29: DB_URL\n"), @"
    renamed `db-url` to `database-url` in project `web`
    renamed `db-url` to `database-url` in project `web.staging`
    rewrote 9 references in 4 files
    1 place still refers to `db-url`; a bare {{NAME}} outside of a template may belong to another tool
    ");

    assert_eq!(
        project.read(".secrets.toml"),
        "# The database\nproject = \"web\"\n\
        [secrets.database-url]  # main\ndescription = \"db-url\"\n\
        [secrets.\"database-url\".generate]\nlength = 40\n\
        [[render]]\ntemplate = \"web.env.tmpl\"\noutput = \"web.env\"\n\
        [[render]]\ntemplate = \"conf.tmpl\"\noutput = \"conf\"\ndelimiters = \"[[,]]\"\n\
        [run.env]\nA = \"x {{ secrets.database_url | json }}\"\nB = '{{DATABASE_URL}}'\n\
        [[proxy.rule]]\nsecret = \"database-url\"\nto = \"https://db.example.com\"\n\
        [environments.staging.run.env]\nA = \"{{secrets.database-url}} {{ secrets.db-url-2 }}\"\n"
    );
    assert_eq!(
        project.read("web.env.tmpl"),
        "A={{ secrets.database-url }}\r\nB=\"{{DATABASE_URL|json}}\" \\{{ secrets.db-url }}\n"
    );
    assert_eq!(project.read("conf.tmpl"), "[[ secrets.database_url ]] {{ secrets.db-url }}\n");
    assert_eq!(
        project.read("notes.md"),
        "Use `{{ secrets.database_url }}`, {{DB_URL}} and db-url.\n"
    );
    assert_eq!(project.read("other.txt"), "{{ secrets.db-url-2 }}\n");

    // Every environment shares the files. The manifest is still trusted.
    for project_name in ["web", "web.staging"] {
        project
            .run(&["get", "database-url", "-q", "-p", project_name])
            .succeeds()
            .stdout_has("hint");
    }
    let run = ["run", "--no-mask", "--", "sh", "-c", "echo \"$A\""];
    project.run(&run).succeeds().stdout("x postgres://dev\n");
}

#[test]
fn nothing_is_rewritten_if_the_secret_cannot_be_renamed() {
    let project = project();
    project.store("web.staging", "database-url", "taken");
    let run = project.changes_nothing(&["rename", "db-url", "database-url", "--references"]);
    stderr!(run.fails_with(4).stdout(""), @"
    error: secret `database-url` already exists in project `web.staging`
    hint: choose another tag; nothing was renamed
    ");
    project.run(&["get", "db-url", "-q"]).succeeds().stdout_has("db-url");
    project.run(&["get", "db-url", "-q", "-p", "web.staging"]).succeeds().stdout_has("db-url");
}

#[test]
fn nothing_is_renamed_if_a_file_cannot_be_rewritten() {
    let project = project();
    let refused = |to: &str, why: &str| {
        let run = project.changes_nothing(&["rename", "db-url", to, "--references"]).fails_with(7);
        run.stdout("").stderr_has(why).stderr_has("nothing was renamed");
        project.run(&["get", "db-url", "-q"]).succeeds().stdout_has("db-url");
    };
    // A bare placeholder is the name of a variable.
    refused("1-url", "has no form for the tag `1-url`");

    // A tag that another declaration has, and text that only an escape hides.
    let manifest = project.read(".secrets.toml");
    project.write(".secrets.toml", manifest.clone() + "[secrets.taken]\n");
    refused("taken", "the manifest would be invalid");
    let hidden = manifest.replace("'{{DB_URL}}'", "\"\\u007b{DB_URL}}\"");
    project.write(".secrets.toml", hidden);
    refused("new", "cannot be rewritten");
    project.write(".secrets.toml", manifest);

    // A template that a link leads out of the tree.
    let outside = project.path("../outside.tmpl");
    std::fs::rename(project.path("web.env.tmpl"), &outside).unwrap();
    symlink("../outside.tmpl", project.path("web.env.tmpl")).unwrap();
    refused("new", "leads out of the directory");
    assert!(std::fs::read_to_string(outside).unwrap().contains("db-url"));
}

#[test]
fn a_project_that_is_not_that_of_the_files_leaves_them() {
    let project = project();
    project.store("elsewhere", "db-url", "x");
    let before = project.files();
    let run =
        project.run(&["rename", "db-url", "new", "--references", "-p", "elsewhere"]).succeeds();
    stderr!(run.stdout(""), @"
    renamed `db-url` to `new` in project `elsewhere`
    the files here belong to another project, so they stay
    ");
    assert!(differences(&before, &project.files()).is_empty());
    project.run(&["get", "db-url", "-q", "-p", "web"]).succeeds().stdout_has("db-url");
}

/// The consent that was given to the files is for the same files afterwards.
#[test]
fn a_manifest_that_was_trusted_stays_so() {
    let sandbox = Sandbox::with_secrets(&[("old", "value-of-it")]).without_trust().unlocked();
    sandbox.write(
        ".secrets.toml",
        "project = \"default\"\n[secrets.old]\n[run.env]\nA = \"{{ secrets.old }}\"\n",
    );
    sandbox.run(["rename", "old", "new"]).fails_with(7).stderr_has("trust");
    sandbox.run(["trust", "--yes", "-q"]).succeeds().stdout_has("default");
    let run = sandbox.run(["rename", "old", "new", "--references", "-q"]).succeeds();
    run.stdout_has(".secrets.toml:4:6: old\n");
    let run = sandbox.run(["run", "--no-mask", "--", "sh", "-c", "echo $A"]);
    run.succeeds().stdout("value-of-it\n");
}

/// A grant for some secrets finds them by id.
#[test]
fn a_token_for_some_secrets_goes_on_working() {
    let sandbox = Sandbox::with_secrets(&[("old", "value-of-it"), ("other", "x")]);
    let create = ["token", "create", "ci", "--level", "use", "--only", "old", "-q", "-o", "token"];
    sandbox.run(create).succeeds();
    let token = String::from_utf8(sandbox.read("token")).unwrap();
    sandbox.run(["rename", "old", "new", "-q"]).succeeds();
    let rendered = |template: &str| {
        let command = sandbox.command(["render", "-"]).stdin(template);
        command.without_env("SECRETS_PASSPHRASE").env("SECRETS_TOKEN", token.trim()).run()
    };
    rendered("{{ secrets.new }}").succeeds().stdout("value-of-it");
    rendered("{{ secrets.old }}").fails_with(3).stderr_has("old");
}
