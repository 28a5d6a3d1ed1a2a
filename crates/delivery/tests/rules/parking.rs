//! Parking: a key whose record fails while others go through is set aside, and comes up again in order.

use tieline_delivery::{
    Came, Effect, Held, OnDeadLetter, Order, Outcome, ParkedAt, ParkedState, PauseReason, Settings,
};

use crate::bench::{Bench, millis, reason, secs, settings, status};

/// Has the record fail, and other keys succeed, until its patience has ended.
fn fail_beside_others(c: &mut Bench, offset: i64, answer: u16) {
    let end = c.now.after(secs(60));
    let mut other = 1_000 * (offset + 1) + i64::try_from(c.finals.len()).unwrap();
    while c.now < end && !c.parked_offsets().contains(&offset) {
        if c.sent().contains(&offset) {
            c.answer(offset, status(answer));
        }
        c.works_for_another(other);
        other += 1;
        c.advance(millis(500));
    }
}

fn parked() -> Bench {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "acme"), (2, "acme")]);
    fail_beside_others(&mut c, 0, 503);
    c
}

#[test]
fn a_key_that_fails_while_others_go_through_is_parked_with_what_is_behind_it() {
    let mut c = parked();
    assert_eq!(c.parked_offsets(), [0, 1, 2]);
    let (retry_at, state) = c
        .finals
        .iter()
        .find_map(|(offset, outcome)| match outcome {
            Outcome::Parked { retry_at, state, .. } if *offset == 0 => Some((*retry_at, *state)),
            _ => None,
        })
        .expect("it is parked");
    let retry_after = retry_at.since(c.now);
    assert!((secs(59)..=secs(66)).contains(&retry_after), "{retry_after:?}");
    assert!(state.failing_for >= secs(30) && state.attempts_total > 5 && state.steps == 0 && !state.maybe_applied);
    assert!(c.committed() > 1_000, "the committed offset passes it");
    c.fetch([(5_000, "acme")]);
    c.advance(secs(1));
    assert_eq!(c.parked_offsets(), [0, 1, 2, 5_000]); // without a call
    assert!(c.sent().is_empty());
}

#[test]
fn a_parked_key_comes_up_on_schedule_in_order_and_is_live_again() {
    let mut c = parked();
    c.recalls.clear();
    c.advance(secs(50));
    assert!(c.recalls.is_empty());
    c.advance(secs(20));
    assert_eq!((c.recalls.clone(), c.sent()), (vec![0], vec![0]));
    c.answer(0, status(201));
    assert_eq!(c.sent(), [1]);
    c.answer(1, status(201));
    c.fetch([(5_000, "acme")]); // nothing is parked behind 2 any more: it waits in memory
    assert_eq!(c.sent(), [2]);
    c.answer(2, status(201));
    assert_eq!(c.sent(), [5_000]);
    c.answer(5_000, status(201));
    c.advance(secs(1));
    let load = c.machine.load();
    assert_eq!((load.parked_keys, load.parked_records, load.buffered_records), (0, 0, 0));
    let came: Vec<Came> = c
        .commits
        .iter()
        .flat_map(|commit| &commit.finals)
        .filter(|end| end.id.offset < 3)
        .map(|end| end.came)
        .collect();
    assert_eq!(came, [Came::Fetched, Came::Fetched, Came::Fetched, Came::Parked, Came::Parked, Came::Parked]);
}

#[test]
fn each_attempt_that_fails_while_others_work_is_a_step_of_the_schedule() {
    let mut c = parked();
    c.advance(secs(66));
    assert_eq!(c.sent(), [0]);
    c.works_for_another(6_000);
    c.answer(0, status(503));
    c.advance(secs(1));
    assert_eq!(c.states[&0].1.steps, 1);
    c.advance(secs(290));
    assert!(c.sent().is_empty());
    c.advance(secs(40));
    assert_eq!(c.sent(), [0]);
    c.answer(0, status(503)); // nothing has worked since: that is not counted
    c.advance(secs(1));
    assert_eq!(c.states[&0].1.steps, 1);
}

#[test]
fn an_attempt_that_may_have_been_applied_is_known_when_it_comes_up() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    fail_beside_others(&mut c, 0, 500);
    assert!(c.states[&0].1.maybe_applied);
    c.sends.clear();
    c.advance(secs(70));
    assert!(matches!(c.sends[..], [(0, _, true)]), "{:?}", c.sends);
}

