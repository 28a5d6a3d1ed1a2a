//! Limits of the system, as the core sees them: no call is handed out while they have no room.

use tieline_delivery::{ByClass, Input};

use crate::bench::{Bench, secs, status};

fn live(live: usize) -> ByClass<usize> {
    ByClass { live, replayed: 0 }
}

#[test]
fn without_room_records_wait_in_their_order_and_nothing_else_does() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme")]);
    assert_eq!(c.sent(), [0]);
    c.input(Input::Limits { room: false });
    c.fetch([(1, "globex"), (2, "acme"), (3, "initech")]);
    // What is under way ends, and is committed; what waits occupies no place and is no failure.
    c.answer(0, status(201));
    c.advance(secs(100));
    assert_eq!((c.sent(), c.committed()), (vec![], 1));
    let load = c.machine.load();
    assert_eq!((load.in_flight, load.prepared, c.machine.sendable()), (0, 3, live(3)));
    assert!(c.machine.stuck().is_empty());

    c.input(Input::Limits { room: true });
    assert_eq!(c.sent(), [1, 3, 2]);
    assert_eq!(c.machine.sendable(), live(0));
}

#[test]
fn what_could_be_sent_is_what_there_is_room_for_otherwise() {
    let mut c = Bench::one_partition();
    c.input(Input::Limits { room: false });
    let keys: Vec<String> = (0..40).map(|n| format!("key-{n}")).collect();
    for (offset, key) in (0..).zip(&keys) {
        c.fetch([(offset, key)]);
    }
    assert_eq!(c.machine.sendable(), live(16), "as many as may be in flight");
    c.input(Input::PauseAll { by: "c1".to_owned() });
    assert_eq!(c.machine.sendable(), live(0));
}
