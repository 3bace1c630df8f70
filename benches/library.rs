//! Library benchmarks, which measure single calls without a process around them.
//!
//! Run `cargo bench --locked --bench library`.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use terminal_secrets::crypto::aead::Key;
use terminal_secrets::crypto::kdf::{KdfParams, Passphrase};
use terminal_secrets::mask::{MaskedSpan, Masker, Needles, Sink};
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
    let vault =
        Vault::init(&directory.path().join("vault.db"), &passphrase(), KdfParams::LEAST).unwrap();
    let secret = |n| {
        let tag = Tag::parse(&format!("secret-{n}")).unwrap();
        NewSecret::new(tag, value(&format!("value-of-secret-number-{n}")))
    };

    vault.create_all(&ProjectName::parse("default").unwrap(), (0..count).map(secret)).unwrap();
    (directory, vault)
}

fn crypto(c: &mut Criterion) {
    let (key, vault_id) = (Key::random().unwrap(), [1; 16]);
    let sealed = key.seal("meta", &vault_id, b"context", &[0; 256]).unwrap();
    c.bench_function("seal 256 bytes", |b| {
        b.iter(|| key.seal("meta", &vault_id, b"context", &[0; 256]));
    });

    c.bench_function("open 256 bytes", |b| {
        b.iter(|| key.open("meta", &vault_id, b"context", &sealed, "it").is_ok());
    });

    let mut group = c.benchmark_group("derive");
    group.sample_size(10);
    for (name, params) in
        [("least", KdfParams::LEAST), ("small", KdfParams::SMALL), ("default", KdfParams::DEFAULT)]
    {
        let derive = || passphrase().derive(false, params, &[7; 16], &[8; 16], &[9; 16]).is_ok();
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
        group.bench_function(BenchmarkId::new("get", count), |b| {
            b.iter(|| vault.get(&project, &wanted).unwrap());
        });

        group.bench_function(BenchmarkId::new("list", count), |b| {
            b.iter(|| vault.list(Some(&project), |_| true).unwrap().len());
        });
    }

    group.finish();
}

struct Fixed;

impl Reveal for Fixed {
    fn reveal(&self, tags: &[Tag]) -> Result<Vec<Revealed>, VaultError> {
        let answer = |tag: &Tag| Revealed::Value {
            tag: tag.clone(),
            value: value("a value of usual length"),
        };

        Ok(tags.iter().map(answer).collect())
    }
}

fn template(c: &mut Criterion) {
    let page = format!("{{{{ secrets.key }}}}{}\n", "x".repeat(4076));
    let text = page.repeat(4096).into_bytes();
    let mut group = c.benchmark_group("template");
    group.sample_size(20).throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("plan and expand 16 MiB", |b| {
        let template = || Template::from_text("bench", text.clone());
        let expand = |template| {
            let plan = Plan::new(template, Grammar::default()).unwrap();
            let resolved = plan.resolve(&Fixed).unwrap();
            resolved.expand(&mut std::io::sink()).unwrap();

            // Criterion frees the template outside of the measurement.
            resolved
        };

        b.iter_batched(template, expand, BatchSize::PerIteration);
    });

    group.finish();
}

/// Counts the bytes that are shown.
struct Seen(u64);

impl Sink for Seen {
    type Error = std::convert::Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    fn masked(&mut self, _: &MaskedSpan<'_>) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Returns values as projects have them: keys with a prefix, passwords with punctuation, URLs, some
/// long ones.
fn values_of(count: u64) -> Vec<(Tag, Vec<u8>)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };

    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!$&/+='\"";
    let mut word = |length: u64, of: u64| -> String {
        (0..length).map(|_| char::from(letters[usize::try_from(next() % of).unwrap()])).collect()
    };

    let value = |n| match n % 5 {
        0 => format!("sk_live_{}", word(24, 62)),
        1 => word(20, letters.len() as u64),
        2 => format!("postgres://app:{}@db.internal:5432/app", word(16, letters.len() as u64)),
        3 => {
            format!("-----BEGIN KEY-----\n{}\n{}\n-----END KEY-----\n", word(64, 62), word(40, 62))
        }
        _ => word(40, 62),
    };

    (0..count)
        .map(value)
        .enumerate()
        .map(|(n, value)| (Tag::parse(&format!("t{n}")).unwrap(), value.into()))
        .collect()
}

fn needles_of(values: &[(Tag, Vec<u8>)]) -> Needles {
    Needles::new(values.iter().map(|(tag, value)| (tag, value.as_slice())))
}

/// Returns a log of 16 MiB with times, levels, addresses, paths and some JSON. Every thousandth
/// line is followed by a value.
fn log_of(values: &[(Tag, Vec<u8>)]) -> Vec<u8> {
    let mut log = Vec::with_capacity((16 << 20) + 4096);
    for n in 0_usize.. {
        let (a, b) = (n.wrapping_mul(2_654_435_761) % 1_000_003, n % 251);
        match n % 4 {
            0 => log.extend(format!("2026-11-21T09:{:02}:{:02}.{a:06}Z INFO request{{id={a:08x}}} GET /api/v1/users/{a}/orders 200 {b}ms\n", n / 60 % 60, n % 60).bytes()),
            1 => log.extend(format!("10.0.{b}.{} - - \"POST /login HTTP/1.1\" 302 {a} \"https://example.com/a?b={a:x}\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n", b / 2).bytes()),
            2 => log.extend(format!("{{\"level\":\"warn\",\"ts\":{n}.{a},\"msg\":\"retrying connection to postgres://db-{b}.internal:5432\",\"attempt\":{}}}\n", b % 7).bytes()),
            _ => log.extend(format!("   Compiling crate-{a} v0.{b}.{}  (/home/user/src/project/crates/crate-{a})\n", b % 10).bytes()),
        }

        if n % 1000 == 0 {
            log.extend(&values[n / 1000 % values.len()].1);
            log.push(b'\n');
        }

        if log.len() >= 16 << 20 {
            return log;
        }
    }

    log
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("masking");
    group.sample_size(10);
    for count in [20, 100, 10_000] {
        let values = values_of(count);
        group.bench_function(BenchmarkId::new("needles", count), |b| {
            b.iter(|| needles_of(&values).is_empty());
        });
    }

    let values = values_of(100);
    let (needles, log) = (needles_of(&values), log_of(&values));
    group.sample_size(20).throughput(Throughput::Bytes(log.len() as u64));
    group.bench_function("log of 16 MiB, 100 secrets", |b| {
        b.iter(|| {
            let (mut masker, mut seen) = (Masker::new(&needles), Seen(0));
            for chunk in log.chunks(64 << 10) {
                let Ok(()) = masker.push(chunk, &mut seen);
            }

            let Ok(()) = masker.finish(&mut seen);
            assert!(seen.0 < log.len() as u64);
        });
    });

    group.finish();
}

criterion_group!(benches, crypto, vault, template, masking);
criterion_main!(benches);