#[test]
fn what_is_given_up_is_a_dead_letter_and_the_key_goes_on_when_that_is_durable() {
    let mut c = Bench::with(|settings| settings.give_up_after = secs(90));
    c.fetch([(0, "acme"), (1, "acme")]);
    fail_beside_others(&mut c, 0, 503);
    c.advance(secs(66));
    assert_eq!(c.sent(), [0]);
    c.works_for_another(6_000);
    c.advance(secs(1));
    c.commits_by_itself = false;
    c.answer(0, status(503));
    assert!(c.sent().is_empty());
    c.advance(secs(1));
    assert!(c.sent().is_empty());
    c.commit_is_made(true);
    assert_eq!(c.sent(), [1]);
    let Some((_, Outcome::Dead { reason, effect: Effect::None, holds: false })) =
        c.finals.iter().rfind(|(offset, _)| *offset == 0)
    else {
        panic!("{:?}", c.finals)
    };
    assert_eq!(reason.code, "given-up");
}

#[test]
fn a_redriven_dead_letter_goes_before_what_waits_behind_it() {
    let mut c = Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Hold).proven();
    c.fetch([(0, "acme"), (1, "acme"), (2, "globex")]);
    c.answer(0, status(422));
    c.answer(2, status(201));
    c.advance(secs(1_000));
    assert_eq!(c.sent(), [0, 2]);
    c.commits_by_itself = false;
    c.redrive(0, "acme");
    c.redrive(0, "acme"); // twice is once
    assert!(c.sent().is_empty()); // not durable yet
    c.commit_is_made(true);
    c.commits_by_itself = true;
    assert_eq!(c.sent(), [0]);
    c.answer(0, status(201));
    assert_eq!(c.sent(), [1]);
    c.answer(1, status(201));
    c.advance(secs(1));
    let of_0: Vec<Came> = c
        .commits
        .iter()
        .flat_map(|commit| &commit.finals)
        .filter(|end| end.id.offset == 0)
        .map(|end| end.came)
        .collect();
    assert_eq!(of_0, [Came::Fetched, Came::Redriven, Came::Parked]);
    assert_eq!(c.machine.load().parked_keys, 0);
}

