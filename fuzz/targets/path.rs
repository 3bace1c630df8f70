//! libFuzzer's entry to `path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::path::run(data));
