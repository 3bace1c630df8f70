//! Content codings: gzip (RFC 1952), deflate (RFC 1950), br (RFC 7932) and zstd (RFC 8878), also
//! several after another (RFC 9110, section 8.4).
//!
//! A decoder gets its input in small pieces and gives its output in bounded ones, so a small body
//! that expands to gigabytes costs time and no memory.

use std::io::{self, Write};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::FrameDecoder;

/// The most bytes that one step takes from its input. Deflate expands to at most 1,032 times the size.
const STEP: usize = 1024;
/// The most bytes that one step of Brotli or Zstandard gives out.
const OUTPUT: usize = 64 * 1024;
/// The greatest window of Zstandard in an answer (RFC 9659).
const ZSTD_WINDOW: u64 = 8 * 1024 * 1024;
/// The greatest size of a block of Zstandard with its header and the header of its frame.
const ZSTD_BLOCK: usize = 128 * 1024 + 32;
/// The most codings of one body.
const MOST: usize = 4;
/// The most bytes that the decoders of a body give out for one piece of it.
const EXPANDED: usize = 64 << 20;

/// A coding that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCoding(pub String);

/// The decoders of a body, the one that was applied last first.
pub struct Decoders {
    decoders: Vec<Decoder>,
    /// True after the first byte. A body without any is not encoded
    has_begun: bool,
}

impl Decoders {
    /// Returns the decoders for the fields `content-encoding` of an answer, in their order.
    pub fn new<'f>(fields: impl IntoIterator<Item = &'f [u8]>) -> Result<Self, UnknownCoding> {
        let mut decoders = Vec::new();
        for field in fields {
            for coding in field.split(|byte| *byte == b',') {
                let coding = String::from_utf8_lossy(coding.trim_ascii()).to_ascii_lowercase();
                match coding.as_str() {
                    "" | "identity" => {}
                    _ => decoders.push(Decoder::new(&coding).ok_or(UnknownCoding(coding))?),
                }
            }
        }

        if decoders.len() > MOST {
            return Err(UnknownCoding(format!("{} codings after another", decoders.len())));
        }

        decoders.reverse();
        Ok(Self { decoders, has_begun: false })
    }

    /// Returns true if the body is not encoded.
    pub fn is_identity(&self) -> bool {
        self.decoders.is_empty()
    }

    /// Decodes the next bytes of a body, and passes what comes out to `take`, in bounded pieces.
    pub fn decode(
        &mut self,
        input: &[u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.has_begun |= !input.is_empty();
        let mut left = EXPANDED;
        decode_all(&mut self.decoders, input, &mut left, take)
    }

    /// Ends the body. Fails if it was cut short.
    pub fn finish(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if !self.has_begun {
            return Ok(());
        }

        for number in 0..self.decoders.len() {
            let (done, rest) = self.decoders.split_at_mut(number + 1);
            let Some(decoder) = done.last_mut() else { break };
            let mut left = EXPANDED;
            decoder.finish(&mut |output| decode_all(rest, output, &mut left, take))?;
        }

        Ok(())
    }
}

