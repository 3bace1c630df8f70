//! Vaults of formats that were never released are refused, and so are those of later formats. From the
//! first release on, a vault of every released format is opened here.

use rusqlite::Connection;
use terminal_secrets::store::FORMAT;

use crate::support::Sandbox;

/// Makes the file claim a format.
fn claim(sandbox: &Sandbox, format: i32) {
    let connection = Connection::open(sandbox.vault_path()).unwrap();
    connection.pragma_update(None, "user_version", format).unwrap();
}

#[test]
fn formats_that_were_never_released_are_refused_with_a_way_out() {
    for format in [1, 2] {
        let sandbox = Sandbox::with_secrets(&[("one", "value one")]);
        claim(&sandbox, format);
        let before = sandbox.read("vault.db");

        for line in [&["list"][..], &["update", "one", "--name", "x"], &["verify"], &["unlock"]] {
            let text = format!(
                "error: the vault has format {format}; this version of `secrets` reads format \
                 {FORMAT}\nhint: `secrets export` of commit "
            );
            let run = sandbox.run(line).fails_with(6).stdout("");
            run.stderr_has(&text).stderr_has("with `secrets import`\n");
        }

        assert_eq!(sandbox.read("vault.db"), before);
    }
}

#[test]
fn later_formats_are_refused() {
    for format in [0, -1, FORMAT + 1, i32::MAX] {
        let sandbox = Sandbox::with_secrets(&[("one", "value one")]);
        claim(&sandbox, format);
        let text = format!(
            "error: the vault has format {format}; this version of `secrets` reads format \
             {FORMAT}\nhint: use the version of `secrets` that created it\n"
        );

        sandbox.run(["list"]).fails_with(6).stdout("").stderr_has(&text);
    }
}
