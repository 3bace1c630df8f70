//! libFuzzer's entry to `keyring`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| terminal_secrets_fuzz::keyring::run(data));
