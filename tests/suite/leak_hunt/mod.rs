//! Searches for traces of secrets: in the memory of a finished command, in core dumps, in the
//! arguments and environments of the programs that it starts, and in every byte that it writes.
//!
//! `strace` holds or records a process, and root reads its memory. If either is not available, the
//! tests report that on stderr and pass, as in `output_faults`. A row's [`Leaves`] lists what
//! `SECURITY.md` does not promise. Anything else fails.

use std::fs::{self, File};
use std::process::Command;

use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::model::{Level, SecretBytes, TokenName};
use terminal_secrets::vault::{Locked, NewToken, Vault};

use crate::support::files::write_private;
use crate::support::programs::environment;
use crate::support::{Sandbox, project, secret};

use rows::{GIVEN, PASSPHRASE, Row, STORED};

mod memory;
mod rows;
mod writes;

fn passphrase() -> Passphrase {
    Passphrase::new(&SecretBytes::copy_of(PASSPHRASE.as_bytes())).unwrap()
}

/// Returns a sandbox in which every row can run.
fn home() -> Sandbox {
    let sandbox = Sandbox::empty();
    Vault::init(&sandbox.vault_path(), &passphrase(), KdfParams::LEAST).unwrap();
    let vault = Locked::open(&sandbox.vault_path()).unwrap().unlock(&passphrase()).unwrap();
    vault.create(&project("default"), secret("key", STORED.as_bytes())).unwrap();
    vault.create(&project("web"), secret("port", format!("{STORED}b").as_bytes())).unwrap();
    vault.backup(&sandbox.path("copy.db"), false, &|_| {}).unwrap();

    let default = project("default");
    let new = NewToken::new(TokenName::parse("user").unwrap(), Level::Use, &default);
    let (token, _) = vault.create_token(&new).unwrap();
    write_private(&sandbox.path("user.token"), token.text().expose());

    for (name, content) in [
        ("wrong", format!("{GIVEN}\n")),
        ("long", GIVEN.repeat(100)),
        ("value", GIVEN.to_owned()),
        ("given.env", format!("NEW={GIVEN}\nOTHER='{GIVEN}'\n")),
        ("given.json", format!("{{\"NEW\": \"{GIVEN}\"}}")),
        (
            "given.csv",
            format!(
                "Title,Url,Username,Password,OTPAuth,Favorite,Archived,Tags,Notes\nNEW,,anna,{GIVEN},,,,,\n"
            ),
        ),
        ("other.csv", format!("Site,Login,Secret\nx,anna,{GIVEN}\n")),
        ("t.tmpl", "K={{ KEY }}\n".to_owned()),
        (
            ".secrets.toml",
            "project = \"default\"\n[[render]]\ntemplate = \"t.tmpl\"\noutput = \"out\"\n"
                .to_owned(),
        ),
    ] {
        write_private(&sandbox.path(name), content);
    }

    sandbox.trust(&sandbox.path(""));

    // The file is outside of the tree, because some commands search the tree.
    write_private(&sandbox.state().join("passphrase"), format!("{PASSPHRASE}\n"));
    sandbox
}

/// Returns a row's command under strace. The `options` select what strace writes or injects. The
/// passphrase is in a file.
fn under_strace(sandbox: &Sandbox, row: &Row, options: &[&str]) -> Command {
    let program = sandbox.command(row.0.split(' ').map(|word| word.replace('\t', " "))).command;
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o"]).arg(sandbox.path("trace")).args(options);
    strace.arg(program.get_program()).args(program.get_args()).env_clear();
    strace.envs(environment(&program));
    strace
        .env_remove("SECRETS_PASSPHRASE")
        .env("SECRETS_PASSPHRASE_FILE", sandbox.state().join("passphrase"));
    strace.current_dir(sandbox.path("")).stdin(File::open(sandbox.write("stdin", row.1)).unwrap());
    fs::remove_file(sandbox.path("stdin")).unwrap();

    strace
}

/// Ends the agent that a row may have started.
fn lock(sandbox: &Sandbox) {
    sandbox.run(["lock", "-q"]).everything();
}
