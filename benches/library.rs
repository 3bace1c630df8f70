//! Library benches: what one call costs, without a process around it. `cargo bench --bench library`.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::model::{ProjectName, SecretBytes, SecretRef, SecretValue, Tag};
use terminal_secrets::template::{Plan, Template, grammar::Grammar};
use terminal_secrets::vault::{NewSecret, Reveal, Revealed, Vault, VaultError};

fn passphrase() -> Passphrase {
    Passphrase::new(&SecretBytes::copy_of(b"correct horse battery staple")).unwrap()
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(SecretBytes::copy_of(text.as_bytes()), false).unwrap()
}

fn vault_of(count: usize) -> (tempfile::TempDir, Vault) {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::init(&directory.path().join("vault.db"), &passphrase(), KdfParams::LEAST).unwrap();
    let secret = |n| NewSecret {
        tag: Tag::parse(&format!("secret-{n}")).unwrap(),
        name: None,
        description: None,
        value: value(&format!("value-of-secret-number-{n}")),
    };
    vault.create_all(&ProjectName::parse("default").unwrap(), (0..count).map(secret)).unwrap();
    (directory, vault)
}

fn crypto(c: &mut Criterion) {
    let (key, vault_id) = (Key::random().unwrap(), [1; 16]);
    let sealed = key.seal("meta", &vault_id, b"context", &[0; 256]).unwrap();
    c.bench_function("seal 256 bytes", |b| b.iter(|| key.seal("meta", &vault_id, b"context", &[0; 256])));
    c.bench_function("open 256 bytes", |b| b.iter(|| key.open("meta", &vault_id, b"context", &sealed, "it").is_ok()));
    let mut group = c.benchmark_group("derive");
    group.sample_size(10);
    for (name, params) in [("least", KdfParams::LEAST), ("default", KdfParams::DEFAULT)] {
        let derive = || passphrase().derive(params, &[7; 16], &[8; 16], &[9; 16]).is_ok();
        group.bench_function(name, |b| b.iter(derive));
    }
    group.finish();
}

fn vault(c: &mut Criterion) {
    let project = ProjectName::parse("default").unwrap();
    let mut group = c.benchmark_group("vault");
    group.sample_size(20);
    for count in [100, 10_000] {
        let (_directory, vault) = vault_of(count);
        let wanted: SecretRef = "secret-77".parse().unwrap();
        group.bench_function(BenchmarkId::new("get", count), |b| b.iter(|| vault.get(&project, &wanted).unwrap()));
        group.bench_function(BenchmarkId::new("list", count), |b| {
            b.iter(|| vault.list(Some(&project), |_| true).unwrap().len());
        });
    }
    group.finish();
}

struct Fixed;

impl Reveal for Fixed {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        Ok(tags.iter().map(|_| Revealed::Value(value("a value of usual length"))).collect())
    }
}

fn template(c: &mut Criterion) {
    let page = format!("{{{{ secrets.key }}}}{}\n", "x".repeat(4076));
    let text = page.repeat(4096).into_bytes();
    let mut group = c.benchmark_group("template");
    group.sample_size(20).throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("plan and expand 16 MiB", |b| {
        let mut template = Template::from_text("bench", text.clone());
        b.iter(|| {
            let resolved = Plan::new(&mut template, Grammar::default()).unwrap().resolve(&Fixed).unwrap();
            resolved.expand(&mut template, &mut std::io::sink()).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, crypto, vault, template);
criterion_main!(benches);
