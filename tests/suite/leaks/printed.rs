//! No command and no failure prints a value.

use crate::support::files::passphrase_file;
use crate::support::traces::hex;
use crate::support::{PASSPHRASE, Sandbox};

use super::{OTHER, VALUE, clean, clean_directory, silent, with_value};

/// Returns the arguments of a line. A tab stands for a space inside of one.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| word.replace('\t', " ")).collect()
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let hex = hex(VALUE.as_bytes());
    let base64 =
        <base64ct::Base64 as base64ct::Encoding>::encode_string(format!("x{VALUE}").as_bytes());
    for text in [VALUE, &VALUE[20..28], &hex, &hex.to_uppercase(), &base64, PASSPHRASE] {
        let found = std::panic::catch_unwind(|| clean("a test", text.as_bytes())).is_err();
        assert!(found, "{text}");
    }

    clean("a hint", "mRk7…9wLs".as_bytes());
}

#[test]
fn no_command_prints_a_value() {
    let sandbox = with_value();
    passphrase_file(&sandbox, "same", PASSPHRASE);
    passphrase_file(&sandbox, "file-pass", "a passphrase for the file");

    let id =
        sandbox.run(["get", "key", "--json"]).succeeds().json()["id"].as_str().unwrap().to_owned();
    for line in [
        "get key",
        "get KEY --json",
        "list",
        "list --json",
        "list --all-projects",
        "list --filter mRk7",
        "update key --name x",
        "update key --description x --json",
        "access --json",
        "access key --restricted",
        "access key --team --json",
        "clone key --to web",
        "clone --all --to two --json",
        "clone --all --to web --dry-run --on-conflict skip",
        "clone key --to web --on-conflict overwrite --json",
        "project list",
        "project rename web site",
        "project delete site -y --json",
        "compact",
        "compact --json",
        "passwd --new-passphrase-file same -q",
        "passwd --new-passphrase-file same --json",
        "recovery create",
        "recovery create --replace --json",
        "rekey -y",
        "rekey -y --json",
        "-p default rekey -y",
        "verify",
        "verify --json",
        "backup copy.db",
        "backup copy.db --replace --json",
        "restore copy.db --dry-run",
        "restore copy.db -y --json",
        "restore --accept -y",
        "salvage out.db",
        "recovery delete -y",
        "completions bash",
        "completions zsh",
        "render -e {{KEY}} --list",
        "render -e {{KEY}} --list --json",
        "render -e {{KEY}} -o out",
        "render -e {{KEY}} -o out --check",
        "render -e {{KEY}} -o out -q",
        "export --encrypted all.age --all-projects -r age12qcdcly6sjfmxjhkucaekfvvk5f6wv4szm275504mh5dfh0xvf0szv54en",
        "export --encrypted all.age -r age12qcdcly6sjfmxjhkucaekfvvk5f6wv4szm275504mh5dfh0xvf0szv54en --armor --replace --json",
        "export --encrypted own.age --export-passphrase-file file-pass",
        "import own.age --import-passphrase-file file-pass",
        "import own.age --import-passphrase-file file-pass -p copy --dry-run --json",
        "import own.age --import-passphrase-file file-pass -p copy --json",
        "scan vault.db tmp",
        "scan vault.db --json",
        "run --dry-run --only key --file F=other --stdin key",
        "run --dry-run --json --env A={{KEY}}",
        "run -- /usr/bin/printenv KEY OTHER",
        "run --json --only key -- /bin/sh -c echo\t$KEY;echo\t$KEY>&2",
        "run --file F=key -- /bin/sh -c cat\t$F;echo\t$F>&2",
        "run --stdin key -- /bin/cat",
        "run --env A={{KEY|base64}}{{OTHER|url}} -- /usr/bin/printenv A",
        "redact",
        "unlock --ttl 1m -q",
        "status",
        "status --json",
        "get key",
        "lock",
        "delete other -y",
        "--help",
        "create --help",
        "--version",
    ] {
        assert_eq!(
            silent(
                sandbox
                    .command(words(line))
                    .env("TMPDIR", sandbox.path("tmp"))
                    .stdin(if line == "redact" { VALUE } else { "" })
                    .run()
            ),
            Some(0),
            "{line}"
        );
    }

    assert_eq!(silent(sandbox.run(["get", &id])), Some(0));

    // The rendered value is in its output and nowhere else.
    assert_eq!(sandbox.read("out"), VALUE.as_bytes());
    std::fs::remove_file(sandbox.path("out")).unwrap();
    std::fs::remove_file(sandbox.path("same")).unwrap();
    clean_directory(&sandbox.path(""));
    clean_directory(&sandbox.state());
}

