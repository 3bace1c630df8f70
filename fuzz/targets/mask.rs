//! libFuzzer's entry to `mask`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::mask::run(data));
