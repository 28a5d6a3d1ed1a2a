//! A backlog is worked off at a steady rate, however its keys lie in it.

use std::collections::BTreeMap;

use crate::bench::{Bench, millis, status};

const IN_FLIGHT: usize = 64;

/// Records of a partition: more than its window holds by far.
const BACKLOG: i64 = 12_000;

/// What one fetch brings.
const FETCHED: i64 = 500;

/// A partition's backlog, of which each fetch brings the next part unless the partition is paused.
struct Backlog {
    key_of: fn(i64) -> String,
    next: BTreeMap<i32, i64>,
}

impl Backlog {
    fn of(partitions: i32, key_of: fn(i64) -> String) -> Self {
        Self { key_of, next: (0..partitions).map(|partition| (partition, 0)).collect() }
    }

    fn fetch(&mut self, c: &mut Bench) {
        for (partition, next) in &mut self.next {
            let to = BACKLOG.min(*next + FETCHED);
            while *next < to && !c.paused.contains_key(partition) {
                c.fetch_from(*partition, *next, &(self.key_of)(*next));
                c.pump();
                *next += 1;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.next.values().all(|next| *next == BACKLOG)
    }
}

/// A number that looks like chance, and is the same each time.
fn scattered(n: i64) -> u64 {
    let mut mixed = n.unsigned_abs().wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^= mixed >> 32;
    mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 33
}

#[test]
fn a_backlog_of_many_keys_has_all_calls_under_way_at_all_times() {
    let mut c = Bench::with(|settings| {
        settings.in_flight_max = IN_FLIGHT;
        settings.adapts = false;
        settings.window_records_max = 4_000;
    });
    let mut backlog = Backlog::of(1, |offset| format!("key {}", scattered(offset) % 1_700));
    backlog.fetch(&mut c);
    let mut under_way = c.sent();
    while !backlog.is_over() {
        assert_eq!(under_way.len(), IN_FLIGHT, "at offset {} of the backlog", backlog.next[&0]);
        under_way.into_iter().for_each(|offset| c.answer(offset, status(201)));
        c.advance(millis(40));
        backlog.fetch(&mut c);
        under_way = c.sent();
    }
}

/// One of six answers ten times as slowly as the others; neither its records nor its calls take what is theirs.
#[test]
fn a_partition_that_is_slow_leaves_the_others_their_part_of_the_calls_and_of_the_window() {
    const OTHERS: usize = IN_FLIGHT - IN_FLIGHT / 6 - 1;
    let mut c = Bench::with(|settings| {
        settings.in_flight_max = IN_FLIGHT;
        settings.adapts = false;
        settings.window_records_max = 4_000;
    });
    (1..6).for_each(|partition| c.assign(partition, 0, ""));
    let mut backlog = Backlog::of(6, |offset| format!("key {}", scattered(offset) % 1_700));
    let mut slow = Vec::new();
    for round in 0..400 {
        backlog.fetch(&mut c);
        let (of_slow, of_others): (Vec<_>, Vec<_>) = c.sent_of_all().into_iter().partition(|(of, _)| *of == 0);
        let has_begun = round > 10; // the first that is fetched has all, until it is answered
        assert!(!has_begun || of_others.len() >= OTHERS, "only {} of the others in round {round}", of_others.len());
        slow.extend(of_slow);
        let answered = if round % 10 == 0 { [std::mem::take(&mut slow), of_others].concat() } else { of_others };
        answered.into_iter().for_each(|(partition, offset)| c.answer_of(partition, offset, status(201)));
        c.advance(millis(20));
    }
    assert!(!backlog.is_over());
}
