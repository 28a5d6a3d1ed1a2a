//! How a partition leaves: revoked, lost, drained.

use tieline_delivery::{Input, Partition};

use crate::bench::{Bench, millis, secs, status};

#[test]
fn a_revoked_partition_sends_nothing_new_and_goes_when_its_calls_are_over_and_committed() {
    let mut c = Bench::with(|settings| settings.in_flight_max = 1);
    c.commits_by_itself = false;
    c.fetch([(0, "a"), (1, "b")]);
    assert_eq!(c.sent(), [0]);
    c.revoke(0, secs(10));
    assert!(c.released.is_empty());
    c.answer(0, status(201));
    assert!(c.sent().is_empty() && c.released.is_empty());
    assert_eq!(c.commits.last().unwrap().offsets[0].offset, 1); // at once, not at its interval
    c.commit_is_made(true);
    assert_eq!(c.released, [0]);
    assert_eq!(c.machine.load().buffered_records, 0);
}

#[test]
fn after_a_clean_release_the_next_owner_waits_for_nothing() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "a"), (1, "b")]);
    c.answer(1, status(201));
    c.answer(0, status(503));
    c.revoke(0, secs(10));
    assert_eq!((c.released.len(), c.metadata().ceiling), (1, 0));

    let mut next = Bench::empty(crate::bench::settings());
    next.assign(0, c.committed(), &c.metadata_text());
    next.fetch([(0, "a"), (1, "b")]);
    assert_eq!(next.sends, [(0, 1, false)]);
}

#[test]
fn what_may_have_been_applied_stays_below_the_ceiling_that_is_left_behind() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "a"), (1, "b"), (2, "c")]);
    c.answer(1, status(500));
    c.answer(0, status(503));
    c.answer(2, status(503));
    c.revoke(0, secs(10));
    assert_eq!((c.released.len(), c.metadata().ceiling), (1, 2));
}

#[test]
fn what_was_inherited_and_not_met_stays_below_the_ceiling_that_is_left_behind() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "a")]);
    c.input(Input::Lost { partition: Partition(0) });
    let (offset, text, ceiling) = (c.committed(), c.metadata_text(), c.metadata().ceiling);
    c.assign(0, offset, &text);
    c.fetch([(0, "a"), (1, "b")]);
    c.revoke(0, secs(10));
    assert_eq!((c.released.len(), c.metadata().ceiling), (1, ceiling));
}

#[test]
fn a_call_that_does_not_end_does_not_hold_a_revoked_partition_beyond_its_deadline() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "a"), (1, "b")]);
    c.answer(1, status(201));
    c.revoke(0, secs(10));
    c.advance(secs(10) - millis(1));
    assert!(c.released.is_empty());
    assert_eq!(c.metadata().unfinished, std::slice::from_ref(&(0..1))); // what is done is durable already
    c.advance(millis(1));
    assert_eq!(c.released, [0]);
    assert_eq!(c.machine.load().in_flight, 0);
}

#[test]
fn a_commit_that_does_not_come_back_does_not_either() {
    let mut c = Bench::one_partition();
    c.commits_by_itself = false;
    c.fetch([(0, "a")]);
    c.answer(0, status(201));
    c.revoke(0, secs(10));
    c.advance(secs(10));
    assert_eq!(c.released, [0]);
}

#[test]
fn a_failing_commit_is_tried_until_the_deadline() {
    let mut c = Bench::one_partition();
    c.commits_by_itself = false;
    c.fetch([(0, "a")]);
    c.answer(0, status(201));
    c.revoke(0, secs(10));
    for _ in 0..4 {
        c.commit_is_made(false);
        c.advance(secs(1));
    }
    assert!(c.released.is_empty());
    c.commit_is_made(true);
    assert_eq!((c.released.as_slice(), c.committed()), (&[0][..], 1));
}

#[test]
fn a_partition_that_is_not_ours_is_released_at_once() {
    let mut c = Bench::one_partition();
    c.revoke(7, secs(10));
    assert_eq!(c.released, [7]);
}

#[test]
fn the_others_go_on_while_one_is_revoked() {
    let mut c = Bench::one_partition();
    c.assign(1, 0, "");
    c.fetch([(0, "a")]);
    c.revoke(0, secs(10));
    c.fetch_from(1, 0, "b");
    assert_eq!(c.sent_of_all(), [(0, 0), (1, 0)]);
}

#[test]
fn a_drain_ends_when_everything_is_at_rest_and_durable() {
    let mut c = Bench::one_partition();
    c.assign(1, 0, "");
    c.fetch_from(1, 0, "b");
    c.fetch([(0, "a"), (1, "a")]);
    c.drain(secs(10));
    c.answer_of(1, 0, status(201));
    assert!(!c.drained);
    c.answer(0, status(201));
    assert!(c.drained && c.released.is_empty());
    assert_eq!((c.committed(), c.sent().len()), (1, 2));
}

#[test]
fn a_drain_ends_at_its_deadline_at_the_latest() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "a")]);
    c.drain(secs(10));
    c.advance(secs(10));
    assert!(c.drained);
}

#[test]
fn what_is_assigned_during_a_drain_is_left_alone() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "a")]);
    c.drain(secs(10));
    c.assign(1, 0, "");
    c.fetch_from(1, 0, "b");
    c.answer(0, status(201));
    assert!(c.drained);
    assert_eq!(c.sent_of_all(), [(0, 0)]);
}

#[test]
fn a_partition_that_is_lost_during_a_commit_takes_its_finals_with_it() {
    let mut c = Bench::one_partition();
    c.assign(1, 0, "");
    c.commits_by_itself = false;
    c.fetch_from(1, 0, "b");
    c.fetch([(0, "a")]);
    c.answer_all(&status(201));
    c.advance(secs(1));
    c.input(Input::Lost { partition: Partition(0) });
    c.commit_is_made(false);
    c.advance(secs(1));
    let again = c.commits.last().unwrap();
    assert_eq!(again.finals.iter().map(|end| end.id.partition.0).collect::<Vec<_>>(), [1]);
    c.commit_is_made(true);
    assert_eq!(c.machine.load().buffered_records, 0);
}
