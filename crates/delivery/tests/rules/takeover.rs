//! How a partition is taken over: after a crash, after a rebalance, after something has changed.

use tieline_delivery::{Answer, Epoch, Input, Mapped, Metadata, ParkedAt, Partition, PauseReason};

use crate::bench::{Bench, log, millis, secs, settings, status};

fn metadata(unfinished: Vec<std::ops::Range<i64>>, horizon: i64, ceiling: i64) -> String {
    Metadata { partitions: 6, mapped: mapped(1), base: 10, horizon, ceiling, unfinished }.encode()
}

fn mapped(fingerprint: u64) -> Mapped {
    Mapped { fingerprint, worked: true, otherwise_below: 10 }
}

#[test]
fn what_was_finished_beyond_the_committed_offset_is_not_sent_again() {
    let mut c = Bench::empty(settings());
    c.assign(0, 10, &metadata(vec![10..11, 13..14], 15, 15));
    c.fetch([(10, "a"), (11, "b"), (12, "c"), (13, "d"), (14, "e"), (15, "f")]);
    c.advance(secs(6));
    let mut sent = c.sent();
    sent.sort_unstable();
    assert_eq!(sent, [10, 13, 15]);
    for offset in sent {
        c.answer(offset, status(201));
    }
    c.advance(secs(1));
    assert_eq!(c.committed(), 16);
    let finals: Vec<i64> = c.finals.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(finals.len(), 3); // each is final once
}

#[test]
fn what_an_old_owner_may_have_sent_waits_for_its_calls_and_counts_as_unknown() {
    let mut c = Bench::empty(settings());
    c.assign(0, 10, &metadata(vec![10..12], 12, 13));
    c.fetch([(10, "a"), (11, "b"), (12, "c"), (13, "d")]);
    assert_eq!(c.sent(), [13]); // beyond the ceiling: never sent
    c.advance(secs(5) - millis(1));
    assert!(c.sent().is_empty());
    c.advance(millis(1));
    assert_eq!(c.sent(), [10, 11, 12]);
    assert_eq!(c.sends, [(13, 1, false), (10, 1, true), (11, 1, true), (12, 1, true)]);
}

#[test]
fn nothing_is_sent_before_a_commit_has_shown_that_the_partition_is_ours() {
    let mut c = Bench::empty(settings());
    c.commits_by_itself = false;
    c.parked = vec![ParkedAt {
        offset: 9,
        key: Some(b"z"[..].into()),
        retry_after: secs(0),
        maybe_tried: false,
        unknown_below: None,
    }];
    c.assign(0, 10, &metadata(vec![10..12], 12, 13)); // as if an owner that is there had sent up to 13
    c.fetch([(10, "a"), (11, "b"), (12, "c"), (13, "d")]);
    c.advance(secs(10));
    assert_eq!((c.sent(), c.recalls.as_slice(), c.commits.len()), (vec![], &[9][..], 1));
    let said = &c.commits[0].offsets[0];
    let ceiling = Metadata::parse(&said.metadata).unwrap().ceiling;
    assert!(said.offset == 10 && ceiling > 13, "{said:?}");

    c.commit_is_made(false);
    c.advance(secs(10));
    assert!(c.sent().is_empty(), "it was not taken");

    c.commit_is_made(true);
    let mut sent = c.sent();
    sent.sort_unstable();
    assert_eq!(sent, [9, 10, 11, 12, 13]);
}

#[test]
fn what_waits_for_an_old_owner_holds_up_nobody_else() {
    let mut c = Bench::with(|settings| settings.in_flight_max = 2);
    c.assign(1, 10, &metadata(vec![], 10, 1_000));
    for offset in 10..40 {
        c.fetch_from(1, offset, "");
    }
    c.fetch([(0, "acme")]);
    assert_eq!(c.sent_of_all(), [(0, 0)]);
}

#[test]
fn metadata_that_cannot_be_read_halts_the_partition() {
    for text in ["nonsense", "2.6.0.10.0.0..", &Metadata::parse(&metadata(vec![], 12, 12)).unwrap().encode()[..20]] {
        let mut c = Bench::empty(settings());
        c.assign(0, 10, text);
        c.fetch([(10, "a")]);
        c.advance(secs(60));
        assert!(matches!(c.paused_by(), Some(PauseReason::MetadataUnreadable { .. })), "{text}");
        assert!(c.sent().is_empty() && c.commits.is_empty());
    }
}

#[test]
fn metadata_beside_another_offset_than_its_own_halts_the_partition() {
    let mut c = Bench::empty(settings());
    c.assign(0, 11, &metadata(vec![], 12, 12));
    let Some(PauseReason::MetadataUnreadable { what }) = c.paused_by() else { panic!("{:?}", c.paused_by()) };
    assert_eq!(what, "it was written beside offset 10, and stands beside 11");
}

