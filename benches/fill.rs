//! The helper that `whole-process.sh` needs in addition to the program. It creates a vault of many
//! secrets and runs the key derivation alone.
//!
//! - `fill vault PATH COUNT` creates a vault with the cheapest parameters.
//! - `fill projects PATH COUNT` creates a vault of many projects with one secret each.
//! - `fill kdf MIB ITERATIONS LANES` derives once.
//! - `fill template PATH MIB` writes a template with a placeholder every 4 KiB.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;

use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::model::{Name, ProjectName, SecretBytes, SecretValue, Tag};
use terminal_secrets::vault::{Import, IncomingSecret, NewSecret, OnConflict, Vault};

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["vault", path, count] => vault(Path::new(path), count.parse().unwrap()),
        ["projects", path, count] => projects(Path::new(path), count.parse().unwrap()),
        ["kdf", memory, iterations, lanes] => kdf(KdfParams {
            memory: memory.parse::<u32>().unwrap() * 1024,
            iterations: iterations.parse().unwrap(),
            parallelism: lanes.parse().unwrap(),
        }),
        ["template", path, size] => template(Path::new(path), size.parse().unwrap()),
        _ => {}
    }
}

fn passphrase() -> Passphrase {
    Passphrase::new(&SecretBytes::copy_of(b"correct horse battery staple")).unwrap()
}

fn kdf(params: KdfParams) {
    let keys = passphrase().derive(false, params, &[7; 16], &[8; 16], &[9; 16]).unwrap();
    std::hint::black_box(keys.commitment);
}

fn secret(number: usize) -> NewSecret {
    let value = SecretBytes::from_vec(format!("value-of-number-{number:032}").into_bytes());
    let tag = Tag::parse(&format!("secret-{number:07}")).unwrap();
    NewSecret {
        name: Name::parse(&format!("Secret number {number}")).unwrap(),
        ..NewSecret::new(tag, SecretValue::new(value, false).unwrap())
    }
}

fn vault(path: &Path, count: usize) {
    let vault = Vault::init(path, &passphrase(), KdfParams::LEAST).unwrap();
    let secrets = (0..count).map(secret);
    vault.create_all(&ProjectName::parse("default").unwrap(), secrets).unwrap();
}

/// Every project has a secret with the tag `secret-0000000`. The first one is `default`.
fn projects(path: &Path, count: usize) {
    let vault = Vault::init(path, &passphrase(), KdfParams::LEAST).unwrap();
    let name = |number| match number {
        0 => "default".to_owned(),
        number => format!("project-{number:05}"),
    };
    let names: Vec<ProjectName> =
        (0..count).map(|number| ProjectName::parse(&name(number)).unwrap()).collect();
    let secrets = names.iter().map(|to| IncomingSecret { to, new: secret(0), times: None });
    let import = Import { secrets: secrets.collect(), on_conflict: OnConflict::Skip };
    vault.import(&import, &|_| {}).unwrap();
}

fn template(path: &Path, mebibytes: usize) {
    let mut page = b"{{ secrets.secret-0000001 }}".to_vec();
    while page.len() < 4096 {
        page.push(if page.len() % 64 == 63 { b'\n' } else { b'x' });
    }

    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    (0..mebibytes * 256).for_each(|_| file.write_all(&page).unwrap());
    file.flush().unwrap();
}
