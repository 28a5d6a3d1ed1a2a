//! What waits for what.

use tieline_delivery::{Effect, OnDeadLetter, Order, Outcome, PauseReason, Prepared};

use crate::bench::{Bench, millis, reason, secs, status};

#[test]
fn a_key_waits_behind_its_own_failure_and_no_other() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "globex"), (2, "acme")]);
    assert_eq!(c.sent(), [0, 1]); // acme's second record waits for its first

    c.answer(1, status(201));
    c.answer(0, status(503));
    assert!(c.sent().is_empty()); // the retry is not due yet
    assert_eq!(c.committed(), 0); // 1 is done, but not what is before it

    c.advance(secs(1));
    assert_eq!(c.sent(), [0]); // the same record again, before its successor
    c.answer(0, status(201));
    assert_eq!(c.sent(), [2]);
}

#[test]
fn records_without_a_key_wait_for_nothing() {
    let mut c = Bench::one_partition();
    c.fetch([(0, ""), (1, ""), (2, "")]);
    assert_eq!(c.sent(), [0, 1, 2]);
}

#[test]
fn order_partition_is_one_lane_for_each_partition() {
    let mut c = Bench::with(|settings| settings.order = Order::Partition);
    c.assign(1, 0, "");
    c.fetch_from(1, 0, "initech");
    c.fetch([(0, "acme"), (1, ""), (2, "globex")]);
    assert_eq!(c.sent_of_all(), [(1, 0), (0, 0)]);
    c.answer_of(0, 0, status(201));
    assert_eq!(c.sent_of_all(), [(0, 1)]);
}

#[test]
fn order_none_holds_nothing_up() {
    let mut c = Bench::with(|settings| settings.order = Order::None);
    c.fetch([(0, "acme"), (1, "acme"), (2, "acme")]);
    assert_eq!(c.sent(), [0, 1, 2]);
    c.answer(0, status(503));
    c.answer(1, status(201));
    c.answer(2, status(201));
    assert_eq!(c.committed(), 0);
}

#[test]
fn no_more_calls_than_allowed_are_under_way() {
    let mut c = Bench::with(|settings| settings.in_flight_max = 2);
    c.fetch([(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "e")]);
    assert_eq!(c.sent(), [0, 1]);
    assert_eq!(c.prepared, [0, 1, 2, 3]); // and as many are prepared ahead
    c.answer(1, status(201));
    assert_eq!(c.sent(), [2]);
}

#[test]
fn a_busy_partition_does_not_starve_another() {
    let mut c = Bench::with(|settings| settings.in_flight_max = 1);
    c.assign(1, 0, "");
    c.sent_of_all();
    for offset in 0..100 {
        c.fetch_from(0, offset, "");
    }
    c.fetch_from(1, 0, "");
    let mut turns = 0;
    while let Some((partition, offset)) = c.sent_of_all().pop()
        && partition == 0
    {
        c.answer_of(0, offset, status(201));
        turns += 1;
    }
    assert!(turns <= 3, "partition 1 had to wait for {turns} turns of partition 0");
}

#[test]
fn a_busy_key_does_not_starve_another() {
    let mut c = Bench::with(|settings| settings.in_flight_max = 1);
    for offset in 0..50 {
        c.fetch_from(0, offset, "acme");
    }
    c.fetch_from(0, 50, "globex");
    assert_eq!(c.sent(), [0]);
    c.answer(0, status(201));
    assert_eq!(c.sent(), [50]);
}

#[test]
fn behind_a_dead_letter_the_key_goes_on_once_that_is_durable() {
    let mut c = Bench::one_partition().proven();
    c.commits_by_itself = false;
    c.prepare_as(0, Prepared::Refused(reason("unmappable")));
    c.fetch([(0, "acme"), (1, "acme")]);
    assert!(c.sent().is_empty());
    c.advance(secs(1));
    assert!(c.sent().is_empty()); // asked for, but not durable: after a crash now, 0 would be tried again
    c.commit_is_made(true);
    assert_eq!(c.sent(), [1]);
    assert_eq!(c.finals, [(0, Outcome::Dead { reason: reason("unmappable"), effect: Effect::None, holds: false })]);
}

