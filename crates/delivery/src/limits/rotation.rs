//! Who may hold a share when there are fewer places than callers: a burst of one call cannot be divided, and neither can one
//! call in flight. Then callers take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::CallerId;
use crate::Time;

/// Who has a place, and who waits for one.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    since: BTreeMap<CallerId, Standing>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    has_place: bool,
    /// Since when it has its place, or waits for one.
    since: Time,
}

impl Rotation {
    /// Who has a place now, out of those that want one; `live` are those with more than a replay. Who has had one for a
    /// slice gives it to the one that has waited longest.
    pub(crate) fn choose(
        &mut self,
        now: Time,
        places: usize,
        slice: Duration,
        wanting: &[(CallerId, bool)],
    ) -> BTreeSet<CallerId> {
        let names: BTreeSet<&CallerId> = wanting.iter().map(|(caller, _)| caller).collect();
        self.since.retain(|caller, _| names.contains(caller));
        for (caller, _) in wanting {
            self.since.entry(caller.clone()).or_insert(Standing { has_place: false, since: now });
        }
        let mut order: Vec<(bool, bool, Time, &CallerId)> = wanting
            .iter()
            .map(|(caller, live)| {
                let standing = self.since[caller];
                let keeps = standing.has_place && now < standing.since.after(slice);
                // One whose slice is over comes after all that wait, as if it had begun to wait now.
                let since = if standing.has_place && !keeps { now } else { standing.since };
                (!live, !keeps, since, caller)
            })
            .collect();
        order.sort();
        let chosen: BTreeSet<CallerId> = order.iter().take(places).map(|(.., caller)| (*caller).clone()).collect();
        for (caller, standing) in &mut self.since {
            let has_place = chosen.contains(caller);
            if has_place != standing.has_place {
                *standing = Standing { has_place, since: now };
            }
        }
        chosen
    }

    /// When somebody has to give up a place.
    pub(crate) fn next(&self, now: Time, slice: Duration) -> Option<Time> {
        if self.since.values().all(|standing| standing.has_place) {
            return None;
        }
        self.since.values().filter(|s| s.has_place).map(|s| s.since.after(slice)).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_round_and_live_goes_first() {
        let mut rotation = Rotation::default();
        let slice = Duration::from_secs(5);
        let mut turns = String::new();
        let wanting = ["a", "b", "c", "r"].map(|name| (CallerId::new(name), name != "r"));
        for second in 0..30 {
            let chosen = rotation.choose(Time(Duration::from_secs(second)), 1, slice, &wanting);
            turns.extend(chosen.iter().map(ToString::to_string));
        }
        assert_eq!(turns, "aaaaabbbbbcccccaaaaabbbbbccccc");
    }
}
