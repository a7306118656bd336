//! libFuzzer's entry to the target of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| bloomery_fuzz::life::run(octets));
