//! How many calls are under way: as many as the system bears.

use std::collections::BTreeMap;

use crate::bench::{Bench, millis, secs, status};

/// A system that does so many calls at once, in 50 ms each, and refuses more in 2 ms; and what came of it.
struct System {
    capacity: usize,
    /// Calls under way, by when they end: the record, and whether it is refused.
    under_way: BTreeMap<(u64, i64), bool>,
    next_record: i64,
    done: usize,
    refused: usize,
    /// Milliseconds in which there was an outage, and the most calls that were under way.
    outage_ms: u64,
    most: usize,
}

impl System {
    fn of(capacity: usize) -> Self {
        Self { capacity, under_way: BTreeMap::new(), next_record: 0, done: 0, refused: 0, outage_ms: 0, most: 0 }
    }

    /// Delivers to it for as long, with as many records as there is room for.
    fn take(&mut self, c: &mut Bench, for_ms: u64) {
        (self.done, self.refused, self.outage_ms, self.most) = (0, 0, 0, 0);
        let from = c.now;
        for at in 0..for_ms {
            while c.machine.load().buffered_records < 400 {
                c.fetch_from(0, self.next_record, "");
                self.next_record += 1;
            }
            let now = u64::try_from(c.now.0.as_millis()).unwrap();
            while let Some(((over, record), refused)) = self.under_way.pop_first() {
                if over > now {
                    self.under_way.insert((over, record), refused);
                    break;
                }
                c.answer(record, status(if refused { 503 } else { 201 }));
                (self.done, self.refused) = (self.done + usize::from(!refused), self.refused + usize::from(refused));
            }
            for record in c.sent() {
                let refused = self.under_way.values().filter(|refused| !**refused).count() >= self.capacity;
                self.under_way.insert((now + if refused { 2 } else { 50 }, record), refused);
            }
            self.most = self.most.max(self.under_way.len());
            self.outage_ms += u64::from(c.machine.outage().is_some());
            c.advance(from.after(millis(at + 1)).since(c.now));
        }
    }
}

fn bench() -> Bench {
    Bench::with(|settings| {
        settings.in_flight_max = 64;
        settings.patience = secs(3_600);
    })
    .proven()
}

#[test]
fn a_system_that_refuses_what_is_too_much_gets_what_it_can_do() {
    for capacity in [2, 8, 24] {
        let (mut c, mut system) = (bench(), System::of(capacity));
        system.take(&mut c, 5_000);
        system.take(&mut c, 20_000);
        let (done, refused, could) = (system.done, system.refused, capacity * 20 * 20);
        let line =
            format!("{capacity} at once: {done} of {could} done, {refused} refused, {} ms out", system.outage_ms);
        assert!(done * 5 >= could * 4 && refused * 2 <= done.max(800) && system.outage_ms == 0, "{line}");
    }
}

#[test]
fn a_system_that_can_do_all_gets_all_soon_and_one_that_can_do_them_again_within_seconds() {
    let (mut c, mut system) = (bench(), System::of(64));
    system.take(&mut c, 500);
    assert_eq!(c.machine.load().allowed, 64);
    system.take(&mut c, 2_000);
    assert_eq!((system.done, system.refused), (64 * 40, 0));
    system.capacity = 10;
    system.take(&mut c, 10_000);
    assert!(c.machine.load().allowed <= 12);
    system.capacity = 64;
    system.take(&mut c, 5_000);
    assert_eq!(c.machine.load().allowed, 64);
}

#[test]
fn where_the_number_is_fixed_it_stays_what_it_is() {
    let mut c = Bench::with(|settings| {
        settings.in_flight_max = 64;
        settings.adapts = false;
    });
    for offset in 0..200 {
        c.fetch_from(0, offset, "");
    }
    let sent = c.sent();
    assert_eq!(sent.len(), 64);
    sent.into_iter().for_each(|offset| c.answer(offset, status(if offset % 3 == 0 { 503 } else { 201 })));
    assert_eq!((c.machine.load().allowed, c.machine.outage()), (64, None));
}
