//! Filters against the parsers that they escape for: `serde_json`, the shell, and decoders written
//! here from RFCs.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use terminal_secrets::dotenv::readers::{Reader, Readers};
use terminal_secrets::template::filter::{Filter, FilterError};

const VALUES: usize = 10_000;

fn apply(filter: Filter, value: &[u8]) -> Vec<u8> {
    filter.apply(value, Readers::default()).unwrap().expose().to_vec()
}

fn generated<T>(strategy: &impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::default();
    (0..VALUES).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Returns random bytes, and random sequences of bytes that parsers treat specially.
fn any_bytes() -> Vec<Vec<u8>> {
    let special = prop::sample::select(
        b"\"'\\`$\n\r\t\0 %+/=-!*?#~&;|<>(){}[]\x1b\x7f\x80\x81\x88\xffn0u".to_vec(),
    );
    generated(&prop_oneof![vec(any::<u8>(), 0..60), vec(special, 0..30)])
}

/// Returns text from every part of Unicode, and characters that JSON and YAML escape.
fn any_text() -> Vec<String> {
    let special = "\"\\/\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}\u{85}\u{9f}\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}\u{10ffff}'{}";
    let special = prop::sample::select(special.chars().collect::<Vec<_>>());
    let text = prop_oneof![vec(any::<char>(), 0..40), vec(special, 0..20)];
    generated(&text).into_iter().map(|chars| chars.into_iter().collect()).collect()
}

/// Compares the results and names the first value that differs.
fn all_equal(found: &[Vec<u8>], values: &[Vec<u8>]) {
    assert_eq!(found.len(), values.len());
    for (found, value) in found.iter().zip(values) {
        assert_eq!(found, value, "{}", value.escape_ascii());
    }
}

#[test]
fn json_strings_round_trip_through_a_json_parser() {
    for text in any_text() {
        let document =
            format!("\"{}\"", String::from_utf8(apply(Filter::Json, text.as_bytes())).unwrap());
        assert_eq!(serde_json::from_str::<String>(&document).unwrap(), text, "{document}");
    }
}

#[test]
fn json_takes_only_utf_8() {
    for bytes in any_bytes() {
        let refused =
            matches!(Filter::Json.apply(&bytes, Readers::default()), Err(FilterError::NotUtf8));
        assert_eq!(refused, std::str::from_utf8(&bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

/// One script tests all values. Each line passes some words to `printf`, which is built in and has
/// no limit on the length of its command line.
#[test]
fn shell_words_round_trip_through_a_shell() {
    let values: Vec<Vec<u8>> =
        any_bytes().into_iter().filter(|value| !value.contains(&0)).collect();
    let mut script = Vec::new();
    for values in values.chunks(200) {
        script.extend_from_slice(b"printf '%s\\0'");
        for value in values {
            script.push(b' ');
            script.extend(apply(Filter::Shell, value));
        }

        script.push(b'\n');
    }

    for shell in ["/bin/sh", "/bin/bash", "/bin/dash", "/bin/busybox"]
        .into_iter()
        .filter(|path| exists(path))
    {
        let mut command = Command::new(shell);
        let command = if shell.ends_with("busybox") { command.arg("sh") } else { &mut command };
        let mut child = command
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();

        let mut stdin = child.stdin.take().unwrap();
        let script = script.clone();
        let feeder = std::thread::spawn(move || stdin.write_all(&script).unwrap());
        let output = child.wait_with_output().unwrap();

        feeder.join().unwrap();
        let words: Vec<Vec<u8>> = output.stdout.split(|b| *b == 0).map(<[u8]>::to_vec).collect();
        all_equal(&words[..words.len() - 1], &values);
    }
}

fn exists(path: &str) -> bool {
    std::path::Path::new(path).exists()
}

#[test]
fn shell_refuses_only_nul() {
    for bytes in any_bytes() {
        let refused =
            matches!(Filter::Shell.apply(&bytes, Readers::default()), Err(FilterError::Nul));
        assert_eq!(refused, bytes.contains(&0), "{}", bytes.escape_ascii());
    }
}

#[test]
fn urls_decode_to_the_value() {
    for value in any_bytes() {
        let encoded = apply(Filter::Url, &value);
        assert_eq!(percent_decoded(&encoded), value, "{}", value.escape_ascii());
    }
}

/// Decodes RFC 3986, section 2: unreserved characters stand for themselves, all else is `%` and two
/// upper-case digits.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let digits: HashSet<u8> = b"0123456789ABCDEF".iter().copied().collect();
                assert!(digits.contains(&tail[0]) && digits.contains(&tail[1]));
                out.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                assert!(
                    !(out[out.len() - 1].is_ascii_alphanumeric()),
                    "an unreserved character was encoded"
                );

                rest = &tail[2..];
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*first),
            other => panic!("{other} is not unreserved"),
        }
    }

    out
}

#[test]
fn base64_decodes_to_the_value() {
    for value in any_bytes() {
        assert_eq!(base64_decoded(&apply(Filter::Base64, &value)), value);
    }
}

/// Decodes RFC 4648, section 4: bits are gathered six by six, and padding fills the last four
/// characters.
fn base64_decoded(text: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(text.len() % 4, 0);
    let digits = text.iter().take_while(|b| **b != b'=').count();
    assert!(text.len() - digits <= 2 && text[digits..].iter().all(|b| *b == b'='));

    let mut bits = Vec::new();
    for digit in &text[..digits] {
        let number = ALPHABET.iter().position(|b| b == digit).unwrap();
        bits.extend((0..6).rev().map(|bit| number >> bit & 1));
    }

    let whole = bits.len() / 8 * 8;
    assert!(bits[whole..].iter().all(|bit| *bit == 0), "the unused bits must be zero");
    bits[..whole]
        .chunks(8)
        .map(|byte| byte.iter().fold(0, |sum, bit| sum * 2 + *bit as u8))
        .collect()
}

#[test]
fn trim_drops_ascii_white_space_at_both_ends() {
    // White space as C and POSIX define it, including the vertical tab.
    let white = |b: u8| [9, 10, 11, 12, 13, 32].contains(&b);
    let blanks = prop::sample::select(b"\t\n\x0b\x0c\r \0\xa0\x85x".to_vec());
    let values = generated(&(vec(blanks.clone(), 0..6), vec(any::<u8>(), 0..6), vec(blanks, 0..6)));

    for value in values.into_iter().map(|(a, b, c)| [a, b, c].concat()) {
        let mut expected = value.clone();
        while expected.first().is_some_and(|b| white(*b)) {
            expected.remove(0);
        }

        while expected.last().is_some_and(|b| white(*b)) {
            expected.pop();
        }

        assert_eq!(apply(Filter::Trim, &value), expected, "{}", value.escape_ascii());
    }
}

/// Sends length-prefixed documents to Python and returns what its parser read from each,
/// length-prefixed too.
fn through_python(decode: &str, documents: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let program = format!(
        "import sys, struct, urllib.parse\ni, o = sys.stdin.buffer, sys.stdout.buffer\n\
         while (head := i.read(4)):\n  data = i.read(struct.unpack('<I', head)[0])\n  data = {decode}\n  \
         o.write(struct.pack('<I', len(data)) + data)\n"
    );

    let mut python = Command::new("python3");
    let mut child = python
        .arg("-c")
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed");

    let mut stdin = child.stdin.take().unwrap();
    let framed: Vec<u8> =
        documents.iter().flat_map(|d| [&(d.len() as u32).to_le_bytes()[..], d].concat()).collect();
    let feeder = std::thread::spawn(move || stdin.write_all(&framed));
    let output = child.wait_with_output().unwrap();

    feeder.join().unwrap().expect("python3 read everything");
    let (mut out, mut rest) = (Vec::new(), &output.stdout[..]);
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let (data, tail) = tail.split_at(u32::from_le_bytes(*head) as usize);
        out.push(data.to_vec());
        rest = tail;
    }

    out
}

