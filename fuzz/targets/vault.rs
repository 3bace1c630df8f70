//! libFuzzer's entry to `vault`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::vault::run(data));
