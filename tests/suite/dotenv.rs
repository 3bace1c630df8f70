//! The table of dialects, what is refused and where, and that any value round-trips byte for byte.
//!
//! Comments name the tools that read a row differently. All tools agree on a row without a comment.
//! Run side by side: `npm` = dotenv 18.0.10 and 16, `node` = `--env-file` of node 20.20, `python` =
//! python-dotenv 1.2.4 without interpolation, `ruby2` = dotenv 2.4. Followed from their source:
//! `ruby3` = dotenv 3, `ruby` = both, `compose` = compose-go 2. Variables that a row names count as
//! unset.

use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use terminal_secrets::dotenv::{DotenvError, parse};

use crate::support::random::cases;

type Pairs = Vec<(String, Vec<u8>)>;

fn pairs(text: &[u8]) -> Result<Pairs, DotenvError> {
    Ok(parse(text)?.into_iter().map(|entry| (entry.name, entry.value.expose().to_vec())).collect())
}

/// Returns the value of a file's only assignment.
fn only(text: &[u8]) -> Result<Vec<u8>, DotenvError> {
    let mut entries = pairs(text)?;
    assert_eq!(entries.len(), 1);
    Ok(entries.remove(0).1)
}

/// Reads `A=…` for each row.
fn values(rows: &[(&str, &str)]) {
    for (written, value) in rows {
        for ending in ["", "\n", "\r\n", "\r", "\nB=2", "\r\n\r\n # c"] {
            let found = pairs(format!("A={written}{ending}").as_bytes());
            let mut expected = vec![("A".to_owned(), value.as_bytes().to_vec())];
            if ending == "\nB=2" {
                expected.push(("B".into(), b"2".to_vec()));
            }

            assert_eq!(found, Ok(expected), "A={written:?}{ending:?}");
        }
    }
}