/// Decodes with all decoders, one after another. `left` is the number of bytes that all of them together
/// may still give out.
fn decode_all(
    decoders: &mut [Decoder],
    input: &[u8],
    left: &mut usize,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    match decoders.split_first_mut() {
        Some((first, rest)) => first.decode(input, &mut |output| {
            *left = left.checked_sub(output.len()).ok_or_else(|| {
                let message = "the response expands to too many bytes";
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            decode_all(rest, output, left, take)
        }),
        None if input.is_empty() => Ok(()),
        None => take(input),
    }
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

enum Decoder {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
    Brotli { state: Box<Brotli>, is_done: bool },
    Zstd { frames: Box<FrameDecoder>, input: Vec<u8>, has_begun: bool },
}

impl Decoder {
    fn new(coding: &str) -> Option<Self> {
        Some(match coding {
            "gzip" | "x-gzip" => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            "deflate" => Self::Deflate(Box::new(ZlibDecoder::new(Vec::new()))),
            "br" => {
                let alloc = StandardAlloc::default;
                let state = Box::new(Brotli::new_strict(alloc(), alloc(), alloc()));
                Self::Brotli { state, is_done: false }
            }
            "zstd" => {
                let mut frames = Box::new(FrameDecoder::new());
                frames.set_max_window_size(ZSTD_WINDOW);
                Self::Zstd { frames, input: Vec::new(), has_begun: false }
            }
            _ => return None,
        })
    }

    fn decode(
        &mut self,
        bytes: &[u8],
        take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => {
                for piece in bytes.chunks(STEP) {
                    decoder.write_all(piece)?;
                    pass(decoder.get_mut(), take)?;
                }

                Ok(())
            }
            Self::Deflate(decoder) => {
                for piece in bytes.chunks(STEP) {
                    decoder.write_all(piece)?;
                    pass(decoder.get_mut(), take)?;
                }

                Ok(())
            }
            Self::Brotli { state, is_done } => brotli(state, is_done, bytes, take),
            Self::Zstd { frames, input, has_begun } => {
                for piece in bytes.chunks(ZSTD_BLOCK) {
                    *has_begun = true;
                    input.extend_from_slice(piece);
                    zstd(frames, input, false, take)?;
                }

                Ok(())
            }
        }
    }

    fn finish(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let cut_short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the body was cut short");
        match self {
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                pass(decoder.get_mut(), take)
            }
            Self::Deflate(decoder) => {
                decoder.try_finish()?;
                pass(decoder.get_mut(), take)
            }
            Self::Brotli { is_done: true, .. } => Ok(()),
            Self::Brotli { .. } => Err(cut_short()),
            Self::Zstd { frames, input, has_begun } => {
                zstd(frames, input, true, take)?;
                if *has_begun && (!input.is_empty() || !frames.is_finished()) {
                    return Err(cut_short());
                }

                Ok(())
            }
        }
    }
}

/// Passes on what a decoder has written, and keeps its buffer.
fn pass(output: &mut Vec<u8>, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    if !output.is_empty() {
        take(output)?;
        output.clear();
    }

    Ok(())
}

fn brotli(
    state: &mut Brotli,
    is_done: &mut bool,
    bytes: &[u8],
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the body is not valid Brotli");
    let (mut left, mut read) = (bytes.len(), 0);
    let mut output = vec![0; OUTPUT];
    while !*is_done {
        let (mut room, mut written, mut total) = (output.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut read,
            bytes,
            &mut room,
            &mut written,
            &mut output,
            &mut total,
            state,
        );
        if written > 0 {
            take(&output[..written])?;
        }

        match result {
            BrotliResult::ResultSuccess => *is_done = true,
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::NeedsMoreInput => return Ok(()),
            BrotliResult::ResultFailure => return Err(invalid()),
        }
    }

    if left > 0 { Err(invalid()) } else { Ok(()) }
}

/// Decodes what is complete in `input`, and removes it. `is_last` tells that no more input comes.
fn zstd(
    frames: &mut FrameDecoder,
    input: &mut Vec<u8>,
    is_last: bool,
    take: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let invalid = |why: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the body is not valid Zstandard: {why}"),
        )
    };

    let mut output = vec![0; OUTPUT];
    loop {
        if frames.is_finished() && frames.can_collect() == 0 {
            if !begin_frame(frames, input).map_err(|why| invalid(&why))? {
                return Ok(());
            }

            continue;
        }

        // Fewer bytes than a checksum has may be the first part of one.
        let source = if input.len() < 4 && !is_last { &[][..] } else { &input[..] };
        let length = source.len();
        let decoded = frames.decode_from_to(source, &mut output);
        let (read, written) = decoded.map_err(|error| invalid(&error.to_string()))?;
        input.drain(..read.min(length));
        if written > 0 {
            take(&output[..written])?;
        } else if read.min(length) == 0 {
            let is_too_long = input.len() > 2 * ZSTD_BLOCK;
            return if is_too_long { Err(invalid("a block is too long")) } else { Ok(()) };
        }
    }
}

/// Begins the next frame, after skippable ones. Returns false if its header is not complete yet.
fn begin_frame(frames: &mut FrameDecoder, input: &mut Vec<u8>) -> Result<bool, String> {
    while let Some(length) = skippable(input) {
        // Such a frame has no content, so a long one is of no use.
        let whole = length.saturating_add(8);
        if whole > ZSTD_BLOCK {
            return Err("a skippable frame is too long".into());
        }

        if input.len() < whole {
            return Ok(false);
        }

        input.drain(..whole);
    }

    if !is_whole_header(input) {
        return Ok(false);
    }

    let mut source = &input[..];
    frames.reset(&mut source).map_err(|error| error.to_string())?;
    let read = input.len() - source.len();
    input.drain(..read);
    Ok(true)
}

