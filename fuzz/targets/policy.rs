//! libFuzzer's entry to `policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::policy::run(data));
