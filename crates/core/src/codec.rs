//! The one reader and the one writer of length-prefixed bytes: the length as a big-endian `u32`,
//! then that many bytes.

/// Returns the prefix for `length` bytes or elements. Everything that is encoded is far smaller
/// than the maximum, 4 GiB.
pub fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Passes each part to `out` with its length in front.
pub fn prefixed(out: &mut impl FnMut(&[u8]), parts: &[&[u8]]) {
    for part in parts {
        out(&length(part.len()));
        out(part);
    }
}

/// Reads encoded bytes from their start. Each method returns `None` if too few bytes are left.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Reads a big-endian number of 4 bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a big-endian number of 8 bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads bytes with their length in front.
    pub fn prefixed(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Reads bytes with their length in front, which must be `N`.
    pub fn prefixed_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.prefixed()?.try_into().ok()
    }

    /// Reads a list with its number of elements in front. Memory is taken as elements are read, so a
    /// number that is too large costs nothing.
    pub fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        for _ in 0..self.u32()? {
            items.push(read(self)?);
        }

        Some(items)
    }

    /// Returns the bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Returns `value` if everything was read.
    pub fn finish<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        prefixed(&mut |piece| bytes.extend(piece), &[b"", b"one", &[7; 4]]);
        assert_eq!(bytes, b"\0\0\0\0\0\0\0\x03one\0\0\0\x04\x07\x07\x07\x07");

        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.prefixed(), Some(&b""[..]));
        assert_eq!(reader.prefixed(), Some(&b"one"[..]));
        assert_eq!(reader.finish(()), None);
        assert_eq!(reader.prefixed_array(), Some([7; 4]));
        assert_eq!(reader.finish(()), Some(()));
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        for bytes in [&b"\0\0\0"[..], b"\0\0\0\x02a", b"\xff\xff\xff\xffa"] {
            assert_eq!(Reader::new(bytes).prefixed(), None);
        }

        assert_eq!(Reader::new(b"\0\0\0\x01a").prefixed_array::<2>(), None);
        assert_eq!((Reader::new(b"a").u32(), Reader::new(b"").u8()), (None, None));
    }

    #[test]
    fn a_list_has_as_many_elements_as_its_number_says() {
        let list = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            reader.list(Reader::u8).and_then(|list| reader.finish(list))
        };

        assert_eq!(list(b"\0\0\0\0"), Some(vec![]));
        assert_eq!(list(b"\0\0\0\x02ab"), Some(b"ab".to_vec()));
        for bytes in [&b""[..], b"\0\0\0\x02a", b"\0\0\0\x02abc", b"\xff\xff\xff\xffab"] {
            assert_eq!(list(bytes), None);
        }
    }
}