#[test]
fn no_command_of_a_project_prints_a_value() {
    let sandbox = Sandbox::with_secrets(&[("key", VALUE)]);
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    sandbox.write("t.tmpl", "K={{ KEY }}\nO={{ secrets.other }}\n");
    sandbox.write(
        ".secrets.toml",
        "project = \"default\"\n[secrets.other]\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"out\"\n\
         [run.env]\nA = \"{{ KEY }}\"\n",
    );

    let given = format!("OTHER={OTHER}\n");
    sandbox.write("given.env", &given);
    for (line, code) in [
        ("setup", 3),
        ("check --json", 3),
        ("setup --from given.env --json", 0),
        ("setup", 0),
        ("check", 0),
        ("check --json", 0),
        ("refs", 0),
        ("refs --json", 0),
        ("run -- /usr/bin/printenv A", 0),
        ("run --dry-run", 0),
        ("update key --generate", 0),
        ("update key --value-file given.env", 0),
        ("render --all --check", 8),
        ("render --stale", 0),
        ("render --all --json", 0),
        ("delete key -y", 7),
        ("project delete default -y --json", 7),
        ("import given.env", 0),
        ("import given.env --dry-run --json", 0),
        ("import - --on-conflict overwrite", 0),
        ("import - --format json", 2),
        ("template given.env -o given.tmpl", 0),
        ("import given.env --delete-source", 0),
    ] {
        let run =
            sandbox.command(words(line)).env("TMPDIR", sandbox.path("tmp")).stdin(&given).run();
        assert_eq!(silent(run), Some(code), "{line}");
    }

    std::fs::remove_file(sandbox.path("out")).unwrap();
    clean_directory(&sandbox.path(""));
}

#[test]
fn no_way_of_storing_prints_a_value() {
    let sandbox = with_value();
    sandbox.write("value", VALUE);
    for line in [
        "create --tag a",
        "create --tag b --json",
        "create --tag c --value-file value",
        "create --tag d --value-file -",
        "create --tag e --exact -q",
        "update a",
        "update b --json",
        "update c --value-file value --name x",
    ] {
        let run =
            sandbox.command(line.split(' ')).env("TMPDIR", sandbox.path("tmp")).stdin(VALUE).run();
        assert_eq!(silent(run), Some(0), "{line}");
    }

    std::fs::remove_file(sandbox.path("value")).unwrap();
    clean_directory(&sandbox.path(""));
}

