//! `secrets import` stores a file's values in one transaction and reads them back.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;

use terminal_secrets::store::MAX_PROJECTS;
use terminal_secrets::vault::{Import, IncomingSecret, OnConflict, VaultError};

use crate::support::files::root;
use crate::support::{Sandbox, project, secret};

#[track_caller]
fn assert_value(sandbox: &Sandbox, tag: &str, expected: impl AsRef<[u8]>) {
    sandbox.run(["render", "-e", &format!("{{{{ secrets.{tag} }}}}")]).succeeds().stdout(expected);
}

#[test]
fn every_value_of_a_dotenv_file_is_stored_as_written() {
    let sandbox = Sandbox::new();
    let text = "\u{feff}# comment\r\nA=pa$$word\r\nexport B='it is $HOME'\nC=\"line\\none\ntwo \\\"q\\\"\" # more\nEMPTY=\nD = x#y\nA=2nd\n";
    sandbox.write(".env", text);
    stderr!(sandbox.run(["import", ".env"]).succeeds().stdout(""), @"
    warning: .env:2: `A` is skipped: a later entry has the same name
    warning: .env:6: `EMPTY` is skipped: it is empty
    imported into project `default`: 4 created, 2 not imported
    ");

    for (tag, value) in
        [("A", "2nd"), ("B", "it is $HOME"), ("C", "line\none\ntwo \"q\""), ("D", "x#y")]
    {
        assert_value(&sandbox, tag, value);
    }

    assert_eq!(sandbox.read(".env"), text.as_bytes());
}

#[test]
fn an_existing_secret_with_the_same_value_is_left_alone() {
    let sandbox = Sandbox::with_secrets(&[("a", "1"), ("b", "2")]);
    let before = sandbox.run(["list", "--json"]).succeeds().json();
    sandbox.write("f.env", "A=1\nB=2\n");
    stderr!(sandbox.run(["import", "f.env"]).succeeds(), @"imported into project `default`: 2 unchanged");
    assert_eq!(sandbox.run(["list", "--json"]).succeeds().json(), before);
    sandbox.write("f.env", "A=1\nB=2\nC=3\n");

    let found = sandbox.run(["import", "f.env", "--json"]).succeeds().stderr("").json();
    assert_eq!(found["unchanged"], serde_json::json!(["a", "b"]));
    assert_eq!(found["secrets"][0]["tag"], "C");
    assert_eq!(found["skipped"], serde_json::json!([]));
}

#[test]
fn a_conflict_stores_nothing_without_an_option() {
    let sandbox = Sandbox::with_secrets(&[("a", "old"), ("b", "old")]);
    sandbox.run(["update", "a", "--name", "Label", "-q"]).succeeds();
    sandbox.write("f.env", "A=new\nB=new\nC=new\n");
    stderr!(sandbox.run(["import", "f.env"]).fails_with(4).stdout(""), @"
    error: 2 secrets with these tags already exist in project `default`
      a
      b
    hint: the values differ; choose `--on-conflict skip` or `--on-conflict overwrite`; nothing was stored
    ");

    stderr!(sandbox.run(["get", "c"]).fails_with(3), @"
    error: no secret `c` in project `default`
    hint: `secrets list` shows the secrets of the project
    ");

    let skip = ["import", "f.env", "--on-conflict", "skip"];
    stderr!(sandbox.run(skip).succeeds(), @"imported into project `default`: 1 created, 2 skipped");
    assert_value(&sandbox, "a", "old");
    let overwrite = ["import", "f.env", "--on-conflict", "overwrite"];

    stderr!(sandbox.run(overwrite).succeeds(), @"imported into project `default`: 2 overwritten, 1 unchanged");
    assert_value(&sandbox, "a", "new");

    // Its label, its tag and its id stay.
    sandbox.run(["get", "a"]).succeeds().stdout_has("name         Label\n");
}

#[test]
fn a_dry_run_shows_the_plan_and_stores_nothing() {
    let sandbox = Sandbox::with_secrets(&[("x-a", "old"), ("x-b", "2")]);
    sandbox.write("f.env", "A=new\nB=2\nC=3\nD=\n");
    let line = ["import", "f.env", "--prefix", "x-", "--on-conflict", "overwrite", "--dry-run"];
    stderr!(sandbox
        .run(line)
        .succeeds(), @"warning: f.env:4: `D` is skipped: it is empty")
    .stdout(
        "overwrite  A -> default/x-a\nsame       B -> default/x-b\ncreate     C -> default/x-C\n",
    );

    let plan = stderr!(sandbox.run(line.iter().chain(&["--json"])).succeeds(), @"warning: f.env:4: `D` is skipped: it is empty")
        .json();
    assert_eq!(
        plan["plan"][2],
        serde_json::json!({"action": "create", "source": "C", "project": "default", "tag": "x-C"})
    );

    assert_eq!(plan["skipped"][0]["line"], 4);
    sandbox.run(["list"]).succeeds().stdout_has("x-a\t").stderr("");
    assert_value(&sandbox, "x-a", "old");
}

#[test]
fn the_source_is_removed_only_if_all_its_values_are_stored() {
    let sandbox = Sandbox::with_secrets(&[("a", "old")]);
    sandbox.write("f.env", "A=new\nB=2\n");
    let skip = ["import", "f.env", "--on-conflict", "skip", "--delete-source"];
    stderr!(sandbox.run(skip).fails_with(4), @"
    imported into project `default`: 1 created, 1 skipped
    error: `f.env` was not removed: 1 value is not in the vault
    ");

    assert_value(&sandbox, "b", "2");
    assert!(sandbox.path("f.env").exists());
    let overwrite = ["import", "f.env", "--on-conflict", "overwrite", "--delete-source"];
    stderr!(sandbox.run(overwrite).succeeds(), @"
    imported into project `default`: 1 overwritten, 1 unchanged
    removed `f.env`
    ");

    assert!(!sandbox.path("f.env").exists());

    // Repeating the import removes the file although nothing is new.
    sandbox.write("f.env", "A=new\nB=2\n");
    stderr!(sandbox.run(["import", "f.env", "--delete-source"]).succeeds(), @"
    imported into project `default`: 2 unchanged
    removed `f.env`
    ");

    // Only an empty value may be left out without being lost.
    sandbox.write("f.env", "A=first\nA=new\nE=\n");
    let run = sandbox.run(["import", "f.env", "--delete-source"]).fails_with(4);
    stderr!(run, @"
    warning: f.env:1: `A` is skipped: a later entry has the same name
    warning: f.env:3: `E` is skipped: it is empty
    imported into project `default`: 1 unchanged, 2 not imported
    error: `f.env` was not removed: 1 value is not in the vault
    ");

    sandbox.write("f.env", "A=new\nE=\n");
    stderr!(sandbox.run(["import", "f.env", "--delete-source"]).succeeds(), @"
    warning: f.env:2: `E` is skipped: it is empty
    imported into project `default`: 1 unchanged, 1 not imported
    removed `f.env`
    ");

    sandbox.write("real.env", "A=new\n");
    symlink("real.env", sandbox.path("link.env")).unwrap();
    let run = sandbox.run(["import", "link.env", "--delete-source"]).fails_with(4);
    stderr!(run, @"
    imported into project `default`: 1 unchanged
    error: `link.env` was not removed: it is a link or has several names
    ");

    stderr!(sandbox.command(["import", "-", "--delete-source"]).stdin("A=1").run().fails_with(2), @"
    error: stdin cannot be removed
    hint: remove the option `--delete-source`
    ");
}

#[test]
fn names_that_differ_in_case_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("f.env", "http_proxy=hunter2\nHTTP_PROXY=hunter3\n");
    for line in [&["import", "f.env"][..], &["import", "f.env", "--dry-run"]] {
        stderr!(sandbox.run(line).fails_with(2).stdout(""), @"
        error: f.env:2:1: the variables `http_proxy` and `HTTP_PROXY` would get the same tag: tags ignore case and treat `-` and `.` like `_`
        hint: remove one of the two from the file; `[run.env]` and `run --env HTTP_PROXY=...` can give a program a variable of any name; nothing was stored
        ");
    }

    stderr!(sandbox.run(["list"]).succeeds().stdout(""), @"no secrets in project `default`");
}

#[test]
fn skipped_values_are_counted_and_not_an_error() {
    let sandbox = Sandbox::new();
    sandbox.write("f.env", "A=1\nB=op://app/db/password\nC=\n");
    stderr!(sandbox.run(["import", "f.env"]).succeeds(), @"
    warning: f.env:2: `B` is skipped: 1Password resolves this reference; import the output of `op inject`
    warning: f.env:3: `C` is skipped: it is empty
    use `--as-is` to store references and ciphertexts of other tools unchanged
    imported into project `default`: 1 created, 2 not imported
    ");

    sandbox.write("f.env", "B=op://app/db/password\n");
    stderr!(sandbox.run(["import", "f.env"]).succeeds(), @"
    warning: f.env:1: `B` is skipped: 1Password resolves this reference; import the output of `op inject`
    use `--as-is` to store references and ciphertexts of other tools unchanged
    imported into project `default`: nothing, 1 skipped
    ");

    stderr!(sandbox.run(["import", "f.env", "--delete-source"]).fails_with(4), @"
    warning: f.env:1: `B` is skipped: 1Password resolves this reference; import the output of `op inject`
    use `--as-is` to store references and ciphertexts of other tools unchanged
    imported into project `default`: nothing, 1 skipped
    error: `f.env` was not removed: 1 value is not in the vault
    ");

    let run = sandbox.run(["import", "f.env", "--json"]).succeeds();
    let document = stderr!(run, @"warning: f.env:1: `B` is skipped: 1Password resolves this reference; import the output of `op inject`")
        .json();
    assert_eq!(document["secrets"], serde_json::json!([]));
    assert_eq!(document["skipped"][0]["source"], "B");

    let plan = stderr!(sandbox.run(["import", "f.env", "--dry-run", "--json"]).succeeds(), @"warning: f.env:1: `B` is skipped: 1Password resolves this reference; import the output of `op inject`")
        .json();
    assert_eq!(plan["plan"], serde_json::json!([]));
    stderr!(sandbox.run(["import", "f.env", "--as-is"]).succeeds(), @"imported into project `default`: 1 created");
    assert_value(&sandbox, "b", "op://app/db/password");
    sandbox.write("empty.env", "C=\n");
    stderr!(sandbox.run(["import", "empty.env", "--delete-source"]).succeeds(), @"
    warning: empty.env:1: `C` is skipped: it is empty
    imported into project `default`: nothing, 1 skipped
    removed `empty.env`
    ");
}

#[test]
fn a_reference_to_another_variable_is_mentioned() {
    let sandbox = Sandbox::new();
    sandbox.write("f.env", "APP_NAME=Laravel\nMAIL_FROM_NAME=\"${APP_NAME}\"\n");
    stderr!(sandbox.run(["import", "f.env"]).succeeds(), @"
    warning: f.env:2: the value of `MAIL_FROM_NAME` refers to another variable; it is stored as written, and programs get it unexpanded
    imported into project `default`: 2 created
    ");

    assert_value(&sandbox, "mail-from-name", "${APP_NAME}");
}

#[test]
fn an_unreadable_file_is_reported_with_a_hint() {
    let sandbox = Sandbox::new();
    let utf16: Vec<u8> =
        "\u{feff}A=hunter2\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, error, hint) in [
        ("b.zip", &b"PK\x03\x04"[..], "a ZIP archive", "`unzip b.zip`"),
        (
            "it's.env",
            &utf16,
            "UTF-16 text",
            "`iconv -f UTF-16 -t UTF-8 'it'\\''s.env' | secrets import -`",
        ),
    ] {
        std::fs::write(sandbox.path(name), bytes).unwrap();
        for format in [&[][..], &["--format", "dotenv"]] {
            let run = sandbox.run(["import", name].iter().chain(format)).fails_with(2);
            run.stderr_has(&format!("error: `{name}` is {error}")).stderr_has(hint);
        }
    }

    let kdbx = &b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5"[..];
    stderr!(sandbox.command(["import", "-"]).stdin(kdbx).run().fails_with(2), @"
    error: `stdin` is a KeePass database (.kdbx), which is encrypted
    hint: run `secrets import FILE`
    ");
    stderr!(sandbox.command(["import", "-"]).stdin(&utf16).run().fails_with(2), @"
    error: `stdin` is UTF-16 text, but only UTF-8 can be read
    hint: run `iconv -f UTF-16 -t UTF-8 FILE | secrets import -`
    ");
}

#[test]
fn a_dry_run_works_with_a_read_only_vault() {
    let sandbox = Sandbox::with_secrets(&[("a", "1")]);
    sandbox.write("f.env", "A=1\nB=2\n");
    std::fs::set_permissions(
        sandbox.vault_path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o400),
    )
    .unwrap();

    sandbox.run(["import", "f.env", "--dry-run"]).succeeds().stdout_has("create     B");
}

#[test]
fn values_in_git_are_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.git("", &["init", "-q", "."]);
    sandbox.write("f.env", "A=1\n");
    sandbox.git("", &["add", "f.env"]);
    stderr!(sandbox.run(["import", "f.env", "--delete-source"]).succeeds(), @"
    imported into project `default`: 1 created
    removed `f.env`
    warning: `f.env` is tracked by git: its values are in the history, so change them
    ");
}

#[test]
fn an_error_about_a_broken_file_quotes_nothing() {
    let sandbox = Sandbox::new();
    for (text, format, place) in [
        ("A=1\nhunter2hunter2\n", "dotenv", "f:2:15: "),
        ("A='hunter2hunter2\n", "dotenv", "f:1:3: the single quote is never closed"),
        ("a: hunter2hunter2\n  b: hunter2hunter2\n", "yaml", "f:2:"),
        ("- hunter2hunter2\n", "yaml", "f:1:1: the file has no YAML map"),
        ("{\"A\": \"hunter2hunter2\"}", "vault", "f: the file does not have the form of `vault`"),
        ("PK\x03\x04 export.data hunter2hunter2", "1password", "f: the archive is damaged"),
        ("{\"A\": \"hunter2hunter2\"", "json", "f:1:"),
        (
            "nothing\nhunter2hunter2\n",
            "1password",
            "f: the first row does not contain the column \
                                                    names",
        ),
        ("<KeePassFile><hunter2hunter2>", "keepass", "f"),
    ] {
        sandbox.write("f", text);
        let (code, stdout, stderr) = sandbox.run(["import", "f", "--format", format]).everything();
        assert_eq!((code, stdout.len()), (Some(2), 0), "{format}: {stderr}");
        assert!(
            stderr.starts_with(&format!("error: {place}")) && !stderr.contains("hunter2"),
            "{format}: {stderr}"
        );
        assert!(
            stderr.ends_with(&format!("hint: the file was read as {format}; nothing was stored\n")),
            "{stderr}"
        );
    }

    sandbox.write("f.xml", "<a/>");
    stderr!(sandbox.run(["import", "f.xml"]).fails_with(2), @"
    error: cannot detect the format of `f.xml`
    hint: set it with `--format FORMAT`
    ");

    sandbox.write("f.env", "# nothing\n");
    stderr!(sandbox.run(["import", "f.env"]).fails_with(2), @"
    error: `f.env` contains no values
    hint: nothing was stored
    ");

    let output = sandbox.run(["import", "nowhere"]).fails_with(1);
    stderr!(output, @"error: cannot read `nowhere`: No such file or directory");
    stderr!(sandbox.run(["import", "f.env", "--prefix", "a b"]).fails_with(2), @"
    error: f.env: no tag can begin with that prefix
    hint: the file was read as dotenv; nothing was stored
    ");

    sandbox.run(["project", "list"]).succeeds().stdout("");
}

#[test]
fn stdin_and_json_are_accepted() {
    let sandbox = Sandbox::new();
    let json = r#"{"A": "x\ny", "N": 1.50, "T": true, "E": null}"#;
    stderr!(sandbox.command(["import", "-"]).stdin(json).run().succeeds(), @"
    warning: stdin:1: `E` is skipped: it is empty
    imported into project `default`: 3 created, 1 not imported
    ");

    assert_value(&sandbox, "a", "x\ny");
    assert_value(&sandbox, "n", "1.50");
    assert_value(&sandbox, "t", "true");
}

#[test]
fn an_export_of_another_manager_is_recognized_by_its_content() {
    for name in [
        "1password.csv",
        "bitwarden.csv",
        "bitwarden.json",
        "keepass.xml",
        "keepassxc.csv",
        "keepassxc.xml",
    ] {
        let sandbox = Sandbox::new();
        let path = root().join("tests/fixtures/import").join(name);
        let (code, _, stderr) = sandbox.run([OsStr::new("import"), path.as_os_str()]).everything();
        assert_eq!(code, Some(0), "{name}: {stderr}");
        assert!(stderr.contains(" created"), "{name}: {stderr}");
        // The second import creates nothing.
        let (code, _, stderr) = sandbox.run([OsStr::new("import"), path.as_os_str()]).everything();
        assert!(code == Some(0) && !stderr.contains(" created"), "{name}: {stderr}");
    }
}

#[test]
fn ten_thousand_are_one_transaction() {
    let sandbox = Sandbox::new();
    let lines: Vec<String> = (0..10_000).map(|n| format!("NAME_{n:05}=value-of-{n}\n")).collect();
    let text = lines.concat();
    sandbox.write("f.env", &text);
    stderr!(sandbox.run(["import", "f.env"]).succeeds(), @"imported into project `default`: 10000 created");
    assert_value(&sandbox, "name_07777", "value-of-7777");

    // The last secret conflicts, so none is stored.
    let vault = sandbox.vault();
    vault.create(&project("web"), secret("name-09999", b"other")).unwrap();
    stderr!(sandbox.run(["-p", "web", "import", "f.env"]).fails_with(4), @"
    error: secret `name-09999` already exists in project `web`
    hint: the values differ; choose `--on-conflict skip` or `--on-conflict overwrite`; nothing was stored
    ");

    assert_eq!(vault.projects().unwrap()[1].1, 1);
}

#[test]
fn concurrent_changes_are_found_when_the_import_is_read_back() {
    let sandbox = Sandbox::with_secrets(&[("kept", "1")]);
    let (vault, name) = (sandbox.vault(), project("default"));
    let new = ["kept", "new", "other"].map(|tag| secret(tag, b"1"));
    let import = Import::into_one(&name, new.into(), OnConflict::Fail);
    let outcome = vault.import(&import, &|_| {}).unwrap();

    assert_eq!(vault.verify_import(&import, &outcome).unwrap(), None);
    for (tag, at) in [("other", 2), ("new", 1), ("kept", 0)] {
        sandbox.command(["update", tag, "-q"]).stdin("2").run().succeeds();
        assert_eq!(vault.verify_import(&import, &outcome).unwrap(), Some(at));
    }

    sandbox.run(["delete", "kept", "-y", "-q"]).succeeds();
    assert_eq!(vault.verify_import(&import, &outcome).unwrap(), Some(0));
}

#[test]
fn more_projects_than_fit_are_refused_by_a_dry_run_too() {
    let sandbox = Sandbox::with_secrets(&[("there", "1")]);
    let names: Vec<_> = (0..MAX_PROJECTS).map(|number| project(&format!("p{number}"))).collect();
    let incoming = |to| IncomingSecret { to, new: secret("one", b"1"), times: None };
    let import =
        Import { secrets: names.iter().map(incoming).collect(), on_conflict: OnConflict::Fail };

    let vault = sandbox.vault();
    for refused in [vault.plan_import(&import).map(drop), vault.import(&import, &|_| {}).map(drop)]
    {
        assert!(matches!(refused, Err(VaultError::TooManyProjects)));
    }
}
