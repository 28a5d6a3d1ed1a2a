//! Whose turn it is among those who share a caller: live before replay, and by weight among equals.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Want;
use super::bucket::UNIT;
use crate::Time;

/// Who wants to call: a consumer, for what comes in or for a replay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// The consumer's name.
    pub consumer: String,
    /// Whether it is for a replay.
    pub replay: bool,
}

/// Most flows of a caller: consumers of one process that call one system. Those beyond share what is there unweighted.
const FLOWS_MAX: usize = 256;

/// How long a call that could be sent is kept for whose turn it is. Who does not come by then is not waited for again before
/// it has come, and then is first.
const GRACE: Duration = Duration::from_millis(10);

/// The same as long as it costs nothing, since more calls still come to lie in the bucket: a thread on a busy machine comes
/// so late, and all others would have its calls too.
const FREE_GRACE: Duration = Duration::from_millis(100);

/// After a wait that was in vain nothing is waited for at a cost for so long: a twentieth of the rate at most is lost by it.
const COSTLY_EVERY: Duration = Duration::from_millis(200);

/// Most calls of a weight of 1 that who was late has to its credit.
const CREDIT: u64 = 8;

/// Sent calls are counted over this and the half before it, to tell how many are wanted.
const COUNTED_OVER: Duration = Duration::from_millis(500);

/// A flow's turn goes on by this, divided by its weight.
const STEP: u64 = 1 << 32;

/// The flows of a caller.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    flows: BTreeMap<Flow, State>,
    /// Where the flow stood that was last served; who wakes up begins there, and has no claim on what it slept through.
    served: u64,
    /// Since when a call could be sent that is somebody else's turn.
    open_since: Option<Time>,
    /// When a call was kept in vain.
    missed_at: Option<Time>,
}

#[derive(Debug, Default)]
struct State {
    weight: u64,
    waiting: u64,
    pass: u64,
    /// It did not come when it was its turn, and has not come since.
    is_late: bool,
    sent: u64,
    sent_before: u64,
    counted_from: Time,
}

impl Turns {
    /// So many calls of this flow wait to be sent.
    pub(crate) fn waiting(&mut self, flow: Flow, weight: u32, calls: u64) {
        if !self.flows.contains_key(&flow) && self.flows.len() >= FLOWS_MAX {
            return;
        }
        let served = self.served;
        let state = self.flows.entry(flow).or_default();
        if state.waiting == 0 {
            state.pass = state.pass.max(served);
        }
        state.weight = u64::from(weight.max(1));
        state.waiting = calls;
    }

    pub(crate) fn nothing_waits(&mut self) {
        self.flows.values_mut().for_each(|state| state.waiting = 0);
    }

    pub(crate) fn waiting_total(&self) -> u64 {
        self.flows.values().map(|state| state.waiting).sum()
    }

    pub(crate) fn waiting_replayed(&self) -> u64 {
        self.flows.iter().filter(|(flow, _)| flow.replay).map(|(_, state)| state.waiting).sum()
    }

    /// This flow is there, and asks for a call.
    pub(crate) fn came(&mut self, flow: &Flow) {
        if let Some(own) = self.flows.get_mut(flow) {
            own.is_late = false;
        }
    }

    /// Whether this flow may send the call that can be sent now; else when it may if nobody else has. Until `full_at` it costs
    /// nothing to wait.
    pub(crate) fn may(&mut self, now: Time, flow: &Flow, full_at: Option<Time>) -> Result<(), Time> {
        if !self.others_first(flow) {
            return Ok(());
        }
        let since = *self.open_since.get_or_insert(now);
        let free = full_at.unwrap_or(since).min(since.after(FREE_GRACE));
        let may_cost = self.missed_at.is_none_or(|at| at.after(COSTLY_EVERY) <= since);
        let lapses = if may_cost { free.max(since.after(GRACE)) } else { free };
        if now < lapses { Err(lapses) } else { Ok(()) }
    }

    fn others_first(&self, flow: &Flow) -> bool {
        let Some(own) = self.flows.get(flow) else { return false };
        self.flows.iter().any(|(other, state)| !state.is_late && state.goes_before(other, flow, own.pass))
    }

    /// No call can be sent now: nobody's turn is running.
    pub(crate) fn closed(&mut self) {
        self.open_since = None;
    }

    /// A call of this flow is sent.
    pub(crate) fn sent(&mut self, now: Time, flow: &Flow) {
        self.open_since = None;
        let Some(own) = self.flows.get_mut(flow) else { return };
        own.count(now);
        own.sent += 1;
        own.waiting = own.waiting.saturating_sub(1);
        self.served = self.served.max(own.pass);
        let pass = own.pass;
        own.pass += STEP / own.weight.max(1);
        for (other, state) in self.flows.iter_mut().filter(|(other, _)| *other != flow) {
            if !state.is_late && state.goes_before(other, flow, pass) {
                state.is_late = true;
                self.missed_at = Some(now);
            }
            if other.replay == flow.replay {
                let credit = if state.waiting > 0 { CREDIT * (STEP / state.weight.max(1)) } else { 0 };
                state.pass = state.pass.max(pass.saturating_sub(credit));
            }
        }
    }