#[test]
#[ignore = "needs python3"]
fn urls_decode_with_python() {
    let values = any_bytes();
    let encoded: Vec<Vec<u8>> = values.iter().map(|value| apply(Filter::Url, value)).collect();
    all_equal(&through_python("urllib.parse.unquote_to_bytes(data)", &encoded), &values);
    all_equal(&through_python("urllib.parse.quote(data, safe='').encode()", &values), &encoded);
}

#[test]
#[ignore = "needs python3 with PyYAML"]
fn json_is_valid_in_double_quoted_yaml() {
    let values: Vec<Vec<u8>> = any_text().into_iter().map(String::into_bytes).collect();
    let quoted: Vec<Vec<u8>> = values
        .iter()
        .map(|value| [b"\"", &apply(Filter::Json, value)[..], b"\""].concat())
        .collect();

    all_equal(
        &through_python("__import__('yaml').safe_load(data.decode()).encode()", &quoted),
        &values,
    );
}

/// Every reader gets the value back from a line of a dotenv file, or the error names the reader
/// that cannot.
#[test]
fn dotenv_lines_round_trip_through_every_reader() {
    let readers: Readers = [Reader::Bash, Reader::Compose].into_iter().collect();
    let mut read = 0;
    for value in any_bytes() {
        match Filter::Dotenv.apply(&value, readers) {
            Ok(line) => {
                assert!(
                    readers.iter().all(|reader| reader.reads_as(line.expose(), &value)),
                    "{}",
                    value.escape_ascii()
                );

                read += 1;
            }
            Err(error) => assert!(matches!(error, FilterError::Unreadable(_)), "{error}"),
        }
    }

    assert!(read > VALUES / 10, "only {read} values were written");
}
