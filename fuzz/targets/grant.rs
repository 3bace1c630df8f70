//! libFuzzer's entry to `grant`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::grant::run(data));
