//! libFuzzer's entry to `request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::request::run(data));
