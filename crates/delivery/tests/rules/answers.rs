//! What an answer means: DESIGN.md, "What an answer means".

use std::time::Duration;

use tieline_delivery::{Answer, Effect, Input, Outcome, PauseReason, Prepared};

use crate::bench::{Bench, log, millis, reason, secs, status};

/// Answers the record like this whenever it is sent, for as long.
fn fail_for(c: &mut Bench, offset: i64, answer: &Answer, lasting: Duration) -> usize {
    let end = c.now.after(lasting);
    let mut attempts = 0;
    while c.now < end {
        if c.sent().contains(&offset) {
            c.answer(offset, answer.clone());
            attempts += 1;
        }
        c.advance(millis(50));
    }
    attempts
}

#[test]
fn what_was_not_applied_is_prepared_anew() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    c.answer(0, status(503));
    c.advance(secs(1));
    assert_eq!(c.prepared, [0, 0]);
    assert_eq!(c.sends, [(0, 1, false), (0, 2, false)]);
}

#[test]
fn an_unknown_outcome_is_sent_again_as_it_was_until_the_end() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    c.answer(0, status(500));
    c.advance(secs(1));
    c.answer(0, status(503)); // this attempt was not applied; the one before still may have been
    c.advance(secs(1));
    assert_eq!(c.prepared, [0]);
    assert_eq!(c.sends, [(0, 1, false), (0, 2, true), (0, 3, true)]);
}

#[test]
fn out_of_patience_without_a_sign_that_the_operation_works_is_shown_and_still_tried() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "globex"), (2, "globex")]);
    let attempts = fail_for(&mut c, 0, &status(503), secs(60));
    assert!((8..80).contains(&attempts), "{attempts} attempts in a minute");
    let (id, why) = (c.id(0, 0), reason("http-503"));
    let stuck = c.machine.stuck();
    assert_eq!((stuck.len(), stuck[0].id, stuck[0].attempts as usize), (1, id, attempts));
    assert_eq!((stuck[0].key.as_deref(), &stuck[0].reason), (Some(&b"acme"[..]), &why));
    assert!(stuck[0].retry_at > c.now && !stuck[0].outage);
    assert_eq!((c.paused_by(), c.parked_offsets()), (None, vec![]));

    c.answer(1, status(201));
    c.advance(secs(10));
    c.answer(0, status(201));
    assert!(c.machine.stuck().is_empty());
}

#[test]
fn out_of_patience_pauses_a_partition_whose_records_wait_for_each_other() {
    let mut c = Bench::with(|settings| settings.order = tieline_delivery::Order::Partition);
    c.assign(1, 0, "");
    c.fetch([(0, "acme"), (1, "globex")]);
    for second in 0..60 {
        c.fetch_from(1, second, "acme");
        for (partition, offset) in c.sent_of_all() {
            c.answer_of(partition, offset, status(if partition == 0 { 503 } else { 201 }));
        }
        c.advance(secs(1));
    }
    let (id, reason) = (c.id(0, 0), reason("http-503"));
    assert_eq!(c.paused_by(), Some(&PauseReason::OutOfPatience { id, reason }));
}

#[test]
fn a_conflict_that_lasts_is_dead() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "acme")]);
    fail_for(&mut c, 0, &status(409), secs(60));
    let Some((0, Outcome::Dead { reason, effect: Effect::None, .. })) = c.finals.first() else {
        panic!("{:?}", c.finals)
    };
    assert_eq!(reason.code, "conflict");
    assert!(reason.detail.contains("http-409"), "{}", reason.detail);
    assert_eq!(c.sends.last(), Some(&(1, 1, false)));
}

#[test]
fn one_conflict_after_a_long_outage_is_not_dead() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    fail_for(&mut c, 0, &status(503), secs(60));
    c.advance(secs(10));
    c.answer(0, status(409));
    c.advance(secs(1));
    assert!(c.finals.is_empty());
}

#[test]
fn absent_is_dead_only_if_the_operation_works_for_another_key() {
    let mut alone = Bench::one_partition();
    alone.fetch([(0, "acme")]);
    fail_for(&mut alone, 0, &status(404), secs(60));
    assert!(alone.finals.is_empty());
    assert_eq!(alone.machine.stuck().len(), 1);

    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    c.answer(0, status(404));
    c.works_for_another(1);
    fail_for(&mut c, 0, &status(404), secs(60));
    assert_eq!(c.finals[1], (0, Outcome::Dead { reason: reason("http-404"), effect: Effect::None, holds: false }));
}

