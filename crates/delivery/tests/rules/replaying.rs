//! What is delivered again, by order of somebody.

use tieline_delivery::{ByClass, Class, Input, OnDeadLetter, Order, Outcome, Partition, Prepared, Replayed};

use crate::bench::{Bench, reason, secs, status};

/// Old records of these keys, at the offsets from 0, all done and committed.
fn with_old(mut c: Bench, keys: &[&str]) -> Bench {
    for (offset, key) in (0..).zip(keys) {
        c.fetch_from(0, offset, key);
        c.pump();
        c.answer(offset, status(201));
    }
    c.advance(secs(1));
    c.sent();
    c.finals.clear();
    c
}

fn replay(c: &mut Bench, offset: i64, key: &str, newest: Option<i64>, overtakes: bool) {
    let (id, key) = (c.id(0, offset), (!key.is_empty()).then(|| key.as_bytes().into()));
    let (maybe_applied, mapped_otherwise) = (false, false);
    let record = offset;
    c.input(Input::Replay(Replayed {
        id,
        key,
        bytes: 100,
        record,
        maybe_applied,
        mapped_otherwise,
        newest,
        overtakes,
    }));
}

#[test]
fn an_old_record_is_delivered_again_and_live_records_of_its_key_wait_for_it() {
    let mut c = with_old(Bench::one_partition(), &["acme", "globex"]);
    replay(&mut c, 0, "acme", Some(0), false);
    assert_eq!(c.sent(), [0]);
    c.fetch([(2, "acme"), (3, "globex")]);
    assert_eq!(c.sent(), [3]);
    c.answer(0, status(201));
    assert_eq!(c.sent(), [2]);
    c.advance(secs(1));
    assert_eq!((c.finals.first(), c.committed()), (Some(&(0, Outcome::Done)), 2));
}

#[test]
fn behind_a_newer_record_that_is_done_it_is_not_sent_unless_it_overtakes() {
    let mut c = with_old(Bench::one_partition(), &["acme", "acme"]);
    replay(&mut c, 0, "acme", Some(1), false); // as the ledger has it
    assert_eq!((c.sent(), c.machine.load().replayed), (vec![], 0));
    replay(&mut c, 0, "acme", Some(1), true);
    assert_eq!(c.sent(), [0]);
}

#[test]
fn a_newer_record_that_is_done_and_not_durable_is_known() {
    let mut c = with_old(Bench::one_partition(), &["acme"]);
    c.commits_by_itself = false;
    c.fetch([(1, "acme")]);
    c.sent();
    c.answer(1, status(201));
    replay(&mut c, 0, "acme", Some(0), false);
    assert!(c.sent().is_empty());
    c.advance(secs(1)); // the commit of both is asked for
    replay(&mut c, 0, "acme", Some(0), false);
    assert!(c.sent().is_empty());
}

#[test]
fn behind_a_newer_record_that_is_under_way_it_waits_for_what_becomes_of_that() {
    let mut c = with_old(Bench::one_partition(), &["acme", "globex"]);
    c.prepare_as(3, Prepared::NotNow(status(503), crate::bench::log()));
    c.prepare_as(3, Prepared::Skip);
    c.fetch([(2, "acme"), (3, "globex")]);
    assert_eq!(c.sent(), [2]);
    replay(&mut c, 0, "acme", Some(0), false);
    replay(&mut c, 1, "globex", Some(1), false);
    assert!(c.sent().is_empty());
    c.answer(2, status(201));
    c.advance(secs(1));
    assert_eq!(c.sent(), [1]); // that one was not for the consumer: nothing newer is done
    let overtaken = |(offset, outcome): &(i64, Outcome)| (*outcome == Outcome::Overtaken).then_some(*offset);
    assert_eq!(c.finals.iter().filter_map(overtaken).collect::<Vec<_>>(), [0]);
}

#[test]
fn it_is_not_taken_where_its_key_is_parked_held_or_paused_or_where_it_is_live_work() {
    let mut c = with_old(Bench::with(|s| s.on_dead_letter = OnDeadLetter::Hold), &["acme", "globex", "initech"]);
    c.prepare_as(3, Prepared::Refused(reason("unmappable")));
    c.fetch([(3, "acme")]);
    c.input(Input::PauseKey { key: b"globex"[..].into() });
    let takes = |c: &Bench, offset, key: &str| c.machine.takes_replay(c.id(0, offset), Some(&key.as_bytes().into()));
    assert!(!takes(&c, 0, "acme") && !takes(&c, 1, "globex") && takes(&c, 2, "initech"));
    c.fetch([(4, "initech")]);
    assert!(!takes(&c, 4, "initech"));
    replay(&mut c, 0, "acme", None, false);
    assert_eq!(c.machine.load().replayed, 0);
}

#[test]
fn it_fails_as_any_record_does_and_live_records_wait_behind_its_dead_letter() {
    let mut c = with_old(Bench::with(|s| s.on_dead_letter = OnDeadLetter::Hold), &["acme", "globex"]);
    replay(&mut c, 0, "acme", Some(0), false);
    assert_eq!(c.sent(), [0]);
    c.fetch([(2, "acme")]);
    c.answer(0, status(422));
    c.advance(secs(1));
    assert!(c.sent().is_empty());
    assert!(
        matches!(c.finals[..], [(0, Outcome::Dead { holds: true, .. }), (2, Outcome::Parked { .. })]),
        "{:?}",
        c.finals
    );
}

