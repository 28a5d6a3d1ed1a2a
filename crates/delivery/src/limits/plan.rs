//! How a system's limits are to be divided among callers, if nothing were in use: the goal that grants move towards.

use std::collections::BTreeMap;

use super::bucket::UNIT;
use super::fair::{Demand, divide};
use super::{Ask, Share};

/// What a rate is divided as where the system has none: parts of a whole.
const WHOLE: u64 = 1_000_000 * UNIT;

/// The part of each of these callers, all of which have a place. A consumer counts once, in however many callers it is;
/// what is live goes before replays; what nobody wants is spread over all, since nobody knows what comes next.
pub(crate) fn plan(capacity: Share, asks: &[&Ask]) -> Vec<Share> {
    if asks.is_empty() {
        return Vec::new();
    }
    let there = capacity.rate.unwrap_or(WHOLE);
    let rates = rates(there, capacity.rate.is_some(), asks);
    let in_flights = capacity.in_flight.map(|most| in_flights(most, asks));
    let count = u64::try_from(asks.len()).unwrap_or(u64::MAX);
    let each = |whole: u64, rate: u64| {
        u64::try_from(u128::from(whole) * u128::from(rate) / u128::from(there.max(1))).unwrap_or(whole)
    };
    let burst = |burst: u64, rate: u64| UNIT.min(burst) + each(burst.saturating_sub(count.saturating_mul(UNIT)), rate);
    (0..asks.len())
        .map(|place| Share {
            rate: capacity.rate.map(|_| rates[place]),
            burst: capacity.burst.map(|whole| burst(whole, rates[place])),
            cost_rate: capacity.cost_rate.map(|whole| each(whole, rates[place])),
            cost_burst: capacity.cost_burst.map(|whole| each(whole, rates[place])),
            in_flight: in_flights.as_ref().map(|in_flights| in_flights[place]),
        })
        .collect()
}

fn rates(there: u64, by_want: bool, asks: &[&Ask]) -> Vec<u64> {
    let mut parts = vec![0; asks.len()];
    let mut left = there;
    for replay in [false, true] {
        let wants: Vec<_> = asks
            .iter()
            .enumerate()
            .flat_map(|(place, ask)| ask.wants.iter().map(move |want| (place, want)))
            .filter(|(_, want)| want.replay == replay)
            .collect();
        let mut callers: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, want) in &wants {
            *callers.entry(&want.consumer).or_default() += 1;
        }
        let demands: Vec<Demand> = wants
            .iter()
            .map(|(_, want)| Demand {
                // In millionths, since a consumer's weight is divided among its callers.
                weight: (u64::from(want.weight.max(1)) * UNIT / callers[want.consumer.as_str()]).max(1),
                want: if by_want { want.rate_micros } else { u64::MAX },
            })
            .collect();
        for ((place, _), part) in wants.iter().zip(divide(left, &demands)) {
            parts[*place] += part;
        }
        left = there.saturating_sub(parts.iter().sum());
    }
    let spare = left / u64::try_from(asks.len()).unwrap_or(u64::MAX).max(1);
    parts.iter().map(|part| part + spare).collect()
}

/// One for each, and of the rest as many as it has use for: for live calls first, and then for replays. What is left over
/// is spread.
fn in_flights(most: u64, asks: &[&Ask]) -> Vec<u64> {
    let count = u64::try_from(asks.len()).unwrap_or(u64::MAX);
    let mut left = most.saturating_sub(count);
    let mut parts = vec![0; asks.len()];
    let all = |ask: &Ask| ask.in_flight.saturating_add(ask.waiting).saturating_sub(1);
    let live = |ask: &Ask| ask.in_flight.saturating_add(ask.waiting).saturating_sub(ask.replayed.saturating_add(1));
    let of_live: Vec<u64> = asks.iter().map(|ask| live(ask)).collect();
    let of_replays = asks.iter().zip(&of_live).map(|(ask, live)| all(ask) - live).collect();
    for wants in [of_live, of_replays] {
        let demands: Vec<Demand> = wants.into_iter().map(|want| Demand { weight: 1, want }).collect();
        for (part, more) in parts.iter_mut().zip(divide(left, &demands)) {
            *part += more;
            left -= more;
        }
    }
    let mut odd = left % count;
    parts
        .iter()
        .map(|part| {
            let one = u64::from(odd > 0);
            odd -= one;
            1 + part + left / count + one
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::limits::Want;

    const LIMITS: Share = Share {
        rate: Some(20 * UNIT),
        burst: Some(40 * UNIT),
        cost_rate: Some(600),
        cost_burst: Some(60),
        in_flight: Some(16),
    };

    fn ask(wants: &[(&str, bool, u32, u64)], waiting: u64) -> Ask {
        let want = |(consumer, replay, weight, rate): &(&str, bool, u32, u64)| Want {
            consumer: (*consumer).to_owned(),
            replay: *replay,
            weight: *weight,
            rate_micros: rate * UNIT,
        };
        let wants: Vec<Want> = wants.iter().map(want).collect();
        let (seq, read_to, holds, in_flight) = (1, 0, true, 0);
        let replayed = if wants.iter().all(|want| want.replay) { waiting } else { 0 };
        Ask { seq, read_to, holds, in_flight, waiting, replayed, wants, day: None, advertised: None }
    }

    fn check(asks: &[Ask], rates: &[u64], in_flights: &[u64]) {
        let parts = plan(LIMITS, &asks.iter().collect::<Vec<_>>());
        assert_eq!(parts.iter().map(|part| part.rate.unwrap() / UNIT).collect::<Vec<_>>(), rates);
        assert_eq!(parts.iter().map(|part| part.in_flight.unwrap()).collect::<Vec<_>>(), in_flights);
        let sum = parts.iter().fold(LIMITS.none_of(), |sum, part| sum.zip(*part, |a, b| a + b));
        assert!(sum.zip(LIMITS, |sum, most| u64::from(sum > most)) == LIMITS.none_of(), "{sum:?}");
    }

    #[test]
    fn one_has_all_and_two_have_what_they_want_of_it() {
        check(&[ask(&[("a", false, 1, 3)], 3)], &[20], &[16]);
        check(&[ask(&[("a", false, 1, 99)], 99), ask(&[("b", false, 1, 4)], 1)], &[16, 4], &[15, 1]);
        check(&[ask(&[("a", false, 1, 4)], 2), ask(&[("b", false, 1, 4)], 2)], &[10, 10], &[8, 8]);
        check(&[ask(&[("a", false, 3, 99)], 99), ask(&[("b", false, 1, 99)], 99)], &[15, 5], &[8, 8]);
    }

    #[test]
    fn a_consumer_counts_once_in_however_many_processes() {
        let a = || ask(&[("a", false, 1, 99)], 99);
        check(&[a(), a(), ask(&[("b", false, 1, 99)], 99)], &[5, 5, 10], &[5, 5, 6]);
    }

    #[test]
    fn live_goes_before_replay() {
        let asks = [ask(&[("a", true, 9, 99)], 99), ask(&[("b", false, 1, 12)], 9)];
        // Of calls in flight its 9, and the others for the replay.
        check(&asks, &[8, 12], &[7, 9]);
    }
}
