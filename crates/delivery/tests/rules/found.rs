//! What the simulator has found, each as the shortest story that shows it.

use tieline_delivery::{Answer, Held, Input, OnDeadLetter, Order, Outcome, ParkedAt, ParkedState, Prepared};

use crate::bench::{Bench, log, millis, reason, secs, status};

/// Has the record fail beside others that work, until it is parked.
fn fail_until_parked(c: &mut Bench, offset: i64) {
    for other in 0..200 {
        if c.parked_offsets().contains(&offset) {
            return;
        }
        if c.sent().contains(&offset) {
            c.answer(offset, status(503));
        }
        c.works_for_another(10_000 * (offset + 1) + other);
        c.advance(millis(500));
    }
    panic!("{offset} is not parked: {:?}", c.finals);
}

#[test]
fn a_parked_key_comes_up_although_records_of_it_keep_coming() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    fail_until_parked(&mut c, 0);
    c.recalls.clear();
    c.commits_by_itself = false;
    // In each commit that is under way, and behind each, lies a record that waits behind it.
    for step in 0..400 {
        c.fetch([(20_000_000 + step, "acme")]);
        if c.commits.len() > 1 && step % 2 == 1 {
            c.commit_is_made(true);
        }
        c.advance(millis(500));
    }
    assert_eq!(c.recalls, [0]);
    assert!(c.sent().contains(&0));
}

