//! The gate of a system: all calls of this process go through it, and it lets through what the system's limits allow.
//!
//! It wraps the [`Caller`] of the protocol with what that has not: a lock, since all consumers of the process share it; a
//! clock; and somebody to be woken when a call may go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tieline_bus::System;
use tieline_delivery::Time;
use tieline_delivery::limits::{
    Advertised, Caller, CallerId, CallerInput, CallerOutput, Flow, NotYet, Permit, Record, Why,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::clock::Clock;
use super::settings;
use super::ticket::Ticket;
use super::writer::Writer;
use crate::telemetry::SystemLimitMetrics;

/// Least time until a machine is looked after again: nothing in them is to be more exact.
pub(super) const WAKE_GAP_MIN: Duration = Duration::from_millis(1);

/// Lets the calls of one system through.
#[derive(Debug)]
pub struct Gate {
    system: String,
    /// What its caller is called.
    id: CallerId,
    /// Whether each call needs a permit. Where it does not, only a time that the system named keeps calls back.
    is_limited: bool,
    /// Where an answer says what the call cost.
    cost_at: Option<String>,
    weights: BTreeMap<String, u32>,
    clock: Clock,
    /// Nobody calls before: nanoseconds of the clock. Beside the lock, so that a system without limits costs none.
    not_before: AtomicU64,
    state: Mutex<State>,
    /// Told when somebody who had been sent away without a time may come again.
    changed: watch::Sender<u64>,
    writer: Writer,
    /// Wakes whoever drives the machines, when one wants to be looked after earlier.
    wake: Arc<Notify>,
    metrics: SystemLimitMetrics,
}

#[derive(Debug)]
struct State {
    caller: Caller,
    /// When the caller has something to do by itself.
    wakes_at: Option<Time>,
    demand: BTreeMap<Flow, Demand>,
    /// Whether somebody was sent away without a time to come again.
    sent_away: bool,
    /// What a call costs, as far as the last ones tell.
    cost_expected: u64,
}

/// The calls of one flow that could go at once.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    /// In a consumer's core.
    queued: u64,
    /// In the middle of something: a look-up, the second call of an attempt.
    awaited: u64,
}

/// Why no call goes, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitWait {
    /// What it waits for.
    pub why: Why,
    /// Until when, milliseconds since the Unix epoch, where that is known.
    pub until_ms: Option<i64>,
}

impl Gate {
    pub(super) fn new(
        system: &System,
        clock: Clock,
        writer: Writer,
        wake: Arc<Notify>,
        metrics: SystemLimitMetrics,
    ) -> Self {
        let settings = settings::caller(system);
        Self {
            system: system.name.clone(),
            id: settings.id.clone(),
            is_limited: !settings.limits.is_unlimited(),
            cost_at: system.limits.cost.as_ref().map(|cost| cost.at.clone()),
            weights: system.limits.weights.clone(),
            clock,
            not_before: AtomicU64::new(0),
            state: Mutex::new(State {
                caller: Caller::new(settings),
                wakes_at: None,
                demand: BTreeMap::new(),
                sent_away: false,
                cost_expected: 1,
            }),
            changed: watch::Sender::new(0),
            writer,
            wake,
            metrics,
        }
    }

    /// The system.
    #[must_use]
    pub fn system(&self) -> &str {
        &self.system
    }

    /// What its caller is called in the topic.
    pub(super) fn id(&self) -> &CallerId {
        &self.id
    }

    /// Whether each of its calls needs a permit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// Whether a call has to ask. A system without limits has to only while it wants us to wait.
    #[must_use]
    pub fn is_closed_or_limited(&self) -> bool {
        self.is_limited || self.held_until().is_some()
    }

    /// Until when nobody calls, if that is not over.
    fn held_until(&self) -> Option<Time> {
        let until = Time(Duration::from_nanos(self.not_before.load(Ordering::Relaxed)));
        (until > Time::default() && self.clock.now() < until).then_some(until)
    }

