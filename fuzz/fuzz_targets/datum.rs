//! `tests/fuzz/datum.rs` under libFuzzer.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../tests/fuzz/cost.rs"]
mod cost;
#[path = "../../tests/fuzz/datum.rs"]
mod datum;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| datum::run(bytes));