#[test]
fn live_work_goes_before_it() {
    let room = |c: &Bench| c.machine.replay_room(Partition(0), 0);
    let mut c = with_old(Bench::with(|s| s.in_flight_max = 8), &["acme"]);
    assert_eq!(room(&c), 2); // a quarter
    c.fetch([(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "f"), (7, "g")]);
    assert_eq!(room(&c), 1);
    c.fetch([(8, "h"), (9, "i")]);
    assert_eq!(room(&c), 0);
    c.answer_all(&status(201));
    assert_eq!(room(&c), 2);
    c.input(Input::PauseAll { by: "c1".to_owned() });
    assert_eq!(room(&c), 0);
}

#[test]
fn what_an_earlier_owner_may_have_sent_is_met_first() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "globex")]);
    c.answer(0, status(201));
    c.advance(secs(1));
    let metadata = c.metadata_text();
    c.assign(0, 1, &metadata);
    assert_eq!(c.machine.replay_room(Partition(0), 2), 0);
    c.fetch([(1, "globex")]);
    assert!(c.machine.replay_room(Partition(0), 2) > 0);
}

#[test]
fn where_nothing_keeps_an_order_nothing_is_overtaken() {
    let mut c = with_old(Bench::with(|s| s.order = Order::None), &["acme", "acme"]);
    replay(&mut c, 0, "acme", Some(1), false);
    assert_eq!(c.sent(), [0]);
}

#[test]
fn in_an_outage_one_finds_out_whether_it_is_over_where_there_is_no_live_work() {
    let mut c = with_old(Bench::one_partition(), &["acme", "globex"]);
    c.fetch([(2, "initech")]);
    c.answer(2, status(401));
    assert!(c.machine.outage().is_some());
    assert_eq!(c.machine.replay_room(Partition(0), 0), 0);
    c.prepare_as(2, Prepared::Skip);
    c.advance(secs(60)); // what has failed is not wanted any more, and nobody else finds out
    assert!(c.machine.outage().is_some());
    assert_eq!(c.machine.replay_room(Partition(0), 0), 1);
    replay(&mut c, 0, "acme", Some(0), false);
    assert_eq!(c.machine.replay_room(Partition(0), 0), 0);
    c.answer(0, status(201));
    assert!(c.machine.outage().is_none());
}

#[test]
fn a_live_call_goes_before_a_replayed_one_that_has_waited_for_longer() {
    let mut c = with_old(Bench::one_partition(), &["acme", "globex"]);
    c.assign(1, 10, "");
    c.input(Input::Limits { room: false });
    replay(&mut c, 0, "acme", Some(0), false);
    replay(&mut c, 1, "globex", Some(1), false);
    c.fetch_from(1, 10, "initech");
    c.fetch_from(0, 2, "hooli");
    c.advance(secs(1));
    assert_eq!(c.machine.sendable(), ByClass { live: 2, replayed: 2 });
    c.input(Input::Limits { room: true });
    assert_eq!(c.sent(), [10, 2, 0, 1]);
    assert_eq!(
        [2, 10, 0, 1].map(|offset| c.classes[&offset]),
        [Class::Live, Class::Live, Class::Replayed, Class::Replayed]
    );
}

#[test]
fn a_replayed_call_that_a_live_record_of_its_key_waits_behind_goes_as_a_live_one() {
    let mut c = with_old(Bench::one_partition(), &["acme", "globex", "initech"]);
    c.input(Input::Limits { room: false });
    replay(&mut c, 0, "acme", Some(0), false);
    replay(&mut c, 1, "globex", Some(1), false);
    c.pump();
    assert_eq!(c.machine.sendable(), ByClass { live: 0, replayed: 2 });
    c.fetch([(3, "globex")]);
    assert_eq!(c.machine.sendable(), ByClass { live: 1, replayed: 1 });
    c.input(Input::Limits { room: true });
    assert_eq!(c.sent(), [1, 0]);
    assert_eq!((c.classes[&0], c.classes[&1]), (Class::Replayed, Class::Live));
    // The next one of that key that is replayed has nothing live behind it.
    c.answer(1, status(201));
    c.answer(3, status(201));
    replay(&mut c, 2, "initech", Some(2), false);
    assert_eq!((c.sent(), c.classes[&2]), (vec![3, 2], Class::Replayed));
}

#[test]
fn what_may_have_been_replayed_under_another_mapping_is_sent_as_such() {
    let mut c = with_old(Bench::one_partition(), &["acme", "globex"]);
    for (offset, key, mapped_otherwise) in [(0, "acme", true), (1, "globex", false)] {
        let (id, key, newest) = (c.id(0, offset), Some(key.as_bytes().into()), Some(offset));
        let replayed = Replayed {
            id,
            key,
            bytes: 100,
            record: offset,
            maybe_applied: true,
            mapped_otherwise,
            newest,
            overtakes: false,
        };
        c.input(Input::Replay(replayed));
    }
    assert_eq!((c.sent(), &c.mapped_otherwise), (vec![0, 1], &vec![0]));
}
