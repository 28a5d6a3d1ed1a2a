//! `tests/fuzz/webhook.rs` under libFuzzer.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/fuzz/webhook.rs"]
mod webhook;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| webhook::run(bytes));
