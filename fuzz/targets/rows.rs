//! libFuzzer's entry to `rows`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::rows::run(data));
