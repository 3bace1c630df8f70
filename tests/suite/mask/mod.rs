//! The masker: every form of a value is masked in a stream, and nothing else, in linear time and
//! bounded memory.

use std::convert::Infallible;

use terminal_secrets::mask::{Form, MaskedSpan, Masker, Needles, Sink};
use terminal_secrets::model::Tag;

mod forms;
mod programs;
mod reference;
mod resources;
mod streams;
mod writings;

/// The output, with `<tag>` for each region. It also checks that offsets add up.
#[derive(Default)]
struct Out {
    text: Vec<u8>,
    offset: u64,
    regions: Vec<(u64, u64, String, Form)>,
    /// For each byte of the stream that has left the masker: whether it was shown
    shown: Vec<Option<u8>>,
    /// For each region, whether colours were reset in it
    resets: Vec<bool>,
}

impl Sink for Out {
    type Error = Infallible;

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        assert!(!bytes.is_empty());
        self.text.extend(bytes);
        self.offset += bytes.len() as u64;
        self.shown.extend(bytes.iter().map(|byte| Some(*byte)));

        Ok(())
    }

    fn masked(&mut self, found: &MaskedSpan<'_>) -> Result<(), Infallible> {
        assert!(
            found.start == self.offset && found.end > found.start,
            "{found:?} at {}",
            self.offset
        );

        self.text.extend(format!("<{}>", found.tag).bytes());
        self.offset = found.end;
        self.shown.resize(found.end as usize, None);
        self.resets.push(found.resets);
        self.regions.push((found.start, found.end, found.tag.to_string(), found.form));

        Ok(())
    }
}

/// Returns needles of values with the tags t0, t1, …
fn needles(values: &[Vec<u8>]) -> Needles {
    let tags: Vec<Tag> = (0..values.len()).map(|n| Tag::parse(&format!("t{n}")).unwrap()).collect();
    Needles::new(tags.iter().zip(values.iter().map(Vec::as_slice)))
}

fn masked_in(needles: &Needles, pieces: &[&[u8]]) -> Out {
    let (mut masker, mut out) = (Masker::new(needles), Out::default());
    for piece in pieces {
        let Ok(()) = masker.push(piece, &mut out);
        assert!(masker.settled() == out.offset);
    }

    let Ok(()) = masker.finish(&mut out);
    assert!(
        !masker.is_holding()
            && out.offset == pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()
    );

    out
}

fn masked(needles: &Needles, text: &[u8]) -> String {
    String::from_utf8_lossy(&masked_in(needles, &[text]).text).into_owned()
}
