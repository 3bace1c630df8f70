//! The readers of dotenv files: the value that each gets from one assignment, and values that are
//! written for them. `tests/readers.sh` compares the table and random texts with the real programs.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use terminal_secrets::dotenv::readers::{Reader, Readers};

use crate::support::files::root;
use crate::support::random::cases;

const COLUMNS: [Reader; 8] = [
    Reader::Bash,
    Reader::Compose,
    Reader::Docker,
    Reader::Node,
    Reader::NpmDotenv,
    Reader::Nextjs,
    Reader::PythonDotenv,
    Reader::Systemd,
];

/// The reader gives nothing reliable: it expands a variable, runs a command or refuses the file.
const NOTHING: &str = "<nothing>";

/// The text after `A=`, and the value that each column's reader gets.
const ROWS: &[(&str, [&str; 8])] = &[
    ("abc", ["abc", "abc", "abc", "abc", "abc", "abc", "abc", "abc"]),
    ("abc#def", ["abc#def", "abc#def", "abc#def", "abc", "abc", "abc", "abc#def", "abc#def"]),
    ("#x", ["#x", "#x", "#x", "", "", "", "#x", "#x"]),
    ("a #b", ["a", "a", "a #b", "a", "a", "a", "a", "a #b"]),
    ("a b", [NOTHING, "a b", "a b", "a b", "a b", "a b", "a b", "a b"]),
    ("pa$word", [NOTHING, NOTHING, "pa$word", "pa$word", "pa$word", NOTHING, "pa$word", "pa$word"]),
    (
        "pa$$word",
        [NOTHING, "pa$word", "pa$$word", "pa$$word", "pa$$word", NOTHING, "pa$$word", "pa$$word"],
    ),
    (
        "'pa$word'",
        ["pa$word", "pa$word", "'pa$word'", "pa$word", "pa$word", NOTHING, "pa$word", "pa$word"],
    ),
    (
        "\"pa$word\"",
        [NOTHING, NOTHING, "\"pa$word\"", "pa$word", "pa$word", NOTHING, "pa$word", "pa$word"],
    ),
    (
        "'pa\\$word'",
        [
            "pa\\$word",
            "pa\\$word",
            "'pa\\$word'",
            "pa\\$word",
            "pa\\$word",
            "pa$word",
            "pa\\$word",
            "pa\\$word",
        ],
    ),
    (
        "\"pa\\$word\"",
        [
            "pa$word",
            "pa$word",
            "\"pa\\$word\"",
            "pa\\$word",
            "pa\\$word",
            "pa$word",
            "pa\\$word",
            "pa$word",
        ],
    ),
    ("5$", ["5$", "5$", "5$", "5$", "5$", "5$", "5$", "5$"]),
    ("a;b", [NOTHING, "a;b", "a;b", "a;b", "a;b", "a;b", "a;b", "a;b"]),
    ("'a;b'", ["a;b", "a;b", "'a;b'", "a;b", "a;b", "a;b", "a;b", "a;b"]),
    (
        "'abc#def' # c",
        [
            "abc#def",
            "abc#def",
            "'abc#def' # c",
            "abc#def",
            "abc#def",
            "abc#def",
            "abc#def",
            "abc#def# c",
        ],
    ),
    ("it's", [NOTHING, "it's", "it's", "it's", "it's", "it's", "it's", "it's"]),
    ("\"it's\"", ["it's", "it's", "\"it's\"", "it's", "it's", "it's", "it's", "it's"]),
    ("'it\\'s'", [NOTHING, "it's", "'it\\'s'", NOTHING, "it\\'s", "it\\'s", "it's", "it\\s'"]),
    ("'it'\\''s'", ["it's", NOTHING, "'it'\\''s'", NOTHING, NOTHING, NOTHING, NOTHING, "it''s'"]),
    ("\"a\\\"b\"", ["a\"b", "a\"b", "\"a\\\"b\"", NOTHING, "a\\\"b", "a\\\"b", "a\"b", "a\"b"]),
    ("`a\"b`", [NOTHING, "`a\"b`", "`a\"b`", "a\"b", "a\"b", "a\"b", "`a\"b`", "`a\"b`"]),
    ("a\\nb", ["anb", "a\\nb", "a\\nb", "a\\nb", "a\\nb", "a\\nb", "a\\nb", "anb"]),
    ("\"a\\nb\"", ["a\\nb", "a\nb", "\"a\\nb\"", "a\nb", "a\nb", "a\nb", "a\nb", "a\\nb"]),
    ("'a\\nb'", ["a\\nb", "a\\nb", "'a\\nb'", "a\\nb", "a\\nb", "a\\nb", "a\\nb", "a\\nb"]),
    ("\"a\\tb\"", ["a\\tb", "a\tb", "\"a\\tb\"", "a\\tb", "a\\tb", "a\\tb", "a\tb", "a\\tb"]),
    ("'a\\\\b'", ["a\\\\b", "a\\\\b", "'a\\\\b'", "a\\\\b", "a\\\\b", "a\\\\b", "a\\b", "a\\\\b"]),
    ("\"a\\\\b\"", ["a\\b", "a\\b", "\"a\\\\b\"", "a\\\\b", "a\\\\b", "a\\\\b", "a\\b", "a\\b"]),
    ("\"a\\`b\"", ["a`b", "a\\`b", "\"a\\`b\"", "a\\`b", "a\\`b", "a\\`b", "a\\`b", "a`b"]),
    (
        "C:\\new",
        ["C:new", "C:\\new", "C:\\new", "C:\\new", "C:\\new", "C:\\new", "C:\\new", "C:new"],
    ),
    ("a:~b", [NOTHING, "a:~b", "a:~b", "a:~b", "a:~b", "a:~b", "a:~b", "a:~b"]),
    ("~b", [NOTHING, "~b", "~b", "~b", "~b", "~b", "~b", "~b"]),
    ("${X}", [NOTHING, NOTHING, "${X}", "${X}", "${X}", NOTHING, NOTHING, "${X}"]),
    ("'${X}'", ["${X}", "${X}", "'${X}'", "${X}", "${X}", NOTHING, NOTHING, "${X}"]),
    ("$(id)", [NOTHING, "$(id)", "$(id)", "$(id)", "$(id)", NOTHING, "$(id)", "$(id)"]),
    ("'a\nb'", ["a\nb", "a\nb", NOTHING, "a\nb", "a\nb", "a\nb", "a\nb", "a\nb"]),
    ("\"a\nb\"", ["a\nb", "a\nb", NOTHING, "a\nb", "a\nb", "a\nb", "a\nb", "a\nb"]),
    ("", ["", "", "", "", "", "", "", ""]),
    ("'x'y", ["xy", NOTHING, "'x'y", NOTHING, "'x'y", "'x'y", NOTHING, "xy"]),
    ("  x  ", [NOTHING, "x", "  x  ", "x", "x", "x", "x", "x"]),
];

