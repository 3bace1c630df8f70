//! libFuzzer's entry to `template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::template::run(data));
