//! Fields: the encoding of key rings and metadata, to which a later version can add without a new
//! format (docs/format.md, section 4).
//!
//! Decoding accepts exactly what encoding produces.

use super::CryptoError;
use crate::codec::{self, Reader};
use crate::model::SecretBytes;

/// From this type on, a field that this version does not know is kept as it is. A smaller one changes
/// the meaning of the others, so it is refused.
const IGNORABLE: u8 = 128;

/// Fields that are being written: `type(1) ‖ lp(bytes)` each, with ascending types.
pub(super) struct Fields(SecretBytes);

impl Fields {
    /// Begins with no fields. The buffer does not grow before it holds `capacity` bytes.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(SecretBytes::with_capacity(capacity))
    }

    /// Adds a field. Its type must be larger than that of the field before.
    pub(super) fn add(&mut self, kind: u8, bytes: &[u8]) {
        self.0.push(kind);
        codec::prefixed(&mut |piece| self.0.extend(piece), &[bytes]);
    }

    /// Returns all fields, followed by those of [`Decoded::later`].
    pub(super) fn finish(mut self, later: &[u8]) -> SecretBytes {
        self.0.extend(later);
        self.0
    }

    /// Splits fields with types below `N`, and those of later versions. `what` names them in the
    /// error.
    pub(super) fn decode<'a, const N: usize>(
        bytes: &'a [u8],
        what: &'static str,
    ) -> Result<Decoded<'a, N>, CryptoError> {
        let damaged = CryptoError::Damaged(what);
        let mut reader = Reader::new(bytes);
        let mut decoded = Decoded { fields: [None; N], later: &[] };
        let mut last = 0;

        loop {
            let rest = reader.rest();
            let Some(kind) = reader.u8() else { return Ok(decoded) };
            let field = reader.prefixed();
            let Some(field) = field.filter(|_| kind > last) else { return Err(damaged) };

            match decoded.fields.get_mut(usize::from(kind)) {
                Some(known) => *known = Some(field),
                None if kind < IGNORABLE => return Err(CryptoError::Newer(what)),
                None if decoded.later.is_empty() => decoded.later = rest,
                None => {}
            }

            last = kind;
        }
    }
}

/// Fields that were read.
pub(super) struct Decoded<'a, const N: usize> {
    fields: [Option<&'a [u8]>; N],
    later: &'a [u8],
}

impl<'a, const N: usize> Decoded<'a, N> {
    /// Returns a field's bytes.
    pub(super) fn bytes(&self, kind: u8) -> Option<&'a [u8]> {
        self.fields.get(usize::from(kind)).copied().flatten()
    }

    /// Returns a field of `M` bytes. `None` if it is absent or has another length.
    pub(super) fn array<const M: usize>(&self, kind: u8) -> Option<&'a [u8; M]> {
        self.bytes(kind)?.try_into().ok()
    }

    #[allow(clippy::option_option)] // absent, or not valid
    /// Returns a field's text. The inner `None` stands for bytes that are not UTF-8.
    pub(super) fn text(&self, kind: u8) -> Option<Option<&'a str>> {
        self.bytes(kind).map(|bytes| std::str::from_utf8(bytes).ok())
    }

    #[allow(clippy::option_option)] // not valid, or absent
    /// Returns the result of `decode` if the field exists. The outer `None` stands for an existing field
    /// that is not valid.
    pub(super) fn optional<T>(
        &self,
        kind: u8,
        decode: impl FnOnce() -> Option<T>,
    ) -> Option<Option<T>> {
        if self.bytes(kind).is_none() { Some(None) } else { decode().map(Some) }
    }

    /// Returns the fields of later versions, as they were encoded.
    pub(super) fn later(&self) -> &'a [u8] {
        self.later
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Decoded<'_, 4>, CryptoError> {
        Fields::decode::<4>(bytes, "it")
    }

    #[test]
    fn fields_round_trip() {
        let mut fields = Fields::with_capacity(8);
        fields.add(1, b"one");
        fields.add(3, b"");
        let bytes = fields.finish(b"\x80\0\0\0\x01x\xff\0\0\0\0");
        let decoded = decode(bytes.expose()).unwrap();
        assert_eq!([1, 2, 3].map(|kind| decoded.bytes(kind)), [Some(&b"one"[..]), None, Some(b"")]);
        assert_eq!(decoded.array(1), Some(b"one"));
        assert_eq!(decoded.array::<2>(1), None);
        assert_eq!(decoded.later(), b"\x80\0\0\0\x01x\xff\0\0\0\0");
    }

    #[test]
    fn decoding_is_strict() {
        let error = |bytes: &[u8]| decode(bytes).err();
        let damaged = Some(CryptoError::Damaged("it"));
        assert_eq!(error(b"\x01\0\0\0\0\x01\0\0\0\0"), damaged, "a field twice");
        assert_eq!(error(b"\x02\0\0\0\0\x01\0\0\0\0"), damaged, "out of order");
        assert_eq!(error(b"\0\0\0\0\0"), damaged, "type 0");
        assert_eq!(error(b"\x01\0\0\0\x01"), damaged, "a length past the end");
        assert_eq!(error(b"\x80\0\0\0\0\x80\0\0\0\0"), damaged, "a later field twice");
        assert_eq!(error(b"\x04\0\0\0\0"), Some(CryptoError::Newer("it")));
        assert_eq!(error(b"\x7f\0\0\0\0"), Some(CryptoError::Newer("it")));
        assert_eq!(error(b"\x80\0\0\0\0"), None);
    }
}
