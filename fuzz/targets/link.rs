//! libFuzzer's entry to `link`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::link::run(data));
