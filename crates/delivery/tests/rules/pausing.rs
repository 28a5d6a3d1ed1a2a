//! What people stop and let go on.

use tieline_delivery::{Input, Outcome, PauseReason};

use crate::bench::{Bench, secs, status};

fn key(key: &str) -> tieline_delivery::Key {
    key.as_bytes().into()
}

#[test]
fn a_paused_consumer_begins_nothing_and_what_is_under_way_ends() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "acme"), (2, "globex")]);
    assert_eq!(c.sent(), [0, 2]);
    c.input(Input::PauseAll { by: "c1".to_owned() });
    assert_eq!(c.paused_by(), Some(&PauseReason::ByOrder { by: "c1".to_owned() }));
    c.answer(0, status(201));
    c.answer(2, status(503));
    c.advance(secs(100));
    assert_eq!((c.sent(), c.committed()), (vec![], 1));
    c.input(Input::ResumeAll);
    assert_eq!((c.sent(), c.paused_by()), (vec![1, 2], None));
}

#[test]
fn a_paused_key_is_parked_and_goes_on_in_order() {
    let mut c = Bench::one_partition();
    c.fetch([(0, "acme"), (1, "acme"), (2, "globex")]);
    assert_eq!(c.sent(), [0, 2]);
    c.input(Input::PauseKey { key: key("acme") });
    c.fetch([(3, "acme")]);
    c.answer(0, status(201)); // was under way
    c.answer(2, status(201));
    c.advance(secs(100));
    assert_eq!((c.sent(), c.committed(), c.parked_offsets()), (vec![], 4, vec![1, 3]));
    c.input(Input::ResumeKey { key: key("acme") });
    for offset in [1, 3] {
        assert_eq!(c.sent(), [offset]);
        c.answer(offset, status(201));
    }
    c.fetch([(4, "acme")]);
    assert_eq!(c.sent(), [4]);
    c.answer(4, status(201));
    c.advance(secs(1));
    assert_eq!((c.committed(), c.machine.load().parked_keys), (5, 0));
}

#[test]
fn of_a_paused_key_what_fails_and_what_waits_is_parked_wherever_it_stands() {
    // In flight and to be tried again; resting; throttled; being prepared.
    for stand in 0..4 {
        let mut c = Bench::one_partition();
        c.fetch([(0, "acme"), (1, "acme")]);
        c.sent();
        let throttled = tieline_delivery::Answer::Throttled { retry_after: secs(3) };
        match stand {
            0 => {}
            1 => c.answer(0, status(500)),
            2 => c.answer(0, throttled.clone()),
            _ => {
                c.answer(0, status(201)); // 1 is prepared and sent
                c.sent();
            }
        }
        c.input(Input::PauseKey { key: key("acme") });
        match stand {
            0 => c.answer(0, status(503)),
            3 => c.answer(1, throttled),
            _ => {}
        }
        c.advance(secs(30));
        let expect: &[i64] = if stand == 3 { &[1] } else { &[0, 1] };
        let mut parked = c.parked_offsets();
        parked.sort_unstable();
        assert_eq!((c.sent().len(), parked.as_slice(), c.committed()), (0, expect, 2), "{stand}");
        let unknown = c.finals.iter().find_map(|(offset, outcome)| match outcome {
            Outcome::Parked { state, .. } if *offset == 0 => Some(state.maybe_applied),
            _ => None,
        });
        assert_eq!(unknown, (stand != 3).then_some(stand == 1), "{stand}");
        c.input(Input::ResumeKey { key: key("acme") });
        assert_eq!(c.sent(), [expect[0]], "{stand}");
    }
}

#[test]
fn a_key_that_was_paused_before_an_assignment_is_paused_in_it() {
    let mut c = Bench::empty(crate::bench::settings());
    c.input(Input::PauseKey { key: key("acme") });
    c.assign(0, 0, "");
    c.fetch([(0, "acme"), (1, "globex")]);
    assert_eq!(c.sent(), [1]);
    c.answer(1, status(201));
    c.advance(secs(1));
    assert_eq!((c.committed(), c.parked_offsets()), (2, vec![0]));
    c.input(Input::ResumeKey { key: key("acme") });
    assert_eq!(c.sent(), [0]);
}