fn reading(reader: Reader, text: &[u8]) -> Option<Vec<u8>> {
    reader.read(text).map(|value| value.expose().to_vec())
}

#[test]
fn every_reader_matches_the_table() {
    for (text, readings) in ROWS {
        for (reader, expected) in COLUMNS.into_iter().zip(readings) {
            let expected = (*expected != NOTHING).then(|| expected.as_bytes().to_vec());
            assert_eq!(
                reading(reader, format!("{text}\n").as_bytes()),
                expected,
                "{reader} A={text:?}"
            );
        }

        assert_eq!(
            reading(Reader::Vite, text.as_bytes()),
            reading(Reader::Nextjs, text.as_bytes()),
            "{text:?}"
        );
    }
}

#[test]
fn text_after_an_assignment_is_unknown_unless_it_is_a_comment() {
    for reader in Reader::ALL {
        let name = reader.name();
        assert_eq!(reading(reader, b"x").unwrap(), b"x", "{name}: the file ends");
        assert_eq!(reading(reader, b"x\n\n # c\n#d").unwrap(), b"x", "{name}");
        assert_eq!(reading(reader, b"x\nmore of it\n"), None, "{name}");
        assert_eq!(reading(reader, b"'x'\nmore of it\n"), None, "{name}");
        assert_eq!(reading(reader, b"a\0b\n"), None, "{name}");

        // Only a shell allows arbitrary bytes in values.
        assert_eq!(reading(reader, b"'a\xff'\n").is_some(), reader == Reader::Bash, "{name}");
    }

    // Windows line endings are ordinary ones except for a shell, which keeps the carriage return in
    // the value.
    for reader in
        [Reader::Compose, Reader::Docker, Reader::Node, Reader::NpmDotenv, Reader::PythonDotenv]
    {
        assert_eq!(reading(reader, b"x\r\n").unwrap(), b"x", "{reader}");
    }

    assert_eq!(reading(Reader::Bash, b"x\r\n").unwrap(), b"x\r");
}

fn readers(names: &str) -> Readers {
    names.split(' ').map(|name| name.parse::<Reader>().unwrap()).collect()
}

