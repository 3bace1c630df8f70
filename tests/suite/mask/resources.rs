//! Time is linear, and memory is flat.

use std::convert::Infallible;
use std::process::Command;
use std::time::{Duration, Instant};

use terminal_secrets::mask::{MaskedSpan, Masker, Needles, Sink};

use super::needles;

/// Counts the output without keeping it.
#[derive(Default)]
struct Count {
    shown: u64,
    regions: u64,
}

impl Sink for Count {
    type Error = Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.shown += bytes.len() as u64;
        Ok(())
    }

    fn masked(&mut self, _: &MaskedSpan<'_>) -> Result<(), Infallible> {
        self.regions += 1;
        Ok(())
    }
}

fn counted(needles: &Needles, stream: impl Iterator<Item = impl AsRef<[u8]>>) -> Count {
    let (mut masker, mut count) = (Masker::new(needles), Count::default());
    for piece in stream {
        let Ok(()) = masker.push(piece.as_ref(), &mut count);
    }

    let Ok(()) = masker.finish(&mut count);
    count
}

/// If one of these were quadratic, it would take hours.
fn periodic(length: usize, stream: usize) {
    let begin = Instant::now();
    let value = b"a".repeat(length);
    let blocks = || std::iter::repeat_n([b'a'; 10_000], stream / 10_000);
    let single = || std::iter::repeat_n(b"a", 100_000.min(stream));
    let of_a = needles(std::slice::from_ref(&value));
    let count = counted(&of_a, blocks());

    assert_eq!((count.shown, count.regions), (0, 1));
    counted(&of_a, single());
    drop(of_a);

    // The automaton stays deep and never finds the longest needle. A short one ends at each byte of
    // it.
    let with_end = [&value[..], b"b"].concat();
    let both = needles(&[with_end, b"aaaaaaaaa".to_vec()]);
    assert_eq!(counted(&both, blocks()).shown, 0);
    assert_eq!(counted(&both, single()).regions, 1);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn time_is_linear_for_repetitive_needles_and_streams() {
    periodic(64 << 10, 1_000_000);
}

#[test]
fn held_bytes_slide_through_a_long_needle() {
    // Each byte releases one that was held 50,000 bytes ago.
    let value = [b"a".repeat(50_000), b"b".to_vec()].concat();
    let count = counted(&needles(&[value]), std::iter::repeat_n(b"a", 200_000));

    // The end of the stream may be the start of the value.
    assert_eq!((count.shown, count.regions), (150_000, 1));
}

#[test]
#[ignore = "long"]
fn a_value_of_a_mebibyte_is_masked_in_ten_megabytes() {
    periodic(1 << 20, 10_000_000);
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "long"]
fn memory_is_flat_over_ten_gigabytes() {
    // The test runs in a separate process, because other tests' memory would count as well.
    #[allow(clippy::disallowed_methods)]
    if std::env::var_os("SECRETS_TEST_ALONE").is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        alone
            .args(["--ignored", "--exact", "mask::resources::memory_is_flat_over_ten_gigabytes"])
            .env("SECRETS_TEST_ALONE", "1");

        let output = alone.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }

    let mut values: Vec<Vec<u8>> =
        (0..100).map(|n| format!("secret-value-number-{n}-of-many\n").into()).collect();
    values.push(b"aaaaaaaaaa".to_vec());
    let needles = needles(&values);
    let mut log = Vec::new();

    for n in 0.. {
        log.extend(
            format!("2026-11-21 INFO request {n} secret-value-number-{} took {n} ms\n", n % 200)
                .bytes(),
        );

        if log.len() >= 64 << 10 {
            break;
        }
    }

    for block in [log, b"secret-value-number-7-of-many".repeat(2260), b"aaaaaaaa".repeat(8 << 10)] {
        counted(&needles, std::iter::repeat_n(&block, 100));
        let before = resident();
        counted(&needles, std::iter::repeat_n(&block, 10_000_000_000 / 3 / block.len()));
        let after = resident();

        assert!(after < before + 4096, "{before} kB, then {after} kB");
    }
}
