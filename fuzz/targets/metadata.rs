//! libFuzzer's entry to `metadata`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::metadata::run(data));