#[test]
fn lines_and_names_are_read() {
    let rows: &[(&str, &[(&str, &str)])] = &[
        ("", &[]),
        ("\n\r\n \t\n", &[]),
        ("A=1", &[("A", "1")]),
        ("A=1\nB=2\n", &[("A", "1"), ("B", "2")]),
        ("A=1\r\n\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
        ("A = 1", &[("A", "1")]),
        ("  A=1", &[("A", "1")]),
        // node makes the tab part of the name
        ("\tA\t=\t1", &[("A", "1")]),
        ("#A=1\nB=2", &[("B", "2")]),
        // node makes `# A` a name
        ("  # A=1\nB=2", &[("B", "2")]),
        ("_=1\na1_B=2\n1A=3", &[("_", "1"), ("a1_B", "2"), ("1A", "3")]),
        ("A.B=1", &[("A.B", "1")]),
        // compose refuses, ruby drops the line in silence
        ("A-B=1", &[("A-B", "1")]),
        ("export A=1", &[("A", "1")]),
        // node makes `export\t A` the name
        ("export\t A=1", &[("A", "1")]),
        ("export=1", &[("export", "1")]),
        // python drops it, compose makes the name empty
        ("export = 1", &[("export", "1")]),
        ("export export=1", &[("export", "1")]),
        ("exported=1", &[("exported", "1")]),
        // node makes the mark part of the name, ruby drops the line
        ("\u{feff}A=1", &[("A", "1")]),
        // all keep the last one; here the caller decides
        ("A=1\nA=2", &[("A", "1"), ("A", "2")]),
        // npm, python and ruby start a line at a lone `\r`, node drops it, compose keeps it, and so
        // do we to lose no byte
        ("A=1\rB=2", &[("A", "1\rB=2")]),
    ];

    for (text, expected) in rows {
        let expected: Pairs =
            expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(pairs(text.as_bytes()), Ok(expected), "{text:?}");
    }
}

#[test]
fn unquoted_values_are_read() {
    values(&[
        ("", ""),
        ("   ", ""),
        ("a b  ", "a b"),
        // node keeps the tabs
        ("\tx\t", "x"),
        ("a=b==", "a=b=="),
        ("it's", "it's"),
        ("say \"hi\"", "say \"hi\""),
        ("a`b`", "a`b`"),
        ("ä€", "ä€"),
        // npm, python and compose trim more than blanks, ruby trims the second; we never drop a
        // value's bytes
        ("x\u{a0}", "x\u{a0}"),
        ("x\u{b}", "x\u{b}"),
        // npm and ruby end the value at the `\r`, python a line, node drops it
        ("x\ry", "x\ry"),
        // compose and ruby expand: `pa$word` and `pa$`, `pa`, `x`; ruby runs the last one
        ("pa$$word", "pa$$word"),
        ("pa$HOME", "pa$HOME"),
        ("${HOME}x", "${HOME}x"),
        ("$(date)", "$(date)"),
        // ruby3 drops backslashes
        (r"a\nb", r"a\nb"),
        (r"a\\b", r"a\\b"),
        (r"C:\new", r"C:\new"),
    ]);
}

#[test]
fn comments_after_unquoted_values_are_dropped() {
    values(&[
        ("x # c", "x"),
        ("x #c", "x"),
        ("x ## c # d", "x"),
        ("x'y # z'", "x'y"),
        // node keeps the tab, compose keeps all of it: both know only one kind of blank
        ("x\t# c", "x"),
        // npm, node and ruby cut here, in the middle of passwords and addresses; compose, python
        // and shells do not
        ("x#c", "x#c"),
        ("x# c", "x# c"),
        ("http://h/#f", "http://h/#f"),
        ("#x", "#x"),
        ("# x", "# x"),
        // only compose takes it as the value
        (" #x", ""),
        (" # c", ""),
    ]);
}

#[test]
fn single_quotes_and_backticks_are_read() {
    values(&[
        ("'x'", "x"),
        ("''", ""),
        ("  ' x '  ", " x "),
        ("'a # b'", "a # b"),
        ("'x' # it's", "x"),
        ("'x'#c", "x"),
        (r"'$x \n'", r"$x \n"),
        ("'a\"b`c'", "a\"b`c"),
        // ruby2 ends at the line
        ("'a\n\nb\n'", "a\n\nb\n"),
        // python drops the line and compose refuses, because a backslash escapes the quote there;
        // shells, node and we read it literally
        (r"'a\'", r"a\"),
        // Only npm and node know backticks. The others keep them and read only the first line. A
        // value that contains backticks can use other quotes. A value in backticks, written for
        // node, has no other spelling.
        ("`x`", "x"),
        ("`a\"b'c`", "a\"b'c"),
        (r"`a\nb`", r"a\nb"),
        ("`a\nb` # c", "a\nb"),
    ]);
}

#[test]
fn double_quotes_are_read() {
    values(&[
        ("\"x\"", "x"),
        ("\"\"", ""),
        ("\" x \"", " x "),
        ("\"a # b\"", "a # b"),
        ("\"it's\" # \"c\"", "it's"),
        ("\"x\"#c", "x"),
        // ruby2 ends at the line
        ("\"a\nb\"", "a\nb"),
        // npm, node and ruby3 turn it into `\n`; we never change a certificate's bytes
        ("\"a\r\nb\"", "a\r\nb"),
        // compose and ruby: `a`
        ("\"a$b\"", "a$b"),
        // ruby3 keeps `\n` unless told otherwise
        (r#""a\nb""#, "a\nb"),
        // node and ruby3 keep `\r`
        (r#""a\rb""#, "a\rb"),
        // npm and node keep it, ruby: `atb`
        (r#""a\tb""#, "a\tb"),
        // npm and node do not undo this; the second holds a newline there, and in ruby2
        (r#""a\\b""#, r"a\b"),
        (r#""a\\nb""#, r"a\nb"),
        (r#""x\\""#, r"x\"),
        // npm keeps the backslash, node ends the value; compose, python, ruby and shells agree with
        // us
        (r#""a\"b""#, "a\"b"),
        // npm, node and python keep the backslash; compose, ruby and shells expand `$`, so files
        // for them need it
        (r#""a\$b""#, "a$b"),
        // npm, node, python and compose keep it; ruby and shells agree with us
        (r#""a\`b""#, "a`b"),
        // ruby drops each of these backslashes; python and compose make `\a` the bell and know
        // `\b`, `\f` and `\v`
        (r#""a\xb\ab""#, r"a\xb\ab"),
        (r#""C:\dir""#, r"C:\dir"),
        ("\"a\\\nb\"", "a\\\nb"),
    ]);
}

#[test]
fn placeholders_are_plain_bytes() {
    values(&[
        ("{{ secrets.a | json }} # c", "{{ secrets.a | json }}"),
        ("{{ secrets.a }}{{B}}\t", "{{ secrets.a }}{{B}}"),
        ("\"{{ secrets.a | shell }}\"", "{{ secrets.a | shell }}"),
        ("'{{ X }}' # c", "{{ X }}"),
        ("pg://u:{{ X | url }}@h/db # c", "pg://u:{{ X | url }}@h/db"),
        // npm, node and ruby cut at the `#`
        ("x{{X}}#y", "x{{X}}#y"),
        // ruby drops the backslash that makes a placeholder literal in a template
        (r"\{{X}}", r"\{{X}}"),
        (r#""\{{X}}""#, r"\{{X}}"),
    ]);
}

#[test]
fn errors_have_the_right_position() {
    let name = "a name can contain only ASCII letters, digits, `_`, `.` and `-`";
    let first = "a name cannot begin with `.` or `-`";
    let equals = "no `=` follows the name; values are not taken from the environment";
    let (double, single, backtick) = ["double quote", "single quote", "backtick"]
        .map(|quote| {
            (
                format!("the {quote} is never closed"),
                format!("only a comment may follow the closing {quote}"),
            )
        })
        .into();

    let rows: &[(&str, u64, u64, &str)] = &[
        // npm, node and ruby drop the line, python has a name without a value; compose and docker
        // read the environment
        ("A", 1, 2, equals),
        ("A=1\r\n B \r\n", 2, 4, equals),
        ("A # c", 1, 3, equals),
        ("export", 1, 7, equals),
        ("export # c", 1, 8, equals),
        // ruby refuses it unless `A` was assigned before, as in a shell
        ("export A", 1, 9, equals),
        // node takes `A B` as the name, compose refuses, the others drop the line
        ("A B=1", 1, 3, equals),
        // npm, compose and ruby read it like YAML, node and python drop it
        ("A: 1", 1, 2, name),
        // only compose reads it
        ("A:1", 1, 2, name),
        // node and python take the name, compose refuses, npm and ruby drop the line
        ("A/B=1", 1, 2, name),
        ("\n\n  A+=1", 3, 4, name),
        // node, python and compose take it, npm and ruby drop the line
        ("Ä=1", 1, 1, name),
        ("A\u{a0}=1", 1, 2, name),
        ("A#B=1", 1, 2, name),
        // python takes `A`, node the quotes too
        ("'A'=1", 1, 1, name),
        ("{{ X }}", 1, 1, name),
        ("A\r=1", 1, 2, name),
        // compose refuses, ruby drops the line, npm, node and python read it; it is a pasted option
        ("--a=1", 1, 1, first),
        ("export -a=1", 1, 8, first),
        (".a=1", 1, 1, first),
        // all drop it except compose, which makes the name empty
        (" =1", 1, 2, "there is no name before the `=`"),
        // npm and ruby keep the quote and read on, node and python drop the assignment, compose
        // refuses
        ("A=\"x", 1, 3, &double.0),
        ("A=1\n\nB = \"x\nC=2\n", 3, 5, &double.0),
        (r#"A="x\""#, 1, 3, &double.0),
        ("A=\"", 1, 3, &double.0),
        ("A=\"\\", 1, 3, &double.0),
        ("A='x\nB=2", 1, 3, &single.0),
        ("A='", 1, 3, &single.0),
        ("A=`x", 1, 3, &backtick.0),
        // npm and ruby keep all of it, with the quotes; node and compose drop the rest, python
        // drops the assignment
        ("A=\"x\"y", 1, 6, &double.1),
        ("A=\"{\"a\": \"b\"}\"", 1, 6, &double.1),
        ("A=\"\"\"\nx\n\"\"\"", 1, 5, &double.1),
        ("A='x' y # c", 1, 7, &single.1),
        ("A='x'\"y\"", 1, 6, &single.1),
        // python and compose escape the quote; npm and ruby keep the backslash, node ends at it
        (r"A='it\'s'", 1, 8, &single.1),
        ("A=`\n`x", 2, 2, &backtick.1),
        ("A='x'\rB=2", 1, 6, &single.1),
    ];

    for (text, line, column, message) in rows {
        let error = parse(text.as_bytes()).err().unwrap_or_else(|| panic!("{text:?} was read"));
        assert_eq!(
            (error.position.line, error.position.column, error.to_string().as_str()),
            (*line, *column, *message),
            "{text:?}"
        );
    }
}

#[test]
fn an_error_quotes_nothing_from_the_file() {
    for text in [
        "A='x'hunter2",
        "A=\"hunter2",
        "hunter2",
        "A=1\nhunter2/x",
        "hunter2 hunter2",
        "A=`hunter2",
    ] {
        let error = parse(text.as_bytes()).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("hunter"), "{error:?}");
    }
}

#[test]
fn the_time_to_read_is_linear() {
    for piece in [
        "#",
        " #",
        "\\",
        "\"\\\"",
        "A=\n",
        "A='\n'\n",
        "A=\"\\\\\n\"\n",
        " ",
        "\n",
        "\r",
        "export ",
        "A=\r",
    ] {
        for before in ["", "A=", "A=x", "A=\"", "A='"] {
            let text = [before, &piece.repeat((1 << 18) / piece.len())].concat();
            let start = Instant::now();
            drop(parse(text.as_bytes()));
            assert!(start.elapsed() < Duration::from_secs(5), "{before} {piece:?}");
        }
    }
}

/// Generates random bytes, and random sequences of bytes with a special meaning.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b"\"'`\\#= \t\r\n$nrtxAe{}-\xff\0".to_vec());
    prop_oneof![vec(any::<u8>(), 0..60), vec(special, 0..40)]
}

/// Writes a value in double quotes. `choices` decide where an unnecessary escape is written.
fn double_quoted(value: &[u8], choices: &[bool]) -> Vec<u8> {
    let mut text = b"\"".to_vec();
    for (byte, choice) in value.iter().zip(choices.iter().cycle()) {
        let (escape, needed) = match byte {
            b'\\' | b'"' => (*byte, true),
            b'$' | b'`' => (*byte, false),
            b'\n' => (b'n', false),
            b'\r' => (b'r', false),
            b'\t' => (b't', false),
            _ => (0, false),
        };

        if needed || (*choice && escape != 0) {
            text.extend([b'\\', escape]);
        } else {
            text.push(*byte);
        }
    }

    text.push(b'"');
    text
}

/// Removes everything from a value that only quotes can hold.
fn without_need_of_quotes(value: &[u8]) -> Vec<u8> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut left = Vec::new();
    for byte in value {
        let opens = left.is_empty() && (b"\"'`".contains(byte) || blank(Some(byte)));
        if !opens && *byte != b'\n' && !(*byte == b'#' && blank(left.last())) {
            left.push(*byte);
        }
    }

    while blank(left.last()) || left.last() == Some(&b'\r') {
        left.pop();
    }

    left
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn any_value_round_trips_in_double_quotes(value in any_bytes(), choices in vec(any::<bool>(), 1..9)) {
        let text = [b"A = ", &double_quoted(&value, &choices)[..], b" # c\n"].concat();
        prop_assert_eq!(only(&text), Ok(value));
    }

    #[test]
    fn any_value_without_the_quote_round_trips_in_the_other_quotes(value in any_bytes(),
                                                               quote in prop::sample::select(b"'`".to_vec())) {
        let value: Vec<u8> = value.into_iter().filter(|byte| *byte != quote).collect();
        prop_assert_eq!(only(&[b"A=", &[quote][..], &value, &[quote]].concat()), Ok(value));
    }

    #[test]
    fn any_value_that_needs_no_quotes_round_trips_without_quotes(value in any_bytes()) {
        let value = without_need_of_quotes(&value);
        prop_assert_eq!(only(&[b"A=", &value[..], b"\n"].concat()), Ok(value));
    }

    /// Assignments that are written to one file come back in their order, with their lines.
    #[test]
    fn files_round_trip(values in vec((any_bytes(), 0..3_usize), 0..8)) {
        let (mut text, mut lines) = (Vec::new(), Vec::new());
        for (number, (value, blank_lines)) in values.iter().enumerate() {
            let mut before = "# c\r\n".repeat(*blank_lines);
            write!(before, "export N{number}=").unwrap();
            text.extend(before.bytes());
            lines.push(text.split(|byte| *byte == b'\n').count() as u64);
            text.extend(double_quoted(value, &[false]));
            text.extend(b"\r\n");
        }

        let entries = parse(&text).ok().unwrap();
        prop_assert_eq!(entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), lines);
        for (number, (entry, (value, _))) in entries.iter().zip(&values).enumerate() {
            let name = format!("N{number}");
            prop_assert!(entry.name == name && entry.value.expose() == value.as_slice());
        }

        prop_assert_eq!(entries.len(), values.len());
    }

    /// Nothing panics, and an error's position is inside the file or at its end.
    #[test]
    fn any_bytes_are_read_or_refused(text in any_bytes(), assigned in any::<bool>()) {
        let text = if assigned { [b"A=", &text[..]].concat() } else { text };
        if let Err(error) = parse(&text) {
            let bytes = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
            let line = bytes.split(|byte| *byte == b'\n').nth(error.position.line as usize - 1).unwrap();
            prop_assert!((1..=line.len() as u64 + 1).contains(&error.position.column));
        }
    }
}
