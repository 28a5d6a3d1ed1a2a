//! `tests/fuzz/definition.rs` under libFuzzer.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/fuzz/definition.rs"]
mod definition;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| definition::run(bytes));