#[test]
fn another_number_of_partitions_halts_the_partition() {
    let mut c = Bench::empty(settings());
    let text =
        Metadata { partitions: 4, mapped: mapped(0), base: 0, horizon: 0, ceiling: 0, unfinished: vec![] }.encode();
    c.assign(0, 0, &text);
    c.fetch([(0, "a")]);
    c.advance(secs(60));
    assert_eq!(c.paused_by(), Some(&PauseReason::PartitionsChanged { was: 4, is: 6 }));
    assert!(c.sent().is_empty() && c.commits.is_empty());
    c.revoke(0, secs(5));
    assert_eq!(c.released, [0]);
}

#[test]
fn a_late_answer_of_a_lost_partition_commits_nothing() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    let old = c.id(0, 0);
    c.input(Input::Lost { partition: Partition(0) });
    c.assign(0, 0, "");
    c.input(Input::Answered { id: old, attempt: 1, answer: Answer::Applied, log: log() });
    c.advance(secs(1));
    assert_eq!((c.committed(), c.machine.stale_inputs()), (0, 1));
    assert!(c.finals.is_empty());
}

#[test]
fn an_assignment_older_than_the_one_at_hand_is_stale() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    c.input(Input::Assigned {
        epoch: Epoch(0),
        partition: Partition(0),
        offset: 0,
        metadata: String::new(),
        partitions: 6,
        parked: Vec::new(),
        held: Vec::new(),
    });
    c.answer(0, status(201));
    c.advance(secs(1));
    assert_eq!((c.committed(), c.machine.stale_inputs()), (1, 1));
}

#[test]
fn offsets_that_do_not_rise_stop_the_partition_and_no_other() {
    let mut c = Bench::one_partition();
    c.assign(1, 0, "");
    c.fetch([(0, "a"), (5, "b")]);
    c.answer(0, status(201));
    c.fetch_from(0, 3, "c");
    c.fetch_from(1, 0, "d");
    let why = PauseReason::InvariantBroken { what: "offset 3 came after 5".to_owned() };
    c.pump();
    assert_eq!(c.paused_by(), Some(&why));
    let commits = c.commits.len();
    c.sent_of_all();
    c.answer(5, status(503));
    c.answer_of(1, 0, status(201));
    c.advance(secs(60));
    assert!(c.sent().is_empty());
    let spoken_of = c.commits[commits..].iter().flat_map(|commit| &commit.offsets);
    assert!(spoken_of.map(|offset| offset.partition.0).all(|partition| partition == 1));
}

#[test]
fn the_mapping_that_sent_before_can_be_seen() {
    let mut c = Bench::empty(settings());
    c.assign(0, 10, &metadata(vec![10..12], 12, 13));
    let view = c.machine.partitions().next().unwrap();
    assert_eq!((view.mapped_before, view.committed), (Some(mapped(1)), 10));
}

#[test]
fn what_an_owner_with_another_mapping_may_have_sent_is_known_to_be_of_that() {
    for (fingerprint, expect) in [(1, vec![10]), (0xC0_FFEE, vec![])] {
        let mut c = Bench::one_partition();
        c.revoke(0, secs(1));
        let text = Metadata {
            partitions: 6,
            mapped: mapped(fingerprint),
            base: 10,
            horizon: 11,
            ceiling: 11,
            unfinished: vec![10..11],
        };
        c.assign(0, 10, &text.encode());
        c.fetch([(10, "acme"), (11, "globex")]);
        c.advance(secs(10));
        let mut sent = c.sent();
        sent.sort_unstable();
        assert_eq!((sent, &c.mapped_otherwise), (vec![10, 11], &expect));
    }
}

#[test]
fn what_an_owner_before_the_last_may_have_sent_under_another_mapping_is_known_as_such_until_it_is_final() {
    let mut c = Bench::one_partition();
    c.revoke(0, secs(1));
    let sent_by_another =
        Metadata { partitions: 6, mapped: mapped(1), base: 10, horizon: 12, ceiling: 12, unfinished: vec![10..12] };
    c.assign(0, 10, &sent_by_another.encode());
    c.fetch([(10, "acme"), (11, "globex"), (12, "initech")]);
    c.advance(secs(10));
    c.answer(10, status(201));
    c.advance(secs(1));

    // It commits, and its next owner has its mapping: of what is unfinished, 11 was sent under another, all the same.
    let text = c.metadata_text();
    c.revoke(0, secs(1));
    c.mapped_otherwise.clear();
    c.assign(0, 11, &text);
    c.fetch([(11, "globex"), (12, "initech")]);
    c.advance(secs(10));
    assert_eq!(c.mapped_otherwise, [11], "12 was sent under ours");
    c.answer(11, status(201));
    c.answer(12, status(201));
    c.advance(secs(1));

    let text = c.metadata_text();
    assert!(!text.contains('*'), "{text}");
}
