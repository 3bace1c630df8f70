//! Splits an input into its parts. It never fails: missing bytes are zero, so every input is valid.

/// The rest of an input.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes up to `most` bytes.
    pub(super) fn take(&mut self, most: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        piece
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let piece = self.take(N);
        array[..piece.len()].copy_from_slice(piece);
        array
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(super) fn u16(&mut self) -> usize {
        u16::from_be_bytes(self.array()).into()
    }

    /// Takes a length byte, then up to that many bytes.
    pub(super) fn piece(&mut self) -> &'a [u8] {
        let most = self.u8();
        self.take(most.into())
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
