//! Forms that Python and bash write are masked.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{masked, needles};

/// Returns what `program` writes for the values, each after a NUL.
fn piped(mut command: Command, values: &[String]) -> Vec<Vec<u8>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is needed");

    let mut stdin = child.stdin.take().unwrap();
    let input: Vec<u8> = values.iter().flat_map(|value| value.bytes().chain([0])).collect();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();

    feeder.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Returns text with characters that encoders treat specially.
fn awkward_texts() -> Vec<String> {
    use proptest::strategy::ValueTree;
    let special =
        "\"\\/'`$<>&;|*?![]{}()^#~=:,.+-_@% \t\n\r\u{1}\u{8}\u{c}\u{1b}\u{7f}abcXYZ019é€😀";
    let letter = prop::sample::select(special.chars().collect::<Vec<_>>());
    let text = vec(letter, 8..40).prop_map(String::from_iter);
    let mut runner = proptest::test_runner::TestRunner::default();

    (0..1_000).map(|_| text.new_tree(&mut runner).unwrap().current()).collect()
}

/// Asserts that only the quotes around each of these forms stay visible.
fn all_masked(values: &[String], writings: &[Vec<u8>], quotes: &[&str]) {
    assert!(writings.len() > values.len() && writings.len() % values.len() == 1);
    for (value, writings) in values.iter().zip(writings.chunks(writings.len() / values.len())) {
        let needles = needles(&[value.clone().into_bytes()]);
        for writing in writings {
            let found = masked(&needles, writing);
            let inner = quotes.iter().find_map(|quote| found.strip_prefix(quote)).unwrap_or(&found);
            assert_eq!(
                inner.trim_end_matches(['"', '\'', '=']),
                "<t0>",
                "{value:?} as {}",
                writing.escape_ascii()
            );
        }
    }
}

#[test]
#[ignore = "needs python3"]
fn forms_that_python_writes_are_masked() {
    let program = r#"
import sys, json, shlex, base64, urllib.parse as u
out = sys.stdout.buffer
for raw in sys.stdin.buffer.read().split(b"\0")[:-1]:
    v = raw.decode()
    for text in [json.dumps(v), json.dumps(v, ensure_ascii=False), u.quote(v), u.quote(v, safe=""), u.quote_plus(v),
                 shlex.quote(v), raw.hex(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]:
        out.write(text.encode() + b"\0")
"#;

    let mut python = Command::new("python3");
    python.args(["-c", program]);
    let values = awkward_texts();
    all_masked(&values, &piped(python, &values), &["\"", "'"]);
}

#[test]
#[ignore = "needs bash"]
fn forms_that_bash_writes_are_masked() {
    for locale in ["C", "C.UTF-8"] {
        let mut bash = Command::new("bash");
        bash.args([
            "-c",
            r#"while IFS= read -r -d '' v; do printf '%q\0' "$v"; printf '%s\0' "${v@Q}"; done"#,
        ]);

        bash.env("LC_ALL", locale);
        let values = awkward_texts();

        // The quote before an escaped quote may be masked with it, because together they are a
        // doubled quote.
        all_masked(&values, &piped(bash, &values), &["$'", "'", "$"]);
    }
}