/// Returns true if the header of a frame is complete (RFC 8878, section 3.1.1.1).
fn is_whole_header(input: &[u8]) -> bool {
    let Some(descriptor) = input.get(4) else { return false };
    let window = usize::from(descriptor & 0x20 == 0);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = match descriptor >> 6 {
        0 => usize::from(descriptor & 0x20 != 0),
        1 => 2,
        2 => 4,
        _ => 8,
    };

    input.len() >= 5 + window + dictionary + content
}

/// Returns the length of the content of a skippable frame (RFC 8878, section 3.1.2).
fn skippable(input: &[u8]) -> Option<usize> {
    let magic = u32::from_le_bytes(*input.first_chunk()?);
    let length = u32::from_le_bytes(*input.get(4..8)?.first_chunk()?);
    (magic & 0xffff_fff0 == 0x184d_2a50).then(|| usize::try_from(length).unwrap_or(usize::MAX - 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(codings: &str, body: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut take = |bytes: &[u8]| {
            assert!(bytes.len() <= 2 << 20, "{}", bytes.len());
            out.extend_from_slice(bytes);
            Ok(())
        };

        let mut decoders = Decoders::new([codings.as_bytes()]).map_err(|_| io::ErrorKind::Other)?;
        for piece in body.chunks(piece) {
            decoders.decode(piece, &mut take)?;
        }

        decoders.finish(&mut take)?;
        Ok(out)
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
    }

    // `printf 'hello hello hello hello hello\n' | brotli`
    const BROTLI: [u8; 15] =
        [0x1b, 0x1e, 0x00, 0xf8, 0x25, 0xd2, 0xd2, 0xb2, 0x46, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00];

    #[test]
    fn every_coding_is_decoded_in_pieces_of_any_size() {
        let text = b"a line of text with a number 123456789\n".repeat(3000);
        for piece in [1, 7, 1000, usize::MAX / 2] {
            assert_eq!(decode("identity", &text, piece).unwrap(), text);
            assert_eq!(decode("gzip", &gzip(&text), piece).unwrap(), text);
            assert_eq!(decode("zstd", &zstd(&text), piece).unwrap(), text);
            assert_eq!(decode("gzip, zstd", &zstd(&gzip(&text)), piece).unwrap(), text);
            assert_eq!(decode("zstd,GZIP", &gzip(&zstd(&text)), piece).unwrap(), text);
            let members = [gzip(b"one "), gzip(b"two")].concat();
            assert_eq!(decode("x-gzip", &members, piece).unwrap(), b"one two");
            let frames =
                [zstd(b"one "), vec![0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2], zstd(b"two")]
                    .concat();
            assert_eq!(decode("zstd", &frames, piece).unwrap(), b"one two");
        }

        for empty in ["identity", "zstd", "gzip", "br", "deflate, gzip"] {
            assert_eq!(decode(empty, b"", 1).unwrap(), b"", "{empty}");
        }
    }

    #[test]
    fn a_body_that_is_cut_short_or_damaged_is_an_error() {
        let text = b"a line of text with a number 123456789\n".repeat(300);
        for (coding, body) in [("gzip", gzip(&text)), ("zstd", zstd(&text))] {
            for cut in [1, body.len() / 2, body.len() - 1] {
                assert!(decode(coding, &body[..cut], 100).is_err(), "{coding} {cut}");
            }

            let mut damaged = body.clone();
            damaged[0] ^= 1;
            assert!(decode(coding, &damaged, 100).is_err(), "{coding}");
        }

        assert!(decode("br", &BROTLI[..6], 100).is_err());
        assert!(decode("br", b"\xff\xff\xff\xff", 100).is_err());
        assert!(Decoders::new([&b"compress"[..]]).is_err());
        assert!(Decoders::new([&b"gzip,gzip,gzip,gzip,gzip"[..]]).is_err());
        assert!(Decoders::new([&b""[..], b"identity"]).unwrap().is_identity());
    }

    #[test]
    fn a_bomb_comes_out_in_pieces() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decode("gzip", &bomb, usize::MAX / 2).unwrap().len(), 64 << 20);
        let bomb = gzip(&bomb);
        assert_eq!(decode("gzip, gzip", &bomb, usize::MAX / 2).unwrap().len(), 64 << 20);
    }
}