#[test]
fn a_value_is_spelled_for_every_reader() {
    let usual = "bash compose node npm-dotenv python-dotenv";
    assert_eq!(Readers::default(), readers(usual));
    for (names, value, written) in [
        (usual, "abc123", "abc123"),
        (usual, "postgres://u:p@h/db?x=1", "'postgres://u:p@h/db?x=1'"),
        (usual, "pa$word", "'pa$word'"),
        (usual, "abc#def", "'abc#def'"),
        (usual, "#x", "'#x'"),
        (usual, "a;b & c", "'a;b & c'"),
        (usual, "a\nb", "'a\nb'"),
        (usual, "", "''"),
        (usual, "it's", "\"it's\""),
        (usual, "~root", "'~root'"),
        (usual, r"C:\new", r"'C:\new'"),
        ("nextjs", "pa$word", r#""pa\$word""#),
        ("bash compose nextjs", "pa$word", r#""pa\$word""#),
        ("nextjs", r"C:\a$b", r"'C:\a\$b'"),
        ("nextjs vite", "it's $5", r#""it's \$5""#),
        ("compose nextjs", "abc", "abc"),
        ("bash", "it's $5", r#""it's \$5""#),
        ("compose", "it's \"$5\"", r#""it's \"\$5\"""#),
        ("python-dotenv", "it's \"a\"", r#""it's \"a\"""#),
        ("node npm-dotenv", "it's \"a\"", "`it's \"a\"`"),
        ("docker", "it's \"$5\" #x", "it's \"$5\" #x"),
        ("docker compose", "a b", "a b"),
        ("systemd bash", "it's $5", r#""it's \$5""#),
        ("npm-dotenv", "a\r\nb", r#""a\r\nb""#),
    ] {
        let found = readers(names).spell(value.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(found.expose()), written, "{names}: {value:?}");
    }

    for (names, value, message) in [
        (usual, "it's $HOME", "`bash` and `node` need different spellings of this value"),
        (usual, "a\rb", "`node` cannot read this value from a dotenv file in any spelling"),
        (
            usual,
            "${X}",
            "`python-dotenv` cannot read this value from a dotenv file in any spelling",
        ),
        ("docker", "a\nb", "`docker` cannot read this value from a dotenv file in any spelling"),
        ("nextjs node", "pa$word", "`nextjs` and `node` need different spellings of this value"),
        ("nextjs", "$(id)", "`nextjs` cannot read this value from a dotenv file in any spelling"),
        ("docker node", "a#b", "`docker` and `node` need different spellings of this value"),
    ] {
        let error = readers(names).spell(value.as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), message, "{names}: {value:?}");
    }

    assert_eq!(readers("vite bash").iter().map(Reader::name).collect::<Vec<_>>(), ["bash", "vite"]);
    assert!(
        "nodejs"
            .parse::<Reader>()
            .unwrap_err()
            .0
            .contains("the readers are bash, compose, docker, ")
    );
}

#[test]
fn the_time_to_read_and_to_write_is_linear() {
    for piece in ["\\", "\"", "'", "${", "${:-", "#", " #", "\n", "\\\"", "$", "\u{a0}#"] {
        let text = piece.repeat((1 << 14) / piece.len());
        let start = std::time::Instant::now();
        for reader in Reader::ALL {
            drop(reader.read(text.as_bytes()));
            drop(reader.read(format!("\"{text}").as_bytes()));
            drop([reader].into_iter().collect::<Readers>().spell(text.as_bytes()));
        }

        assert!(start.elapsed().as_secs() < 10, "{piece:?}: {:?}", start.elapsed());
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    /// Every set of readers gets the value back, or an error says that it cannot.
    #[test]
    fn written_values_are_read_back(value in text(), chosen in vec(prop::sample::select(Reader::ALL.to_vec()), 1..5)) {
        let readers: Readers = chosen.iter().copied().collect();
        if let Ok(written) = readers.spell(&value) {
            for reader in chosen {
                let line = [written.expose(), b"\n"].concat();
                prop_assert_eq!(reading(reader, &line), Some(value.clone()), "{} {}", reader, line.escape_ascii());
            }
        }
    }
}

/// Generates bytes and words that some reader treats specially.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(
        b"\"'\"'`\\\\##= \t\r\n$$${}()-:~;&|<>!*?nrtvabf0aAx1_.\x0b\x1c".to_vec(),
    );
    let words = prop::sample::select(vec![
        "'", "\"", "`", "\\", "\\n", "\\'", "\\\"", "\\$", "\\\\", "$", "${", "}", "$x", "$$", "#",
        " #", " ", "\n", "a", "b", "\u{a0}", "\u{2028}", "é", "\u{feff}", "\t", "\r\n", ":-", "~",
        "😀",
    ]);

    prop_oneof![vec(special, 0..14), vec(words, 0..9).prop_map(|words| words.concat().into_bytes())]
}

/// Returns the texts of the table and random ones, the same in every run.
fn texts() -> Vec<Vec<u8>> {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, b"dotenv files of this suite, seed"),
    );

    let strategy = text();
    let mut texts: Vec<Vec<u8>> = ROWS.iter().map(|(text, _)| text.as_bytes().to_vec()).collect();
    texts.extend((0..4000).map(|_| strategy.new_tree(&mut runner).unwrap().current()));
    texts
}

/// Returns the program that reads files for one reader, if it is installed. The files in
/// `tests/readers/` describe its input and output.
fn installed(reader: Reader) -> Option<Command> {
    let directory = root().join("target/readers");
    let script = |name: &str| root().join("tests/readers").join(name);
    let (program, script, needed): (PathBuf, _, _) = match reader {
        Reader::Node => ("node".into(), script("readers.cjs"), "."),
        Reader::NpmDotenv => ("node".into(), script("readers.cjs"), "node_modules/dotenv"),
        Reader::Nextjs => ("node".into(), script("readers.cjs"), "node_modules/@next/env"),
        Reader::Vite => ("node".into(), script("readers.cjs"), "node_modules/dotenv-expand"),
        Reader::PythonDotenv => {
            (directory.join("venv/bin/python3"), script("readers.py"), "venv/bin/python3")
        }
        Reader::Bash => ("bash".into(), script("readers.bash"), "."),
        // None of these is installed from a registry. The design page describes how they were
        // compared.
        Reader::Compose | Reader::Docker | Reader::Systemd => return None,
    };

    if !directory.join(needed).exists() {
        return None;
    }

    let mut command = Command::new(program);
    command.arg(script).arg(reader.name()).env("NODE_PATH", directory.join("node_modules"));
    Some(command)
}

/// Returns the value that a program reads from each file.
fn through(command: &mut Command, files: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let frame =
        |file: &Vec<u8>| [&u32::try_from(file.len()).unwrap().to_le_bytes()[..], file].concat();
    let input: Vec<u8> = files.iter().flat_map(frame).collect();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();

    feeder.join().unwrap().unwrap();

    let (mut values, mut rest) = (Vec::new(), &output.stdout[..]);
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        values.push((head[0] == 1).then(|| tail[..length].to_vec()));
        rest = &tail[length..];
    }

    values
}

/// Does the same for bash, which has a different output format.
fn through_bash(files: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let directory = tempfile::tempdir().unwrap();
    for (number, file) in files.iter().enumerate() {
        std::fs::write(directory.path().join(number.to_string()), file).unwrap();
    }

    let mut bash = Command::new("bash");
    bash.arg(root().join("tests/readers/readers.bash"))
        .arg(directory.path())
        .arg(files.len().to_string());

    let output = bash.env("LC_ALL", "C").output().unwrap();
    let answers = output.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0);
    answers.map(|answer| answer.strip_prefix(b"1").map(<[u8]>::to_vec)).collect()
}

/// `tests/readers.sh` installs the programs and runs this test.
#[test]
#[ignore = "needs node, npm's and Python's packages"]
fn the_real_readers_agree() {
    let texts = texts();
    #[allow(clippy::disallowed_methods)]
    let is_strict = std::env::var_os("SECRETS_READERS_STRICT").is_some();
    for reader in Reader::ALL {
        let Some(mut command) = installed(reader) else {
            let is_possible = !matches!(reader, Reader::Compose | Reader::Docker | Reader::Systemd);
            assert!(
                !(is_strict && is_possible),
                "`{reader}` is not installed: run tests/readers.sh"
            );

            continue;
        };

        // dotenv-expand and shells run commands, so random texts that could start one are skipped.
        let is_harmless = |text: &&Vec<u8>| match reader {
            Reader::Nextjs | Reader::Vite => !text.windows(2).any(|pair| pair == b"$("),
            Reader::Bash => reader.read(&[&text[..], b"\n"].concat()).is_some(),
            _ => true,
        };

        let tried: Vec<&Vec<u8>> = texts.iter().filter(is_harmless).collect();
        let files: Vec<_> =
            tried.iter().map(|text| [b"A=", &text[..], b"\nB=1\n"].concat()).collect();
        let found = if reader == Reader::Bash {
            through_bash(&files)
        } else {
            through(&mut command, &files)
        };

        assert_eq!(found.len(), files.len(), "`{reader}` did not read all files");

        let mut compared = 0;
        for (text, real) in tried.iter().zip(&found) {
            if let Some(value) = reading(reader, &[&text[..], b"\n"].concat()) {
                let is_same = real.as_ref() == Some(&value);
                assert!(
                    is_same,
                    "{reader} A={}: {:?} instead of {}",
                    text.escape_ascii(),
                    real,
                    value.escape_ascii()
                );

                compared += 1;
            }
        }

        assert!(compared > 500, "only {compared} texts of `{reader}` were compared");
    }
}