#[test]
fn a_discarded_dead_letter_lets_its_key_go_on() {
    let mut c = Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Hold).proven();
    c.fetch([(0, "acme"), (1, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    assert_eq!(c.sent(), [0]);
    c.commits_by_itself = false;
    c.discard(0, "acme");
    c.advance(secs(1));
    assert!(c.sent().is_empty()); // not durable yet
    assert_eq!(c.commits.last().expect("a commit").discarded.len(), 1);
    c.commit_is_made(true);
    assert_eq!(c.sent(), [1]);
}

#[test]
fn a_commit_that_fails_takes_what_was_parked_and_discarded_with_it_into_the_next() {
    let mut c = Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Hold).proven();
    c.fetch([(0, "acme"), (1, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    assert_eq!(c.sent(), [0]);
    c.commits_by_itself = false;
    c.discard(0, "acme");
    c.fetch([(2, "acme")]);
    c.advance(secs(1));
    c.commit_is_made(false);
    c.advance(secs(10));
    let commit = c.commits.last().expect("a commit");
    assert_eq!((commit.discarded.len(), commit.finals.len()), (1, 1));
    assert!(c.sent().is_empty());
    c.commit_is_made(true);
    assert_eq!(c.sent(), [1]);
}

#[test]
fn what_an_earlier_owner_parked_and_holds_is_so_from_the_start() {
    let mut c = Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Hold);
    c.revoke(0, secs(1));
    let key = |key: &str| Some(key.as_bytes().into());
    c.parked = vec![
        ParkedAt { offset: 9, key: key("acme"), retry_after: secs(0), maybe_tried: true, unknown_below: None },
        ParkedAt { offset: 3, key: key("acme"), retry_after: secs(100), maybe_tried: false, unknown_below: None },
        ParkedAt { offset: 5, key: key("initech"), retry_after: secs(0), maybe_tried: true, unknown_below: None },
        ParkedAt { offset: 7, key: key("globex"), retry_after: secs(0), maybe_tried: true, unknown_below: None },
    ];
    c.holds = vec![Held { offset: 6, key: key("globex") }];
    c.states.insert(3, (c.now, ParkedState { attempts_total: 8, ..ParkedState::default() }, Vec::new()));
    c.assign(0, 20, "");
    c.fetch([(20, "acme"), (21, "globex"), (22, "umbrella")]);
    assert_eq!(c.sent(), [22]); // another key
    c.advance(secs(4));
    assert_eq!((c.sent(), c.recalls.clone()), (vec![], vec![5])); // an old call of it may be under way
    c.advance(secs(2));
    assert_eq!(c.sends.last(), Some(&(5, 1, true)));
    c.sent();
    c.advance(secs(100));
    assert_eq!(c.sends.last(), Some(&(3, 9, false)));
    c.sent();
    c.answer(3, status(201));
    assert_eq!(c.sends.last(), Some(&(9, 1, false)));
    c.sent();
    c.answer(9, status(201));
    assert_eq!(c.sent(), [20]);
    c.discard(6, "globex");
    c.advance(secs(1));
    assert_eq!(c.sent(), [7]);
}

#[test]
fn a_record_that_cannot_be_read_back_is_asked_for_again() {
    let mut c = parked();
    c.recalls_by_itself = false;
    c.recalls.clear();
    c.advance(secs(66));
    assert_eq!(c.recalls, [0]);
    let id = c.id(0, 0);
    c.input(tieline_delivery::Input::RecallFailed { id });
    c.advance(secs(12));
    assert_eq!(c.recalls, [0, 0]);
    c.input(c.recalled(id));
    assert_eq!(c.sent(), [0]);
    c.input(c.recalled(id)); // again, and late
    assert_eq!(c.machine.stale_inputs(), 1);
}

#[test]
fn a_record_of_no_key_is_parked_alone() {
    for order in [Order::Key, Order::None] {
        let mut c = Bench::with(|settings| settings.order = order);
        c.fetch([(0, "")]);
        fail_beside_others(&mut c, 0, 503);
        assert_eq!(c.parked_offsets(), [0]);
        c.fetch([(6_000, "")]);
        assert_eq!(c.sent(), [6_000]);
        c.advance(secs(70));
        assert_eq!(c.sent(), [0]);
    }
}

#[test]
fn where_too_many_keys_are_parked_the_partition_waits() {
    let mut c = Bench::with(|settings| settings.parked_keys_max = 1);
    c.fetch([(0, "acme")]);
    fail_beside_others(&mut c, 0, 503);
    c.fetch([(8_000, "globex")]);
    for other in 9_000..9_120 {
        if c.sent().contains(&8_000) {
            c.answer(8_000, status(503));
        }
        c.works_for_another(other);
        c.advance(millis(500));
    }
    assert_eq!(c.parked_offsets(), [0]);
    let (id, reason) = (c.id(0, 8_000), reason("http-503"));
    assert_eq!(c.paused_by(), Some(&PauseReason::OutOfPatience { id, reason }));
}

#[test]
fn where_too_many_records_are_parked_their_partitions_wait_and_no_others() {
    let mut c = Bench::with(|settings| {
        settings.on_dead_letter = OnDeadLetter::Hold;
        settings.parked_records_max = 32;
    })
    .proven();
    c.assign(1, 0, "");
    c.fetch([(0, "acme")]);
    c.answer(0, status(422)); // it holds its key
    for offset in 1..33 {
        assert_eq!(c.paused_by(), None, "{offset}");
        c.fetch([(offset, "acme")]);
    }
    assert_eq!(c.paused_by(), Some(&PauseReason::ParkFull));
    c.fetch([(33, "acme"), (34, "globex")]); // they were fetched already
    assert_eq!((c.sent(), c.machine.load().parked_records), (vec![0, 34], 33));
    c.fetch_from(1, 0, "initech");
    c.sent();
    c.answer_of(1, 0, status(201));
    c.advance(secs(1));
    assert_eq!((c.committed_of(1), c.paused.get(&1)), (1, None));

    // Nothing more is parked that could be retried, and what is parked goes on.
    c.answer(34, status(503));
    for other in 9_000..9_120 {
        if c.sent().contains(&34) {
            c.answer(34, status(503));
        }
        c.fetch_from(1, other, &format!("other {other}"));
        c.sent();
        c.answer_of(1, other, status(201));
        c.advance(millis(500));
    }
    assert!(!c.parked_offsets().contains(&34));
    c.discard(0, "acme");
    c.advance(secs(1));
    c.answer_all(&status(201));
    c.advance(secs(20));
    c.answer_all(&status(201));
    c.advance(secs(1));
    assert_eq!((c.paused_by(), c.machine.load().parked_records, c.committed()), (None, 0, 35));
}

#[test]
fn what_an_earlier_owner_has_parked_above_the_bound_comes_up_behind_what_is_older() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "hangs")]);
    (1..30).for_each(|offset| c.fetch_from(0, offset, "acme"));
    assert_eq!(c.sent(), [0, 1]);
    (1..30).for_each(|offset| c.answer(offset, status(201)));
    c.advance(secs(1));
    let metadata = c.metadata_text();

    let mut c = Bench::empty(Settings { parked_records_max: 8, ..settings() });
    let acme = |offset| {
        let key = Some(b"acme"[..].into());
        ParkedAt { offset, key, retry_after: secs(0), maybe_tried: false, unknown_below: None }
    };
    c.parked = (1..30).map(acme).collect();
    c.assign(0, 0, &metadata);
    assert_eq!((c.paused_by(), c.machine.load().parked_records), (None, 29)); // what is older may be of the same key
    c.fetch([(0, "hangs")]);
    assert_eq!(c.paused_by(), Some(&PauseReason::ParkFull));
    c.advance(secs(10));
    c.answer_all(&status(201));
    c.advance(secs(1));
    assert_eq!((c.paused_by(), c.machine.load().parked_records, c.committed()), (None, 0, 30));
}

