//! A pause shows what cannot be a value, and the end of a stream shows no part of one.

use std::sync::Arc;

use terminal_secrets::mask::{Form, Masker, Needles};
use terminal_secrets::model::Tag;

use super::{Out, masked, masked_in, needles};

#[test]
fn overlapping_secrets_are_masked_completely() {
    let needles = needles(&[
        b"aaaabbbbcccc".to_vec(),
        b"ccccdddd".to_vec(),
        b"bbbbccccdd".to_vec(),
        b"xxxxyyyy".to_vec(),
    ]);

    assert_eq!(masked(&needles, b"-aaaabbbbccccdddd-"), "-<t0>-");
    assert_eq!(masked(&needles, b"-bbbbccccdddd-"), "-<t2>-");
    assert_eq!(masked(&needles, b"xxxxyyyyxxxxyyyy"), "<t3><t3>", "adjacent matches stay separate");
    assert_eq!(masked(&needles, b"aaaabbbbcccxxxxyyyy"), "aaaabbbbccc<t3>");
}

#[test]
fn short_values_are_reported_and_not_masked() {
    let tags = ["a", "b", "c", "d", "e"].map(|tag| Tag::parse(tag).unwrap());
    let values = [&b"1234567"[..], b"12345678", b"", b"a\nb\nc\n         \nd\n", b"abc1234\n"];
    let needles = Needles::new(tags.iter().zip(values));

    // The last value is found only with its newline.
    assert_eq!(needles.short(), [tags[0].clone(), tags[2].clone(), tags[4].clone()]);
    assert!(!needles.is_empty());

    // Lines that are too short are not matched alone.
    assert_eq!(
        masked(&needles, b"1234567 12345678 a b         c a\nb\nc\n         \nd\n."),
        "1234567 <b> a b         c <d>."
    );

    let none = Needles::new(tags.iter().take(1).map(|tag| (tag, &b"short"[..])));
    assert!(none.is_empty());
    let mut masker = Masker::new(Arc::new(none));
    let mut out = Out::default();
    let Ok(()) = masker.push(b"short and anything else, all at once", &mut out);

    assert!(!masker.is_holding() && out.text == b"short and anything else, all at once");
}

#[test]
fn equal_needles_use_the_first_tag_and_the_simplest_form() {
    let twice = needles(&[
        b"-same value-".to_vec(),
        b"-same value-".to_vec(),
        b"--same value-\nshort".to_vec(),
    ]);

    let out = masked_in(&twice, &[b"-same value-"]);
    assert_eq!(out.regions, [(0, 12, "t0".to_owned(), Form::Raw)]);

    // `41…` is the second value, and also the first one's hexadecimal form.
    let other = needles(&[b"AAAAAAAA".to_vec(), b"4141414141414141".to_vec()]);
    assert_eq!(masked_in(&other, &[b"4141414141414141"]).regions[0].2, "t0");
    let plain = needles(&[b"longenough\nlongenough".to_vec()]);
    assert_eq!(masked_in(&plain, &[b"longenough"]).regions[0].3, Form::Line);
}

#[test]
fn a_prompt_is_shown_after_a_pause_and_a_value_is_not() {
    let needles = needles(&[b"Pass12: hunter2".to_vec()]);
    let (mut masker, mut out) = (Masker::new(&needles), Out::default());
    let Ok(()) = masker.push(b"login\nPass12:", &mut out);
    assert!(out.text == b"login\n" && masker.is_holding() && masker.settled() == 6);

    let Ok(()) = masker.pause(&mut out);
    assert!(out.text == b"login\nPass12:" && !masker.is_holding());

    // Seven bytes of this value are out, so no more of it is ever shown.
    for byte in [" ", "h", "unter"] {
        let Ok(()) = masker.push(byte.as_bytes(), &mut out);
        let Ok(()) = masker.pause(&mut out);
        assert!(out.text == b"login\nPass12:" && masker.is_holding());
    }

    let Ok(()) = masker.push(b"2, hunter2\n", &mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "login\nPass12:<t0>, hunter2\n");
    assert_eq!(out.regions, [(13, 21, "t0".to_owned(), Form::Raw)]);

    // If another text follows, nothing is lost.
    let Ok(()) = masker.push(b"Pass12: hunter", &mut out);
    let Ok(()) = masker.pause(&mut out);
    let Ok(()) = masker.push(b"s\n", &mut out);
    assert!(out.text.ends_with(b"\nPass12: hunters\n"));
}

#[test]
fn a_mask_is_shown_after_a_pause_even_if_a_longer_value_may_follow() {
    let needles = needles(&[b"first line\nsecond line\n".to_vec()]);
    let (mut masker, mut out) = (Masker::new(&needles), Out::default());
    let Ok(()) = masker.push(b"> first line\nseco", &mut out);
    assert_eq!(out.text, b"> ");

    let Ok(()) = masker.pause(&mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "> <t0>\nseco");
    let Ok(()) = masker.push(b"nd l", &mut out);
    let Ok(()) = masker.pause(&mut out);

    // Two more bytes make seven.
    assert_eq!(String::from_utf8_lossy(&out.text), "> <t0>\nsecond");
    let Ok(()) = masker.push(b"ine\n", &mut out);
    let Ok(()) = masker.finish(&mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "> <t0>\nsecond<t0>");
}

#[test]
fn a_value_that_the_end_of_a_stream_cuts_off_is_masked() {
    let needles = needles(&[b"sk_live_9fQ2mZx7Lk4Vt8Rb1Nw6".to_vec()]);
    assert_eq!(masked(&needles, b"key sk_live_9fQ2mZx7Lk4Vt8Rb1Nw"), "key <t0>");
    assert_eq!(masked(&needles, b"key sk_live_"), "key <t0>");
    assert_eq!(masked(&needles, b"key sk_live"), "key sk_live");

    let (mut masker, mut out) = (Masker::new(&needles), Out::default());
    for piece in [&b"key sk_"[..], b"live", b"_9fQ2"] {
        let Ok(()) = masker.push(piece, &mut out);
        let Ok(()) = masker.pause(&mut out);
    }

    let Ok(()) = masker.finish(&mut out);
    assert_eq!(String::from_utf8_lossy(&out.text), "key sk_live<t0>");
}
