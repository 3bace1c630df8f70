//! A template without placeholders is copied unchanged, in linear time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::time::Instant;

use terminal_secrets::template::grammar::Grammar;
use terminal_secrets::template::{Event, Plan, ScanDetails, Template, WINDOW, scan};

use super::{Map, USUAL, rendered};

#[test]
fn a_template_without_placeholders_is_copied_unchanged() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let long = b"line of text, { and }\r\n".repeat(3 * WINDOW / 23);
    let templates: [&[u8]; 12] = [
        b"",
        b"\n",
        b"no newline at the end",
        b"\xef\xbb\xbfBOM\r\nCRLF\r\n",
        b"\0\0\0",
        b"\xff\xfe\x80",
        &every_byte,
        &long,
        b"{{",
        b"\\{{ .Values.x }} ${{ secrets.X }} {{#if}} {{ user.name }} {{ TITLE | upper }} {{ lower }} {{ _ }}",
        b"{{\n X }} {{ X \r\n}} {{ X } } {{}} }} {",
        b"\\",
    ];

    for template in templates {
        let kept = Template::from_text("template", template.to_vec());
        assert!(Plan::new(kept, Grammar::default()).unwrap().is_empty());
        assert!(
            rendered(template, USUAL, &Map(HashMap::new())) == template,
            "{}",
            String::from_utf8_lossy(template)
        );
    }
}

/// Returns the processor time of this thread in nanoseconds, because other tests run at the same
/// time.
fn busy() -> u64 {
    let of_kernel = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let first = of_kernel.as_deref().and_then(|text| text.split(' ').next()?.parse().ok());
    first.unwrap_or_else(|| {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    })
}

#[test]
fn time_is_linear_in_the_template() {
    let longest_blank = format!("{{{{{}", " ".repeat(509));
    let filters = format!("{{{{X{}", "|json".repeat(101));
    let units = [
        "{{{{",
        "{{ secrets.",
        "{{    ",
        r"\{{",
        "${{",
        "{{X",
        "{{ secrets.x }}\n",
        &longest_blank,
        &filters,
    ];

    for unit in units {
        let measured = |size: usize| {
            let template = unit.repeat(size / unit.len());
            let begin = busy();
            let visit = |_: Event<'_>| Ok::<_, Infallible>(());
            scan(&mut template.as_bytes(), &Grammar::default(), WINDOW, ScanDetails::LINES, visit)
                .unwrap();
            busy() - begin
        };

        let (small, large) = (measured(256 << 10), measured(2 << 20));

        // Eight times the bytes take eight times the work if it is linear, and sixty-four times if
        // it is quadratic. Times below a few scheduler ticks mean nothing.
        assert!(
            large < 24 * small.max(20_000_000),
            "{}: {small} ns, then {large} ns",
            &unit[..unit.len().min(20)]
        );
    }
}
