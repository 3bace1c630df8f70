//! Upper bounds of columns in bytes (docs/format.md, section 6).

/// Keys and MACs
pub const SHORT: usize = 256;
/// Sealed keys and heads
pub const LONG: usize = 1024;
/// Sealed metadata: 4,096 characters of 4 bytes and the other fields
pub const META: usize = 32 * 1024;
/// Policies and entries of an audit log
pub const OTHER: usize = 8 * 1024;
/// A sealed value: 1 MiB and its padding
pub const VALUE: usize = 2 * 1024 * 1024;