    /// Tells when it is worth to ask again for who was sent away without a time.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The instant that a time of its answers is.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.clock.instant(time)
    }

    /// Why it sends calls away, for people.
    #[must_use]
    pub fn wait(&self, not_yet: NotYet) -> LimitWait {
        LimitWait { why: not_yet.why, until_ms: not_yet.until.map(|until| self.clock.unix_ms(until)) }
    }

    /// Says how many calls of this flow could go at once.
    pub fn queued(&self, flow: &Flow, calls: u64) {
        if self.is_limited {
            self.with(|state, now| self.demand(state, now, flow, |demand| demand.queued = calls));
        }
    }

    /// The right to make one call now, of so many that this flow could make. Nothing where calls need none.
    ///
    /// # Errors
    /// [`NotYet`] if no call of this flow may go now.
    pub fn try_take(self: &Arc<Self>, flow: &Arc<Flow>, queued: u64) -> Result<Option<Ticket>, NotYet> {
        if !self.is_limited {
            return self.held_until().map_or(Ok(None), |until| Err(not_before(until)));
        }
        self.with(|state, now| {
            self.demand(state, now, flow, |demand| demand.queued = queued);
            self.take(state, now, flow).map(Some)
        })
    }

    /// Whether [`Self::try_take`] would give one now. For calls that are still to be put together.
    ///
    /// # Errors
    /// [`NotYet`] if no call of this flow may go now.
    pub fn may_take(&self, flow: &Flow, queued: u64) -> Result<(), NotYet> {
        if !self.is_limited {
            return self.held_until().map_or(Ok(()), |until| Err(not_before(until)));
        }
        self.with(|state, now| {
            self.demand(state, now, flow, |demand| demand.queued = queued);
            let may = state.caller.may_take(now, flow, state.cost_expected);
            state.sent_away |= may.is_err();
            may
        })
    }

    /// Waits for the right to make one call, at most until then.
    ///
    /// # Errors
    /// [`NotYet`] if there is none by then, or it is known that there will be none.
    pub async fn taken(self: &Arc<Self>, flow: &Arc<Flow>, until: Instant) -> Result<Option<Ticket>, NotYet> {
        let _awaited = Awaited::of(self, flow);
        let mut changes = self.changes();
        loop {
            let taken = if self.is_limited {
                self.with(|state, now| self.take(state, now, flow).map(Some))
            } else {
                self.held_until().map_or(Ok(None), |until| Err(not_before(until)))
            };
            let not_yet = match taken {
                Ok(ticket) => return Ok(ticket),
                Err(not_yet) => not_yet,
            };
            let again = not_yet.until.map(|at| self.clock.instant(at));
            if Instant::now() >= until || again.is_some_and(|again| again > until) {
                return Err(not_yet);
            }
            tokio::select! {
                () = tokio::time::sleep_until(again.unwrap_or(until)) => {}
                Ok(()) = changes.changed() => {}
            }
        }
    }

    fn take(self: &Arc<Self>, state: &mut State, now: Time, flow: &Arc<Flow>) -> Result<Ticket, NotYet> {
        match state.caller.try_take(now, flow, state.cost_expected) {
            Ok(permit) => {
                self.metrics.calls.inc();
                Ok(Ticket::new(Arc::clone(self), Arc::clone(flow), permit))
            }
            Err(not_yet) => {
                state.sent_away = true;
                Err(not_yet)
            }
        }
    }

    fn demand(&self, state: &mut State, now: Time, flow: &Flow, change: impl FnOnce(&mut Demand)) {
        let mut demand = state.demand.get(flow).copied().unwrap_or_default();
        change(&mut demand);
        let weight = self.weights.get(&flow.consumer).copied().unwrap_or(1);
        let calls = demand.queued.saturating_add(demand.awaited);
        state.caller.handle(now, CallerInput::Waiting { flow: flow.clone(), weight, calls });
        state.demand.insert(flow.clone(), demand);
    }

    /// A call is over, or was not made.
    pub(super) fn ended(&self, permit: Permit, cost: Option<u64>) {
        self.with(|state, now| {
            if let Some(cost) = cost {
                // The mean of the last dozen or so: what is expected wrongly is settled with the answer.
                let mean = (u128::from(state.cost_expected) * 7 + u128::from(cost)).div_ceil(8);
                state.cost_expected = u64::try_from(mean).unwrap_or(u64::MAX).max(1);
            }
            state.caller.handle(now, CallerInput::Ended { permit, cost });
            self.tell(state);
        });
    }

    /// The system wants everybody to wait.
    pub fn throttled(&self, retry_after: Duration) {
        let unix_ms = crate::now_ms();
        self.with(|state, now| state.caller.handle(now, CallerInput::Throttled { retry_after, unix_ms }));
    }

    /// The system has said something of its limits.
    pub fn advertised(&self, advertised: Advertised) {
        let unix_ms = crate::now_ms();
        self.with(|state, now| state.caller.handle(now, CallerInput::Advertised { advertised, unix_ms }));
    }

    /// Where its answers say what a call cost.
    #[must_use]
    pub fn cost_at(&self) -> Option<&str> {
        self.cost_at.as_deref()
    }

    /// A record about the system came.
    pub(super) fn read(&self, offset: i64, record: Record) {
        self.with(|state, now| {
            state.caller.handle(now, CallerInput::Read { offset, record });
            self.tell(state);
        });
    }

    /// The partition was read to where it ended.
    pub(super) fn caught_up(&self) {
        let unix_ms = crate::now_ms();
        self.with(|state, now| {
            state.caller.handle(now, CallerInput::CaughtUp { unix_ms });
            self.tell(state);
        });
    }

    /// Nothing more is sent: what is held is given back.
    pub(super) fn stop(&self) {
        self.with(|state, now| state.caller.handle(now, CallerInput::Stop));
    }

    /// When it wants to be looked after.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        self.state().wakes_at
    }

    pub(super) fn tick(&self) {
        self.with(|state, now| {
            state.caller.handle(now, CallerInput::Tick);
            self.tell(state);
        });
    }

    /// Shows what it has and what waits.
    pub(super) fn observe(&self) {
        let state = self.state();
        let waiting: u64 = state.demand.values().map(|demand| demand.queued.saturating_add(demand.awaited)).sum();
        let share = state.caller.share().unwrap_or_default();
        self.metrics.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.metrics.in_flight.set(i64::try_from(state.caller.in_flight()).unwrap_or(i64::MAX));
        #[allow(clippy::cast_precision_loss, reason = "for a graph")]
        self.metrics.granted_per_second.set(share.rate.unwrap_or(0) as f64 / 1e6);
        self.metrics.granted_in_flight.set(i64::try_from(share.in_flight.unwrap_or(0)).unwrap_or(i64::MAX));
        let unreadable: u64 = state.caller.unreadable().values().sum();
        self.metrics.unreadable.set(i64::try_from(unreadable).unwrap_or(i64::MAX));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the machine, and then what the machine asks for. Under the lock, so that records are written in
    /// the order in which the machine made them.
    fn with<T>(&self, act: impl FnOnce(&mut State, Time) -> T) -> T {
        let mut state = self.state();
        let now = self.clock.now();
        let result = act(&mut state, now);
        let wakes_at = loop {
            match state.caller.poll(now) {
                CallerOutput::Write(record) => self.writer.write(&self.system, &record),
                CallerOutput::Outage { until } => self.tell_outage(until),
                // A little later at least, so that whoever drives cannot come back at once again and again.
                CallerOutput::Wait { until } => break until.map(|until| until.max(now.after(WAKE_GAP_MIN))),
            }
        };
        let earlier = wakes_at.is_some_and(|at| state.wakes_at.is_none_or(|before| at < before));
        state.wakes_at = wakes_at;
        let not_before = u64::try_from(state.caller.not_before().0.as_nanos()).unwrap_or(u64::MAX);
        self.not_before.store(not_before, Ordering::Relaxed);
        drop(state);
        if earlier {
            self.wake.notify_one();
        }
        result
    }

    /// Tells those who were sent away without a time.
    fn tell(&self, state: &mut State) {
        if std::mem::take(&mut state.sent_away) {
            self.changed.send_modify(|times| *times = times.wrapping_add(1));
        }
    }

    fn tell_outage(&self, until: Time) {
        let wait_s = until.since(self.clock.now()).as_secs();
        tracing::error!(
            system = self.system,
            wait_s,
            "the system wants nobody to call it for longer than is waited for"
        );
    }
}

/// Says that somebody waits in the middle of something, for as long as it does.
struct Awaited<'a> {
    gate: &'a Gate,
    flow: &'a Flow,
}

impl<'a> Awaited<'a> {
    fn of(gate: &'a Gate, flow: &'a Flow) -> Self {
        let awaited = Self { gate, flow };
        awaited.count(|awaited| awaited.saturating_add(1));
        awaited
    }

    fn count(&self, change: impl FnOnce(u64) -> u64) {
        if self.gate.is_limited {
            let flow = self.flow;
            self.gate.with(|state, now| {
                self.gate.demand(state, now, flow, |demand| demand.awaited = change(demand.awaited));
            });
        }
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.count(|awaited| awaited.saturating_sub(1));
    }
}

fn not_before(until: Time) -> NotYet {
    NotYet { until: Some(until), why: Why::NotBefore }
}
