//! Outages: a system that fails for everybody, and a flood of refusals.

use tieline_delivery::{Outcome, Prepared};

use crate::bench::{Bench, millis, reason, secs, status};

fn many(c: &mut Bench, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        c.fetch_from(0, offset, &format!("key {offset}"));
    }
}

/// Answers whatever is sent like this, for as long; says how many calls there were.
fn answers(c: &mut Bench, code: u16, lasting: std::time::Duration) -> usize {
    let end = c.now.after(lasting);
    let mut calls = 0;
    while c.now < end {
        for offset in c.sent() {
            c.answer(offset, status(code));
            calls += 1;
        }
        c.advance(millis(20));
    }
    calls
}

#[test]
fn a_system_that_fails_for_everybody_is_called_by_one_at_a_time_and_nothing_is_parked_or_buried() {
    let mut c = Bench::one_partition().proven();
    many(&mut c, 0..500);
    let calls = answers(&mut c, 503, secs(600));
    assert!((100..250).contains(&calls), "{calls} calls in ten minutes");
    let outage = c.machine.outage().expect("an outage");
    assert_eq!(outage.reason, reason("http-503"));
    assert!(outage.lasting > secs(595) && outage.probes > 90, "{outage:?}");
    assert!(c.finals.is_empty());
    assert_eq!(c.committed(), 0);
}

#[test]
fn after_an_outage_all_is_delivered_soon_and_the_calls_climb() {
    let mut c = Bench::one_partition().proven();
    many(&mut c, 0..200);
    answers(&mut c, 503, secs(120));
    let mut waves = Vec::new();
    let healed = c.now;
    while c.finals.len() < 200 && c.now < healed.after(secs(20)) {
        let sent = c.sent();
        waves.extend((!sent.is_empty()).then_some(sent.len()));
        for offset in sent {
            c.answer(offset, status(201));
        }
        c.advance(millis(20));
    }
    assert_eq!(waves[..5], [1, 1, 2, 4, 8], "{waves:?}");
    assert_eq!(c.finals.len(), 200);
    assert!(c.now.since(healed) < secs(10), "{:?}", c.now.since(healed));
}

#[test]
fn patience_begins_anew_when_an_outage_is_over() {
    let mut c = Bench::one_partition().proven();
    many(&mut c, 0..20);
    answers(&mut c, 503, secs(120));
    while c.machine.outage().is_some() {
        for offset in c.sent() {
            c.answer(offset, status(if offset == 0 { 503 } else { 201 }));
        }
        c.advance(millis(20));
    }
    let end = c.now.after(secs(20));
    while c.now < end {
        for offset in c.sent() {
            c.answer(offset, status(if offset == 0 { 503 } else { 201 }));
        }
        c.advance(millis(20));
    }
    assert_eq!(c.parked_offsets(), [] as [i64; 0]);
}

#[test]
fn a_key_that_works_shows_that_others_do_not_fail_for_everybody() {
    let mut c = Bench::one_partition().proven();
    many(&mut c, 0..12);
    answers(&mut c, 503, secs(60));
    assert!(c.machine.outage().is_some());
    c.fetch([(100, "fine")]);
    let end = c.now.after(secs(20));
    while c.now < end {
        for offset in c.sent() {
            c.answer(offset, status(if offset == 100 { 201 } else { 503 }));
        }
        c.advance(millis(20));
    }
    assert!(c.finals.contains(&(100, Outcome::Done)), "{:?}", c.finals);
}

#[test]
fn the_first_refusals_of_an_operation_that_has_never_worked_are_not_buried() {
    let mut c = Bench::one_partition();
    many(&mut c, 0..2);
    answers(&mut c, 422, secs(60));
    assert!(c.finals.is_empty() && c.machine.outage().is_none());
    assert_eq!(c.machine.stuck().len(), 2);
    many(&mut c, 2..3);
    answers(&mut c, 422, secs(60));
    assert_eq!(c.machine.outage().expect("a halt").reason.code, "flood");
    assert_eq!((c.finals.len(), c.committed()), (0, 0));

    // The mapping is put right, as one record shows: what is refused still is the records' own fault.
    many(&mut c, 3..4);
    let end = c.now.after(secs(60));
    while c.now < end {
        for offset in c.sent() {
            c.answer(offset, status(if offset == 3 { 201 } else { 422 }));
        }
        c.advance(millis(20));
    }
    let dead = c.finals.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Dead { .. })).count();
    assert_eq!((dead, c.committed(), c.machine.outage()), (3, 4, None));
}

#[test]
fn a_flood_of_refusals_halts_and_is_not_buried() {
    let mut c = Bench::one_partition().proven();
    for offset in 0..60 {
        c.prepare_as(offset, Prepared::Refused(reason("unmappable")));
    }
    many(&mut c, 0..60);
    c.advance(secs(5));
    assert_eq!(c.machine.outage().expect("a halt").reason.code, "flood");
    let dead = c.finals.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Dead { .. })).count();
    assert_eq!(dead, 19);
}

#[test]
fn a_person_may_say_that_a_refused_record_is_at_fault() {
    let mut c = Bench::one_partition();
    many(&mut c, 0..1);
    c.fetch([(1, "key 0")]);
    answers(&mut c, 422, secs(1));
    let id = c.id(0, 0);
    c.input(tieline_delivery::Input::Bury { id });
    c.advance(secs(1));
    assert!(matches!(c.finals[..], [(0, Outcome::Dead { .. })]), "{:?}", c.finals);
    assert_eq!(c.sent(), [1]);
}

#[test]
fn a_person_may_say_that_a_record_is_at_fault_which_fails_as_in_an_outage() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "acme")]);
    c.answer(0, status(404));
    let id = c.id(0, 0);
    c.input(tieline_delivery::Input::Bury { id });
    assert!(c.finals.is_empty() && c.machine.is_over(id) == Some(false)); // it is not stuck yet
    answers(&mut c, 404, secs(60));
    c.input(tieline_delivery::Input::Bury { id });
    c.advance(secs(30));
    assert!(matches!(c.finals[..], [(0, Outcome::Dead { .. })]), "{:?}", c.finals);
    assert_eq!((c.machine.is_over(id), c.machine.is_over(c.id(0, 9)), c.sent()), (Some(true), None, vec![1]));
}

#[test]
fn an_outcome_that_cannot_be_known_is_buried_and_says_nothing_of_the_mapping() {
    let mut c = Bench::one_partition();
    many(&mut c, 0..30);
    for offset in c.sent() {
        c.answer(offset, tieline_delivery::Answer::Refused(reason(tieline_delivery::OUTCOME_UNKNOWN)));
    }
    for offset in c.sent() {
        c.answer(offset, tieline_delivery::Answer::Refused(reason(tieline_delivery::OUTCOME_UNKNOWN)));
    }
    c.advance(secs(1));
    assert_eq!((c.finals.len(), c.machine.outage()), (30, None));
}
