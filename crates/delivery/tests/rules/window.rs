//! How much is fetched at most.

use tieline_delivery::{Input, PauseReason};

use crate::bench::{Bench, millis, secs, status};

#[test]
fn a_full_window_pauses_all_partitions_and_opens_again_by_a_commit_first_for_those_with_little_in_it() {
    let mut c = Bench::with(|settings| settings.window_records_max = 8);
    c.assign(1, 0, "");
    for offset in 0..8 {
        c.fetch_from(0, offset, "");
    }
    c.pump();
    assert_eq!(c.paused.get(&0), Some(&PauseReason::Window));
    assert_eq!(c.paused.get(&1), Some(&PauseReason::Window));
    for offset in 0..3 {
        c.answer(offset, status(201));
    }
    assert_eq!(c.paused.len(), 2); // done, but not durable
    c.advance(secs(1));
    assert_eq!(c.machine.load().buffered_records, 5);
    assert_eq!(c.paused.keys().collect::<Vec<_>>(), [&0]); // more than its half
    for offset in 3..5 {
        c.answer(offset, status(201));
    }
    c.advance(secs(1));
    assert!(c.paused.is_empty());
}

#[test]
fn bytes_fill_the_window_as_records_do() {
    let mut c = Bench::one_partition();
    let id = c.id(0, 0);
    c.input(Input::Fetched { id, key: None, bytes: 2 << 20, record: 0 });
    assert_eq!(c.paused_by(), Some(&PauseReason::Window));
    c.answer(0, status(201));
    c.advance(secs(1));
    assert_eq!((c.paused_by(), c.machine.load().buffered_bytes), (None, 0));
}

#[test]
fn one_hung_record_does_not_fill_the_window_by_what_is_finished_behind_it() {
    let mut c = Bench::with(|settings| settings.window_records_max = 100);
    c.fetch([(0, "hangs")]);
    assert_eq!(c.sent(), [0]);
    for offset in 1..5_000 {
        c.fetch_from(0, offset, "");
        for offset in c.sent() {
            c.answer(offset, status(201));
        }
    }
    c.advance(secs(1));
    assert_eq!((c.paused_by(), c.committed()), (None, 0));
    assert_eq!(c.metadata_text().len(), c.metadata_text().trim_end_matches("AA.").len() + 3);
    assert_eq!(c.metadata().horizon, 5_000);
}

#[test]
fn no_more_is_sent_than_may_come_again_before_a_commit_makes_room() {
    let mut c = Bench::with(|settings| {
        settings.in_flight_max = 2;
        settings.repeats_max = 5;
    });
    c.commits_by_itself = false;
    for offset in 0..20 {
        c.fetch_from(0, offset, "");
    }
    let mut sent = Vec::new();
    loop {
        let now = c.sent();
        if now.is_empty() {
            break;
        }
        now.iter().for_each(|offset| c.answer(*offset, status(201)));
        sent.extend(now);
    }
    assert_eq!(sent, [0, 1, 2, 3, 4]); // five are done, and none of them is durable
    c.advance(millis(20)); // a tenth of the usual interval
    c.commit_is_made(true);
    assert_eq!(c.sent(), [5, 6]);
}

#[test]
fn half_of_what_may_come_again_is_committed_before_sending_has_to_wait() {
    let committed_after = |done: i64| {
        let mut c = Bench::with(|settings| {
            settings.in_flight_max = 2;
            settings.repeats_max = 20;
        });
        for offset in 0..done {
            c.fetch_from(0, offset, "");
        }
        c.answer_all(&status(201));
        c.advance(millis(20)); // a tenth of the usual interval
        c.committed()
    };
    assert_eq!((committed_after(9), committed_after(10)), (0, 10));
}