    /// What to ask for: what was sent of late and a quarter more, and what waits, within a second.
    pub(crate) fn wants(&mut self, now: Time) -> Vec<Want> {
        let mut wants = Vec::new();
        for (flow, state) in &mut self.flows {
            state.count(now);
            let over_ms = u64::try_from((COUNTED_OVER + now.since(state.counted_from)).as_millis()).unwrap_or(u64::MAX);
            let per_second = (state.sent + state.sent_before).saturating_mul(1_000 * UNIT) / over_ms.max(1);
            let rate_micros = (per_second + per_second / 4).saturating_add(state.waiting.saturating_mul(UNIT));
            if rate_micros > 0 {
                let weight = u32::try_from(state.weight).unwrap_or(u32::MAX);
                wants.push(Want { consumer: flow.consumer.clone(), replay: flow.replay, weight, rate_micros });
            }
        }
        wants
    }
}

impl State {
    /// Whether it, of this name, goes before a flow that stands there.
    fn goes_before(&self, name: &Flow, flow: &Flow, pass: u64) -> bool {
        self.waiting > 0
            && match (flow.replay, name.replay) {
                (true, false) => true,
                (false, true) => false,
                (true, true) | (false, false) => self.pass < pass,
            }
    }

    fn count(&mut self, now: Time) {
        let since = now.since(self.counted_from);
        if since >= COUNTED_OVER {
            self.sent_before = if since < COUNTED_OVER * 2 { self.sent } else { 0 };
            self.sent = 0;
            self.counted_from = now;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn flow(name: &str, replay: bool) -> Flow {
        Flow { consumer: name.to_owned(), replay }
    }

    fn ms(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    /// Each of these comes again and again for a call that can be sent; how often each has got it.
    fn serve(turns: &mut Turns, rounds: usize, flows: &[Flow]) -> Vec<usize> {
        let mut got = vec![0; flows.len()];
        for round in 0..rounds {
            let now = ms(u64::try_from(round).unwrap());
            for (place, flow) in flows.iter().enumerate() {
                turns.came(flow);
                // More still comes, so that whose turn it is can be waited for.
                if turns.may(now, flow, Some(now.after(Duration::from_millis(1)))).is_ok() {
                    turns.sent(now, flow);
                    got[place] += 1;
                    break;
                }
            }
        }
        got
    }

    #[test]
    fn equals_share_by_weight() {
        let mut turns = Turns::default();
        let flows = [flow("a", false), flow("b", false), flow("c", false)];
        for (flow, weight) in flows.iter().zip([1, 2, 3]) {
            turns.waiting(flow.clone(), weight, 10_000);
        }
        assert_eq!(serve(&mut turns, 600, &flows), [100, 200, 300]);
    }

    #[test]
    fn a_replay_goes_when_nothing_live_waits() {
        let mut turns = Turns::default();
        let (live, replay) = (flow("a", false), flow("b", true));
        turns.waiting(replay.clone(), 100, 1_000);
        turns.waiting(live.clone(), 1, 5);
        assert_eq!(serve(&mut turns, 8, &[replay, live]), [3, 5]);
    }

    #[test]
    fn who_does_not_come_for_its_turn_is_waited_for_once_and_then_has_some_of_what_it_missed() {
        let mut turns = Turns::default();
        let (late, a) = (flow("late", false), flow("a", false));
        turns.waiting(late.clone(), 1, 1_000);
        turns.waiting(a.clone(), 1, 1_000);
        turns.sent(ms(0), &a);
        assert_eq!(turns.may(ms(1), &a, None), Err(ms(11)));
        assert_eq!(turns.may(ms(11), &a, None), Ok(()));
        for _ in 0..100 {
            turns.sent(ms(11), &a);
            assert_eq!(turns.may(ms(11), &a, None), Ok(()), "it is not waited for again");
        }
        assert_eq!(serve(&mut turns, 28, &[late, a]), [19, 9], "8 of 100 are made up for");
    }

    #[test]
    fn it_is_waited_for_longer_as_long_as_that_costs_nothing() {
        for (full_at, lapses) in [(3, 10), (40, 40), (400, 100)] {
            let mut turns = Turns::default();
            let (late, a) = (flow("late", false), flow("a", false));
            turns.waiting(late, 1, 1_000);
            turns.waiting(a.clone(), 1, 1_000);
            turns.sent(ms(0), &a);
            assert_eq!(turns.may(ms(0), &a, Some(ms(full_at))), Err(ms(lapses)));
            assert_eq!(turns.may(ms(lapses), &a, Some(ms(full_at))), Ok(()));
        }
    }

    #[test]
    fn who_wakes_up_has_no_claim_on_what_it_slept_through() {
        let mut turns = Turns::default();
        let flows = [flow("a", false), flow("b", false)];
        turns.waiting(flows[0].clone(), 1, 10_000);
        serve(&mut turns, 1_000, &flows[..1]);
        turns.waiting(flows[1].clone(), 1, 10_000);
        assert_eq!(serve(&mut turns, 100, &flows), [50, 50]);
    }

    #[test]
    fn what_is_wanted_is_what_was_sent_of_late_and_what_waits() {
        let mut turns = Turns::default();
        let a = flow("a", false);
        turns.waiting(a.clone(), 1, 0);
        for sent in 0..40 {
            turns.sent(ms(1_000 + sent * 25), &a);
        }
        let wanted = |turns: &mut Turns, at| turns.wants(ms(at)).first().map_or(0, |want| want.rate_micros / UNIT);
        assert_eq!(wanted(&mut turns, 1_999), 50);
        turns.waiting(a.clone(), 1, 70);
        assert_eq!(wanted(&mut turns, 1_999), 120);
        turns.waiting(a, 1, 0);
        assert_eq!(wanted(&mut turns, 4_000), 0);
    }
}
