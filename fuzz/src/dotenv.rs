//! `.env` files. No file causes a panic, and an entry's span contains its value: parsing the span
//! again gives the same value.

use terminal_secrets::dotenv::parse;

/// Runs the target. The input is a file's bytes.
pub fn run(data: &[u8]) {
    let entries = match parse(data) {
        Ok(entries) => entries,
        Err(error) => {
            let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
            let line = usize::try_from(error.position.line)
                .ok()
                .and_then(|line| lines.get(line.checked_sub(1)?));
            let line = line.expect("an error stands in a line of the file");
            assert!(
                (1..=line.len() as u64 + 1).contains(&error.position.column),
                "{error} at column {}",
                error.position.column
            );

            return;
        }
    };

    let mut offset = 0;
    for entry in entries {
        assert!(
            offset <= entry.whole.start && entry.whole.start <= entry.span.start,
            "entries overlap"
        );

        assert!(
            entry.span.start <= entry.span.end
                && entry.span.end == entry.whole.end
                && entry.whole.end <= data.len()
        );

        offset = entry.whole.end;
        let begin = data[..entry.whole.start].split(|byte| *byte == b'\n').count() as u64;
        assert_eq!(entry.line, begin, "the line of `{}`", entry.name);

        // We parse the assignment alone, and the value alone after another name. Both must give the
        // same value. Each gets a blank at its end, because a value may end with `\r` before
        // blanks. Without the blanks, that `\r` would belong to the line end.
        let alone = [&data[entry.whole.clone()], b" \n"].concat();
        let renamed = [b"N=", &data[entry.span.clone()], b" \n"].concat();
        for (text, name) in [(alone, entry.name.as_str()), (renamed, "N")] {
            let Ok(again) = parse(&text) else { panic!("`{}` cannot be read again", entry.name) };
            let [again] = &again[..] else {
                panic!("`{}` became {} entries", entry.name, again.len())
            };

            assert_eq!(again.name, name);
            assert!(
                again.value.expose() == entry.value.expose(),
                "`{}` has another value when read again",
                entry.name
            );
        }
    }
}
