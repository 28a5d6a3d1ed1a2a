//! `tests/fuzz/mapping.rs` under libFuzzer.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/fuzz/mapping.rs"]
mod mapping;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mapping::run(bytes));
