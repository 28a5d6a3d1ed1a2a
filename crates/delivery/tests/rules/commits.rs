//! What is made durable, and when.

use tieline_delivery::{Input, Outcome};

use crate::bench::{Bench, millis, secs, settings, status};

#[test]
fn nothing_is_sent_before_the_first_send_ceiling_is_durable() {
    let mut c = Bench::empty(settings());
    c.commits_by_itself = false;
    c.assign(0, 0, "");
    c.fetch([(0, "acme")]);
    c.advance(secs(1));
    assert!(c.sent().is_empty());
    c.commit_is_made(true);
    assert_eq!(c.sent(), [0]);
}

#[test]
fn the_send_ceiling_is_raised_well_ahead_so_that_no_send_waits_for_it() {
    let mut c = Bench::with(|settings| settings.window_records_max = 100_000);
    let mut waited = 0;
    for offset in 0..300_000 {
        c.fetch_from(0, offset, "");
        if offset % 100 == 0 {
            c.advance(millis(1));
        }
        let sent = c.sent_of_all();
        waited += usize::from(sent.is_empty());
        for (partition, offset) in sent {
            c.answer_of(partition, offset, status(201));
        }
    }
    assert_eq!(waited, 0);
    assert!(c.commits.len() < 3_000 / 200 + 15, "{} commits", c.commits.len());
}

#[test]
fn commits_come_at_their_interval_and_only_if_there_is_something_to_say() {
    let mut c = Bench::one_partition();
    assert_eq!(c.commits.len(), 1); // the ceiling
    c.advance(secs(60));
    assert_eq!(c.commits.len(), 1);
    c.fetch([(0, "a"), (1, "b"), (2, "c")]);
    c.answer_all(&status(201));
    assert_eq!((c.commits.len(), c.committed()), (2, 1)); // the interval was over
    c.advance(millis(199));
    assert_eq!(c.commits.len(), 2);
    c.advance(millis(1));
    assert_eq!((c.commits.len(), c.committed()), (3, 3));
}

#[test]
fn a_commit_that_failed_is_asked_for_again_with_the_same_finals_and_newer_ones() {
    let mut c = Bench::one_partition();
    c.commits_by_itself = false;
    c.fetch([(0, "a"), (1, "b")]);
    c.answer(0, status(201));
    c.advance(millis(200));
    assert_eq!(c.commits.len(), 2);
    c.answer(1, status(201));
    c.advance(secs(5));
    assert_eq!(c.commits.len(), 2); // one at a time
    c.commit_is_made(false);
    c.advance(secs(5));
    c.commit_is_made(true);
    assert_eq!(c.finals, [(0, Outcome::Done), (1, Outcome::Done)]);
    assert_eq!(c.committed(), 2);
}

#[test]
fn the_metadata_lists_what_is_unfinished_beyond_the_committed_offset() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "a"), (1, "b"), (2, "c"), (5, "d"), (6, "e")]);
    for offset in [1, 2, 6] {
        c.answer(offset, status(201));
    }
    c.advance(secs(1));
    let metadata = c.metadata();
    assert_eq!(
        (metadata.base, metadata.horizon, metadata.partitions, metadata.mapped.fingerprint),
        (0, 7, 6, 0xC0_FFEE)
    );
    assert_eq!(metadata.unfinished, [0..1, 5..6]);
    assert!(metadata.ceiling > 1_000);
}

#[test]
fn when_the_metadata_has_no_room_begun_records_wait_and_nothing_is_cut_off() {
    let mut c = Bench::with(|settings| settings.window_records_max = 100_000);
    // Every other record belongs to a key whose head hangs: the worst case for runs.
    for offset in 0..20_000 {
        let key = format!("key {offset}");
        c.fetch_from(0, offset, if offset % 2 == 0 { "hangs" } else { &key });
    }
    loop {
        let sent: Vec<i64> = c.sent().into_iter().filter(|offset| *offset != 0).collect();
        if sent.is_empty() {
            break;
        }
        for offset in sent {
            c.answer(offset, status(201));
        }
    }
    c.advance(secs(1));
    let text = c.metadata_text();
    assert!((1_500..=tieline_delivery::METADATA_BYTES_MAX).contains(&text.len()), "{} bytes", text.len());
    assert_eq!(c.metadata().unfinished.len(), c.finals.len() + 1); // each end in the middle makes two runs of one
    assert!(c.paused_by().is_some());

    c.answer(0, status(201));
    c.answer_all(&status(201));
    c.advance(secs(1));
    assert_eq!((c.committed(), c.paused_by()), (20_000, None));
}

#[test]
fn an_answer_to_a_commit_that_is_over_counts_for_nothing() {
    let mut c = Bench::one_partition();
    let commit = c.commits[0].id;
    c.input(Input::CommitFailed { commit, in_rebalance: false });
    assert_eq!(c.machine.stale_inputs(), 1);
}