#[test]
fn hold_parks_the_key_behind_its_dead_letter_and_lets_the_others_go() {
    let mut c = Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Hold).proven();
    c.fetch([(0, "acme"), (1, "acme"), (2, "globex")]);
    c.answer(0, status(422));
    c.answer(2, status(201));
    c.sent();
    c.fetch([(3, "acme"), (4, "globex")]);
    c.advance(secs(100));
    assert_eq!(c.sent(), [4]);
    c.answer(4, status(201));
    c.advance(secs(1));
    assert_eq!((c.paused_by(), c.committed(), c.parked_offsets()), (None, 5, vec![1, 3]));
    assert_eq!((c.machine.load().held_keys, c.machine.load().parked_records), (1, 2));
}

#[test]
fn hold_pauses_a_partition_whose_records_wait_for_each_other() {
    let change = |settings: &mut tieline_delivery::Settings| {
        settings.order = tieline_delivery::Order::Partition;
        settings.on_dead_letter = OnDeadLetter::Hold;
    };
    let mut c = Bench::with(change).proven();
    c.fetch([(0, "acme"), (1, "globex")]);
    c.answer(0, status(422));
    c.advance(secs(100));
    assert_eq!(c.paused_by(), Some(&PauseReason::Held { id: c.id(0, 0) }));
    assert_eq!(c.sent(), [0]);
    c.discard(0, "acme");
    c.advance(secs(1));
    assert_eq!((c.sent(), c.paused_by()), (vec![1], None));

    // Again, and now the dead letter is delivered after all, before what waits behind it.
    c.answer(1, status(422));
    c.fetch([(2, "acme")]);
    c.advance(secs(1));
    c.redrive(1, "globex");
    assert_eq!(c.sent(), [1]);
    c.answer(1, status(201));
    assert_eq!((c.sent(), c.paused_by()), (vec![2], None));
    c.advance(secs(1));
    assert_eq!(c.committed(), 2);
}

#[test]
fn hold_does_not_hold_what_has_no_key() {
    let mut c = Bench::with(|settings| settings.on_dead_letter = OnDeadLetter::Hold).proven();
    c.fetch([(0, ""), (1, "")]);
    c.answer(0, status(422));
    c.answer(1, status(201));
    c.advance(secs(1));
    assert_eq!(c.paused_by(), None);
    assert_eq!(c.committed(), 2);
}

/// Three partitions with a backlog, and 12 places; calls of the last one take ten rounds, all others one. Says how many of the
/// first two were done, and how many places the last one held at most.
fn beside_a_slow_partition(rounds: u32) -> (usize, usize) {
    let mut c = Bench::with(|settings| settings.in_flight_max = 12);
    c.assign(1, 0, "");
    c.assign(2, 0, "");
    for offset in 0..300 {
        (0..3).for_each(|partition| c.fetch_from(partition, offset, ""));
    }
    let (mut slow, mut done, mut most) = (Vec::new(), 0, 0);
    for round in 0..rounds {
        let sent = c.sent_of_all();
        slow.extend(sent.iter().filter(|(partition, _)| *partition == 2).map(|(_, offset)| (*offset, round + 10)));
        most = most.max(slow.len());
        for (partition, offset) in sent.into_iter().filter(|(partition, _)| *partition != 2) {
            c.answer_of(partition, offset, status(201));
            done += 1;
        }
        for (offset, _) in slow.extract_if(.., |(_, over)| *over <= round) {
            c.answer_of(2, offset, status(201));
        }
        c.advance(millis(10));
    }
    (done, most)
}

#[test]
fn a_partition_whose_calls_are_slow_holds_its_part_of_the_places_and_no_more() {
    let (done, most) = beside_a_slow_partition(50);
    assert!(most <= 5, "it held {most} of 12 places, and a third is its part");
    assert!(done >= 50 * 7, "{done} calls of the others were made in 50 rounds, of 400 that their places allow");
}

#[test]
fn a_partition_that_alone_has_work_takes_all_places_and_gives_them_back() {
    let mut c = Bench::with(|settings| settings.in_flight_max = 12);
    c.assign(1, 0, "");
    for offset in 0..100 {
        c.fetch_from(0, offset, "");
    }
    let sent = c.sent_of_all();
    assert_eq!(sent.len(), 12);
    for offset in 0..100 {
        c.fetch_from(1, offset, "");
    }
    // What the first one has ready by now is sent after what the second one has.
    for (partition, offset) in sent.into_iter().take(6) {
        c.answer_of(partition, offset, status(201));
    }
    let of_1 = c.sent_of_all().iter().filter(|(partition, _)| *partition == 1).count();
    assert!(of_1 >= 5, "of 6 places that came free, {of_1} went to the one that had none");
}
