//! `tests/fuzz/wire.rs` under libFuzzer.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/fuzz/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::run(bytes));