fn superseding() -> Bench {
    Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Supersede).proven()
}

fn superseded(c: &Bench) -> Vec<i64> {
    let discarded = c.commits.iter().flat_map(|commit| &commit.discarded);
    discarded.filter(|discarded| discarded.superseded).map(|discarded| discarded.id.offset).collect()
}

#[test]
fn the_next_record_that_is_done_makes_a_dead_letter_moot() {
    let mut c = superseding();
    c.fetch([(0, "acme"), (1, "acme"), (2, "globex")]);
    c.answer(0, status(422));
    c.answer(2, status(201));
    c.advance(secs(1));
    assert_eq!((c.sent(), superseded(&c)), (vec![0, 2, 1], vec![])); // it goes on when the dead letter is durable
    c.answer(1, status(201));
    c.advance(secs(1));
    assert_eq!((superseded(&c), c.committed(), c.machine.load().parked_keys), (vec![0], 3, 0));
}

#[test]
fn a_dead_letter_makes_the_one_before_it_moot_and_an_earlier_owner_s_is_known() {
    let mut c = superseding();
    c.revoke(0, secs(1));
    c.holds = vec![Held { offset: 4, key: Some(b"acme"[..].into()) }];
    c.assign(0, 10, "");
    c.fetch([(10, "acme"), (11, "acme")]);
    assert_eq!(c.sent(), [10]);
    c.answer(10, status(422));
    c.advance(secs(1));
    assert_eq!((c.sent(), superseded(&c)), (vec![11], vec![4]));
    c.answer(11, status(201));
    c.advance(secs(1));
    assert_eq!(superseded(&c), [4, 10]);
}

#[test]
fn a_redriven_dead_letter_is_not_made_moot_by_itself() {
    let mut c = superseding();
    c.fetch([(0, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    c.sent();
    c.redrive(0, "acme");
    c.advance(secs(1));
    assert_eq!(c.sent(), [0]);
    c.answer(0, status(201));
    c.advance(secs(1));
    assert_eq!((superseded(&c), c.machine.load().parked_keys), (vec![], 0));
}

#[test]
fn a_dead_letter_that_may_be_superseded_is_not_redriven_behind_a_newer_record() {
    let mut c = superseding();
    c.fetch([(0, "acme"), (1, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    assert_eq!(c.sent(), [0, 1]);
    c.redrive(0, "acme"); // 1 is under way
    c.answer(1, status(201));
    c.redrive(0, "acme"); // 1 is done
    c.advance(secs(1));
    assert_eq!((c.sent(), superseded(&c), c.machine.load().buffered_records), (vec![], vec![0], 0));
}

#[test]
fn what_was_parked_waits_for_older_records_of_its_key_that_are_fetched_again() {
    let mut c = Bench::one_partition();
    c.revoke(0, secs(1));
    let key = || Some(b"acme"[..].into());
    c.parked = vec![ParkedAt { offset: 9, key: key(), retry_after: secs(0), maybe_tried: false, unknown_below: None }];
    let unfinished = vec![5..6, 7..8];
    let before = tieline_delivery::Metadata {
        partitions: 6,
        mapped: tieline_delivery::Mapped { fingerprint: 0xC0_FFEE, worked: true, otherwise_below: 5 },
        base: 5,
        horizon: 12,
        ceiling: 5,
        unfinished,
    };
    c.assign(0, 5, &before.encode());
    c.advance(secs(10));
    assert!(c.recalls.is_empty());
    c.fetch([(5, "globex")]);
    assert_eq!((c.sent(), c.recalls.len()), (vec![5], 0));
    c.fetch([(7, "acme")]); // parked before 9, and comes up first
    c.advance(secs(1));
    assert_eq!((c.recalls.clone(), c.sent()), (vec![7], vec![7]));
}
