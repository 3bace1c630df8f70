//! How long a key takes in a list of 100,000 secrets, from the key to the picture, and until the search is
//! complete. Prints the median and the longest.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use secrets_picker::{Form, Key, Picker, Row, Tab, draw};

const SECRETS: usize = 100_000;
/// The texts that are typed and then deleted.
const TYPED: [&str; 5] = ["stripe", "live key", "db", "prod/eu-west 77", "zzqx"];

fn main() {
    let words = ["stripe", "database", "github", "redis", "sentry", "mail", "session", "tls"];
    let rows: Vec<Row> = (0..SECRETS)
        .map(|number| Row {
            project: format!("project-{}", number % 100),
            tag: format!("{}-{}-{number}", words[number % 8], words[number / 8 % 8]),
            name: format!("The {} key of eu-west-{}", words[number / 64 % 8], number % 7),
            description: "live, for production; rotate every quarter".to_owned(),
            hint: "sk_l…4242".to_owned(),
            updated: "2026-11-27".to_owned(),
            tabs: vec![Tab::Team],
            ..Row::default()
        })
        .collect();

    let begun = Instant::now();
    let mut picker = Picker::new(rows, "", Form::Reference, true);
    let mut terminal = Terminal::new(TestBackend::new(120, 50)).unwrap();
    while picker.search() {}
    println!("list filled               {:>8.1} ms", milliseconds(begun.elapsed()));

    let (mut drawn, mut settled) = (Vec::new(), Vec::new());
    for typed in TYPED {
        let keys = typed.chars().map(Key::Character);
        let back = typed.chars().map(|_| Key::Backspace);
        for key in keys.chain([Key::Down, Key::PageDown, Key::Home]).chain(back) {
            let begun = Instant::now();
            picker.press(key);
            picker.search();
            terminal.draw(|frame| draw(frame, &mut picker, true)).unwrap();
            drawn.push(begun.elapsed());
            while picker.search() {}
            settled.push(begun.elapsed());
        }
    }

    for (what, mut times) in [("key to picture", drawn), ("key to complete search", settled)] {
        times.sort();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{what:<24} median {:>5.1} ms, longest {:>5.1} ms, {} keys",
            milliseconds(median),
            milliseconds(longest),
            times.len()
        );
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
