//! Library benches; written below.
fn main() {}