#[test]
fn no_failure_prints_a_value() {
    let sandbox = with_value();
    sandbox.write("value", VALUE.repeat(20_000)); // too large
    sandbox.write("template", format!("{VALUE} {{{{ secrets.kez }}}}"));
    std::os::unix::fs::symlink("nowhere", sandbox.path("link")).unwrap();

    for (line, code) in [
        ("create --tag key", 4),
        ("create --tag KEY", 4),
        ("create --tag a --value-file value", 2),
        ("create --tag a --value-file value", 2),
        ("create --tag a --value-file nowhere", 1),
        ("create", 2),
        ("create --tag a b", 2),
        ("create --tag se0123456789abcdef", 2),
        ("update nothing", 3),
        ("update key --value-file value", 2),
        ("update key --name x --allow-empty --generate --length 1", 2),
        ("clone key other --tag x", 2),
        ("clone --all --to default", 2),
        ("delete key", 7),
        ("delete key nothing -y", 3),
        ("render -e {{KEY}}{{KEZ}}", 3),
        ("render -e {{secrets.key|no}}", 2),
        ("render -e {{KEY}} -o link", 7),
        ("render -e {{KEY}} -o tmp", 7),
        ("render -e {{KEY}} -o nowhere/out", 1),
        ("render -e {{KEY}} -o missing --check", 8),
        ("init", 4),
        ("export", 2),
        ("export --encrypted out", 5),
        (
            "export --encrypted value -r age12qcdcly6sjfmxjhkucaekfvvk5f6wv4szm275504mh5dfh0xvf0szv54en --replace",
            7,
        ),
        (
            "export --encrypted template -r age12qcdcly6sjfmxjhkucaekfvvk5f6wv4szm275504mh5dfh0xvf0szv54en",
            4,
        ),
        ("export --encrypted out -R value", 2),
        ("export --encrypted out -r age1x", 2),
        ("import template -i value", 2),
        ("import value --format age", 6),
        ("list --vault template", 6),
        ("scan value", 8),
        ("scan nowhere", 1),
        ("redact nowhere", 1),
        ("redact tmp", 1),
        ("run --only kez -- true", 125),
        ("run --env A={{KEY}}{{KEZ}} -- true", 125),
        ("run --env A={{secrets.key|no}} -- true", 125),
        ("run --env LD_PRELOAD={{KEZ}} -- true", 125),
        ("run --only key -- /no/such/program", 127),
        ("run --only key -- /etc/passwd", 126),
        ("run --env-file template -- true", 125),
        ("run --env-file value -- true", 125),
        ("run --stdin key -- /bin/sh -c cat;exit\t9", 9),
        ("run -- /bin/sh -c kill\t-9\t$$", 137),
    ] {
        for json in [false, true] {
            let line = words(line).into_iter().chain(json.then(|| "--json".to_owned()));
            let run =
                sandbox.command(line.clone()).env("TMPDIR", sandbox.path("tmp")).stdin(VALUE).run();
            assert_eq!(silent(run), Some(code), "{:?}", line.collect::<Vec<_>>());
        }
    }

    for name in ["value", "template"] {
        std::fs::remove_file(sandbox.path(name)).unwrap();
    }

    clean_directory(&sandbox.path(""));
}

#[test]
fn a_damaged_vault_reveals_no_value() {
    let sandbox = with_value();
    for damage in [
        "UPDATE vals SET val = zeroblob(length(val)) WHERE rid IN (SELECT rid FROM records WHERE pid <> zeroblob(16))",
        "UPDATE records SET meta = zeroblob(length(meta))",
        "UPDATE projects SET head = zeroblob(length(head))",
        "UPDATE slots SET wrap = zeroblob(length(wrap))",
        "UPDATE vault SET past = zeroblob(136)",
        "DELETE FROM vals",
    ] {
        let whole = sandbox.read("vault.db");
        rusqlite::Connection::open(sandbox.vault_path()).unwrap().execute(damage, []).unwrap();
        for line in [
            "get key",
            "list",
            "render -e {{KEY}}{{OTHER}}",
            "delete key -y",
            "clone --all --to web",
        ] {
            silent(sandbox.run(line.split(' ')));
        }
        std::fs::write(sandbox.vault_path(), whole).unwrap();
    }
}

#[test]
fn a_wrong_passphrase_is_not_printed() {
    let sandbox = with_value();
    for line in ["list", "get key --json", "render -e {{KEY}}", "create --tag a"] {
        let run =
            sandbox.command(line.split(' ')).env("SECRETS_PASSPHRASE", VALUE).stdin(OTHER).run();
        assert_eq!(silent(run), Some(5), "{line}");
        sandbox.write("passphrase", format!("{VALUE}\n\n"));
        let run = sandbox.run(line.split(' ').chain(["--passphrase-file", "passphrase"]));

        assert_eq!(silent(run), Some(5), "{line}");
    }

    // These are not valid passphrases at all.
    for bad in [VALUE.repeat(100).into_bytes(), [VALUE.as_bytes(), b"\xff"].concat()] {
        sandbox.write("passphrase", bad);
        assert_eq!(silent(sandbox.run(["list", "--passphrase-file", "passphrase"])), Some(5));
    }
}
