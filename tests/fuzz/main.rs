//! Hostile input by the thousand: each fuzz target on its corpus, and on mutations of it.
//!
//! The same targets run under libFuzzer for as long as one likes: `make fuzz FUZZ=datum FUZZ_SECONDS=600` (`fuzz/`). What
//! it found lies in `fuzz/corpus/TARGET`, and is tried here for ever. `FUZZ_MUTATIONS` says how many of each target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod cost;
mod datum;
mod definition;
mod mapping;
mod webhook;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Bytes and texts that mean something to one of the targets.
const WORDS: [&[u8]; 28] = [
    b"\0",
    b"\x01",
    b"\x02",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xfe\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\n",
    b": ",
    b"- ",
    b".",
    b"$",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"|",
    b"??",
    b"[]",
    b"null",
    b"-9223372036854775808",
    b"1e308",
    b"\xc3\xa4",
    b"\xf0\x9f\x98\x80",
    b"\r\n",
    b"if . then . else .",
];

#[test]
fn any_bytes_are_in_the_wire_format_or_refused() {
    corpus_and_mutations("wire", 20_000, wire::run);
}

#[test]
fn a_small_datum_of_any_schema_costs_little_and_both_readers_agree() {
    corpus_and_mutations("datum", 20_000, datum::run);
}

#[test]
fn any_text_is_a_mapping_that_ends_or_a_problem_with_its_place() {
    corpus_and_mutations("mapping", 4_000, mapping::run);
}

#[test]
fn any_request_is_refused_or_becomes_an_event_that_can_be_read() {
    corpus_and_mutations("webhook", 4_000, webhook::run);
}

#[test]
fn any_text_is_a_definition_or_a_problem_that_can_be_shown() {
    corpus_and_mutations("definition", 150, definition::run);
}

/// Tries all that was found before, then mutations of it.
fn corpus_and_mutations(target: &str, mutations: u64, run: fn(&[u8])) {
    let corpus = corpus(target);
    for (name, input) in &corpus {
        tried(&format!("fuzz/corpus/{target}/{name}"), input, run);
    }
    let mutations =
        std::env::var("FUZZ_MUTATIONS").map_or(mutations, |n| n.parse().expect("FUZZ_MUTATIONS is a number"));
    for seed in 0..mutations {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut input = corpus[dice.random_range(0..corpus.len())].1.clone();
        let other = &corpus[dice.random_range(0..corpus.len())].1;
        for _ in 0..dice.random_range(1..6) {
            mutate(&mut input, other, &mut dice);
        }
        tried(&format!("mutation {seed}"), &input, run);
    }
}

/// A failure says what failed, in bytes that can be written to the corpus.
fn tried(what: &str, input: &[u8], run: fn(&[u8])) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) {
        println!("{what} fails, {} bytes: \"{}\"", input.len(), input.escape_ascii());
        resume_unwind(panic);
    }
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = definition::root().join("fuzz/corpus").join(target);
    let mut corpus: Vec<(String, Vec<u8>)> = std::fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        })
        .collect();
    corpus.sort();
    assert!(!corpus.is_empty(), "{} is empty", dir.display());
    corpus
}

fn mutate(input: &mut Vec<u8>, other: &[u8], dice: &mut StdRng) {
    let at = dice.random_range(0..=input.len());
    match dice.random_range(0..7) {
        0 if at < input.len() => input[at] ^= 1 << dice.random_range(0..8),
        1 if at < input.len() => input[at] = dice.random(),
        2 => input.insert(at, dice.random()),
        3 => _ = input.drain(at..(at + dice.random_range(0..8)).min(input.len())),
        4 => {
            let until = (at + dice.random_range(1..32)).min(input.len());
            let again = input[at..until].to_vec();
            input.splice(at..at, again);
        }
        5 => {
            let from = dice.random_range(0..=other.len());
            let until = (from + dice.random_range(0..64)).min(other.len());
            input.splice(at..at, other[from..until].iter().copied());
        }
        _ => {
            let word = WORDS[dice.random_range(0..WORDS.len())];
            input.splice(at..at, word.iter().copied());
        }
    }
}