#[test]
fn a_refused_credential_is_an_outage_at_once_and_never_a_dead_letter() {
    for code in [401, 501] {
        let mut c = Bench::one_partition();
        c.fetch([(0, "acme")]);
        c.answer(0, status(code));
        let why = reason(&format!("http-{code}"));
        assert_eq!(c.machine.outage().expect("an outage").reason, why);
        fail_for(&mut c, 0, &status(code), secs(600));
        assert!(c.finals.is_empty() && c.machine.stuck()[0].outage);
        c.advance(secs(10));
        c.answer(0, status(201));
        assert_eq!(c.machine.outage(), None);
    }
}

#[test]
fn after_a_retry_after_nobody_calls_before_its_time() {
    let mut c = Bench::one_partition();
    c.assign(1, 0, "");
    c.fetch([(0, "acme"), (1, "globex")]);
    assert_eq!(c.sent(), [0, 1]);
    c.answer(0, Answer::Throttled { retry_after: secs(7) });
    c.answer(1, Answer::Throttled { retry_after: secs(3) });
    c.fetch_from(1, 0, "initech");
    c.advance(secs(7) - Duration::from_nanos(1));
    assert!(c.sent().is_empty());
    c.advance(Duration::from_nanos(1));
    assert_eq!(c.sent_of_all(), [(0, 0), (1, 0), (0, 1)]);
    assert!(c.sends.iter().all(|(_, attempt, _)| *attempt == 1)); // no attempt is counted
}

#[test]
fn a_retry_after_beyond_what_is_waited_for_silently_is_an_outage() {
    let mut c = Bench::with(|settings| settings.retry_after_max = secs(60));
    c.fetch([(0, "acme")]);
    c.answer(0, Answer::Throttled { retry_after: secs(61) });
    let reason = c.machine.outage().expect("an outage").reason;
    assert_eq!((reason.code.as_str(), reason.detail.as_str()), ("throttled", "told to wait 61 s"));
    c.sent();
    c.advance(secs(61));
    assert_eq!(c.sent(), [0]);
    c.answer(0, status(201));
    assert_eq!(c.machine.outage(), None);
}

#[test]
fn an_effect_whose_answer_cannot_be_read_is_a_dead_letter_that_says_so() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    c.answer(0, Answer::AppliedUnreadable(reason("contract")));
    c.advance(secs(1));
    assert_eq!(c.finals, [(0, Outcome::Dead { reason: reason("contract"), effect: Effect::Exists, holds: false })]);
    assert_eq!(c.committed(), 1);
}

#[test]
fn what_does_not_concern_the_consumer_is_skipped_without_a_call() {
    let mut c = Bench::one_partition();
    c.prepare_as(0, Prepared::Skip);
    c.fetch([(0, "acme"), (1, "acme")]);
    assert_eq!(c.sent(), [1]);
    c.advance(secs(1));
    assert_eq!(c.finals, [(0, Outcome::Skipped)]);
}

#[test]
fn what_cannot_be_prepared_now_was_never_sent() {
    let mut c = Bench::one_partition();
    c.prepare_as(0, Prepared::NotNow(status(500), log()));
    c.fetch([(0, "acme"), (1, "globex")]);
    assert_eq!(c.sent(), [1]);
    c.advance(secs(1));
    assert_eq!(c.sends, [(1, 1, false), (0, 2, false)]); // an attempt, but no unknown outcome
}

#[test]
fn a_throttled_look_up_holds_up_preparing_and_not_sending() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    c.answer(0, status(500)); // has a request, and is sent again as it was
    c.prepare_as(1, Prepared::NotNow(Answer::Throttled { retry_after: secs(5) }, log()));
    c.fetch([(1, "globex")]);
    c.sent();
    c.advance(secs(4));
    assert_eq!(c.sent(), [0]);
    c.advance(secs(1));
    assert_eq!(c.sent(), [1]);
}

#[test]
fn an_answer_to_an_attempt_that_is_over_counts_for_nothing() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    c.answer(0, status(503));
    c.advance(secs(1));
    let late = Input::Answered { id: c.id(0, 0), attempt: 1, answer: Answer::Applied, log: log() };
    c.input(late);
    c.advance(secs(1));
    assert!(c.finals.is_empty());
    assert_eq!(c.machine.stale_inputs(), 1);
}
