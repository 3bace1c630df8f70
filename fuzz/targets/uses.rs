//! libFuzzer's entry to `uses`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::uses::run(data));
