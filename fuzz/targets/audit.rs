//! libFuzzer's entry to `audit`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::audit::run(data));