#[test]
fn behind_a_dead_letter_that_is_discarded_nothing_goes_on_before_that_is_durable() {
    let mut c = Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Hold).proven();
    c.fetch([(0, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    c.sent();
    c.commits_by_itself = false;
    c.discard(0, "acme");
    c.fetch([(1, "acme")]);
    c.advance(secs(1));
    assert!(c.sent().is_empty());
    c.commit_is_made(true);
    c.advance(secs(1));
    c.commit_is_made(true); // 1 was parked behind it
    assert_eq!(c.sent(), [1]);
}

#[test]
fn a_dead_letter_that_holds_nothing_is_discarded_without_a_trace() {
    let mut c = Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Supersede).proven();
    c.fetch([(0, "acme"), (1, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    assert_eq!(c.sent(), [0, 1]);
    c.discard(0, "acme");
    c.fetch([(2, "acme")]);
    c.advance(secs(1));
    assert!(c.parked_offsets().is_empty(), "2 waits behind 1, which is under way");
    c.answer(1, status(201));
    assert_eq!(c.sent(), [2]);
}

#[test]
fn a_call_that_was_under_way_when_an_outage_ended_does_not_count_against_its_record() {
    for failure in [503, 404] {
        let mut c = Bench::one_partition();
        c.fetch([(0, "acme"), (1, "globex")]);
        let end = c.now.after(secs(40));
        while c.now < end {
            for offset in c.sent() {
                c.answer(offset, status(failure));
            }
            c.advance(millis(100));
        }
        while c.sent().is_empty() {
            c.advance(millis(100));
        }
        c.advance(secs(20)); // both are under way
        c.answer(1, status(201));
        c.answer(0, status(failure)); // said before that, and heard after it
        c.advance(secs(1));
        assert_eq!(c.finals.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1], "{failure}");
    }
}

#[test]
fn being_told_to_wait_is_no_failure() {
    let mut c = Bench::with(|settings| settings.retry_after_max = secs(10));
    c.fetch([(0, "acme"), (1, "globex")]);
    assert_eq!(c.sent(), [0, 1]);
    c.answer(0, Answer::Throttled { retry_after: secs(40) });
    c.answer(1, status(201)); // it works for others
    c.advance(secs(41));
    assert_eq!(c.sent(), [0]);
    c.answer(0, status(503)); // its first failure
    c.advance(secs(1));
    assert!(c.parked_offsets().is_empty(), "{:?}", c.finals);
}

#[test]
fn a_record_is_given_up_by_the_time_since_its_own_first_failure() {
    let mut c = Bench::with(|settings| settings.give_up_after = secs(100));
    c.parked = vec![ParkedAt {
        offset: 0,
        key: Some(b"acme"[..].into()),
        retry_after: secs(0),
        maybe_tried: false,
        unknown_below: None,
    }];
    c.assign(0, 5, "");
    assert_eq!(c.sent(), [0]); // it was parked behind another one, and has never failed
    c.works_for_another(10);
    c.advance(secs(200));
    c.answer(0, status(503));
    c.advance(secs(1));
    let outcome = c.finals.iter().rfind(|(offset, _)| *offset == 0).map(|(_, outcome)| outcome.clone());
    let Some(Outcome::Parked { state: ParkedState { failing_for, .. }, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(!failing_for.is_zero() && failing_for < secs(1), "{failing_for:?}");
}

#[test]
fn what_waits_behind_a_call_of_a_paused_key_is_not_parked_before_it() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "acme"), (2, "globex")]);
    assert_eq!(c.sent(), [0, 2]);
    c.input(Input::PauseKey { key: b"acme"[..].into() });
    c.fetch([(3, "acme")]);
    c.answer(2, status(201));
    c.advance(secs(1));
    // An owner that came now would find 1 and 3 parked, and try them before 0.
    assert!(c.parked_offsets().is_empty());
    c.answer(0, status(201));
    c.advance(secs(1));
    assert_eq!((c.parked_offsets(), c.sent()), (vec![1, 3], vec![]));
}

#[test]
fn a_record_that_is_prepared_when_its_key_is_paused_is_not_sent() {
    let mut c = Bench::one_partition();
    c.fetch_from(0, 0, "acme");
    let tieline_delivery::Output::Prepare { id, attempt, .. } = c.machine.poll(c.now) else { panic!("not prepared") };
    c.machine.handle(c.now, Input::PauseKey { key: b"acme"[..].into() });
    c.input(Input::Prepared { id, attempt, outcome: Prepared::Call });
    c.advance(secs(1));
    assert_eq!((c.sent(), c.parked_offsets()), (vec![], vec![0]));
}

#[test]
fn a_redriven_record_that_fills_the_window_pauses_fetching() {
    let mut c = Bench::with(|settings| {
        settings.on_dead_letter = OnDeadLetter::Hold;
        settings.window_records_max = 2;
    })
    .proven();
    c.fetch([(0, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    c.fetch([(1, "globex")]);
    assert!(c.paused_by().is_none());
    c.commits_by_itself = false;
    c.redrive(0, "acme");
    assert!(c.paused_by().is_some());
}

#[test]
fn a_dead_letter_whose_next_end_is_not_durable_is_not_redriven_again() {
    let mut c = Bench::with(|settings| {
        settings.on_dead_letter = OnDeadLetter::Hold;
        settings.order = Order::Partition;
    })
    .proven();
    c.fetch([(0, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    c.redrive(0, "acme");
    assert_eq!(c.sent(), [0, 0]);
    c.commits_by_itself = false;
    c.answer(0, Answer::AppliedUnreadable(reason("unreadable")));
    c.redrive(0, "acme"); // asked by somebody who does not know that yet
    c.advance(secs(1));
    assert!(c.sent().is_empty());
}

#[test]
fn where_a_dead_letter_is_redriven_in_place_an_owner_before_may_have_sent_it() {
    let mut c = Bench::with(|settings| {
        settings.on_dead_letter = OnDeadLetter::Hold;
        settings.order = Order::Partition;
    });
    c.holds = vec![Held { offset: 0, key: None }];
    c.assign(0, 1, "1.6.0000000000c0ffee+.1.0.0..");
    c.redrive(0, "");
    c.advance(secs(10));
    assert!(matches!(c.sends[..], [(0, _, true)]), "{:?}", c.sends);
    c.input(Input::Answered { id: c.id(0, 0), attempt: c.sends[0].1, answer: status(201), log: log() });
    c.advance(secs(1));
    assert!(matches!(c.finals[..], [(0, Outcome::Done)]), "{:?}", c.finals);
}

#[test]
fn a_success_that_is_heard_late_says_nothing_of_what_has_failed_since_it_was_sent() {
    for failure in [404, 503] {
        let mut c = Bench::one_partition();
        c.fetch([(0, "acme"), (1, "globex")]);
        assert_eq!(c.sent(), [0, 1]);
        c.advance(secs(1));
        c.answer(0, status(failure)); // the system fails from here on
        c.advance(secs(10));
        c.answer(1, status(201)); // sent before that
        let end = c.now.after(secs(60));
        while c.now < end {
            for offset in c.sent() {
                c.answer(offset, status(failure));
            }
            c.advance(millis(500));
        }
        assert_eq!(c.finals.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1], "{failure}");
    }
}

/// Has keys fail beside others until all are parked; then nothing comes but what is parked, and fails. Says how many calls
/// there were in a day of that, and whether it was taken for an outage.
fn parked_keys_that_come_up_and_fail(keys: i64) -> (usize, bool) {
    let mut c = Bench::with(|settings| settings.in_flight_max = 64);
    for step in 0..3 * keys + 110 {
        if step % 3 == 0 && step / 3 < keys {
            c.fetch_from(0, 10 * step, &format!("sick {step}"));
        }
        (1..10).for_each(|other| c.fetch_from(0, 10 * step + other, ""));
        for offset in c.sent() {
            c.answer(offset, status(if offset % 10 == 0 { 503 } else { 201 }));
        }
        c.advance(millis(500));
    }
    assert_eq!((c.machine.load().parked_keys, c.machine.outage()), (usize::try_from(keys).unwrap(), None));
    let (mut calls, mut outage) = (0, false);
    for _ in 0..8_640 {
        for offset in c.sent() {
            c.answer(offset, status(503));
            calls += 1;
        }
        outage |= c.machine.outage().is_some();
        c.advance(secs(10));
    }
    (calls, outage)
}

#[test]
fn a_few_sick_keys_that_come_up_again_and_again_are_no_outage() {
    for keys in [1, 3, 7] {
        let (calls, outage) = parked_keys_that_come_up_and_fail(keys);
        assert!(!outage && calls > 40, "{keys} keys: {calls} calls, outage: {outage}");
    }
}

#[test]
fn many_that_come_up_while_nothing_works_are_an_outage() {
    let (calls, outage) = parked_keys_that_come_up_and_fail(60);
    assert!(outage, "{calls} calls");
}
