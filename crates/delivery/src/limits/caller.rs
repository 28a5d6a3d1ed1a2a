//! The caller: asks for a share of a system's limits, and says of each call whether it may be sent now.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::advertised::Learned;
use super::bucket::{Bucket, UNIT};
use super::hold::Hold;
use super::turn::Turns;
use super::{
    ASK_EVERY, ASK_GAP_MIN, Advertised, Ask, CallerId, Day, DayGrant, DaySpent, Flow, Grant, Key, LEASE,
    LimitsSettings, Message, PerMeter, Record, Share, Unreadable,
};
use crate::Time;

/// A caller without work keeps what it holds for so long, so that a call now and then need not wait for a grant.
const IDLE_FOR: Duration = Duration::from_secs(1);

/// Whom it calls, and who it is.
#[derive(Debug, Clone)]
pub struct CallerSettings {
    /// The system.
    pub system: String,
    /// This run of this process.
    pub id: CallerId,
    /// The system's limits. Without any, calls need no grant; times that the system names are kept all the same.
    pub limits: LimitsSettings,
    /// A system that wants us to wait longer than this has an outage.
    pub retry_after_max: Duration,
}

/// All that can happen to a caller.
#[derive(Debug)]
pub enum CallerInput {
    /// A record of the topic came. Each from the beginning of the partition, in order.
    Read {
        /// Its offset.
        offset: i64,
        /// The record, of whatever system.
        record: Record,
    },
    /// The partition is read to where it ended when we began.
    CaughtUp {
        /// The wall clock, milliseconds since the Unix epoch.
        unix_ms: i64,
    },
    /// So many calls of this consumer could be sent at once, if the limits let them. Reported when that changes.
    Waiting {
        /// Whose.
        flow: Flow,
        /// How its part compares to that of others.
        weight: u32,
        /// How many.
        calls: u64,
    },
    /// A call ended, or was not sent after all.
    Ended {
        /// The permit that it was sent with.
        permit: Permit,
        /// What it cost, if the answer says so.
        cost: Option<u64>,
    },
    /// The system has told us to wait.
    Throttled {
        /// How long.
        retry_after: Duration,
        /// The wall clock, milliseconds since the Unix epoch.
        unix_ms: i64,
    },
    /// The system has said something of its limits.
    Advertised {
        /// What.
        advertised: Advertised,
        /// The wall clock, milliseconds since the Unix epoch.
        unix_ms: i64,
    },
    /// Nothing more is sent: give back what is held. Calls under way are reported until they end.
    Stop,
    /// Time has passed.
    Tick,
}

/// All that a caller can ask for. Ask until `Wait`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerOutput {
    /// Write this to the topic. Whether it succeeds need not be said: what matters is read back, or written again.
    Write(Record),
    /// The system wants us to wait longer than is waited for silently.
    Outage {
        /// Until when.
        until: Time,
    },
    /// Nothing to do before this, or before the next input.
    Wait {
        /// When there is something to do without an input.
        until: Option<Time>,
    },
}

/// A call may be sent now. It has to come back in [`CallerInput::Ended`], also if the call was not sent.
#[derive(Debug)]
#[must_use = "a permit that is not given back counts as a call in flight"]
pub struct Permit {
    cost: u64,
    day: Option<Day>,
    replay: bool,
}

/// A call may not be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotYet {
    /// Ask again then. Without a time: after the caller was told of something.
    pub until: Option<Time>,
    /// What it waits for.
    pub why: Why,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The time that the system named.
    NotBefore,
    /// A share of the limits.
    Grant,
    /// A call under way to end.
    InFlight,
    /// The day's budget.
    Day,
    /// The rate of calls.
    Rate,
    /// The rate of cost, or a debt of it.
    Cost,
    /// Another consumer's call, which goes first.
    Turn,
}

/// One process's part in a system's limits.
///
/// It is told what happens by [`Caller::handle`], asked by [`Caller::poll`] until the answer is [`CallerOutput::Wait`], and
/// asked for each call by [`Caller::try_take`]. It does not call out and has no clock.
///
/// ```
/// use std::time::Duration;
/// use tieline_delivery::Time;
/// use tieline_delivery::limits::{
///     Allocator, AllocatorInput, AllocatorOutput, AllocatorSettings, Caller, CallerId, CallerInput, CallerOutput,
///     CallerSettings, Flow, LimitsSettings,
/// };
///
/// let limits = LimitsSettings { per_second: Some(20.0), burst: Some(40), in_flight: Some(16), ..Default::default() };
/// let id = CallerId::new("one");
/// let retry_after_max = Duration::from_secs(3_600);
/// let of = id.clone();
/// let mut caller = Caller::new(CallerSettings { system: "erp".into(), id, limits: limits.clone(), retry_after_max });
/// let deadline = Duration::from_secs(10);
/// let mut allocator = Allocator::new(AllocatorSettings { system: "erp".into(), caller: of, limits, deadline });
///
/// let mut now = Time::default();
/// let flow = Flow { consumer: "erp-project".into(), replay: false };
/// caller.handle(now, CallerInput::CaughtUp { unix_ms: 0 });
/// caller.handle(now, CallerInput::Waiting { flow: flow.clone(), weight: 1, calls: 1 });
/// allocator.handle(now, AllocatorInput::CaughtUp);
///
/// let mut offset = 0; // the partition: what one writes, both read
/// let permit = loop {
///     let mut written = Vec::new();
///     while let CallerOutput::Write(record) = caller.poll(now) {
///         written.push(record);
///     }
///     while let AllocatorOutput::Write(record) = allocator.poll(now) {
///         written.push(record);
///     }
///     for record in written {
///         caller.handle(now, CallerInput::Read { offset, record: record.clone() });
///         allocator.handle(now, AllocatorInput::Read { offset, record });
///         offset += 1;
///     }
///     match caller.try_take(now, &flow, 0) {
///         Ok(permit) => break permit, // send the call now
///         Err(_) => now = now.after(Duration::from_millis(10)),
///     }
/// };
/// assert!(now < Time(Duration::from_millis(200)), "a new bucket is empty: the first call takes a 20th of a second");
/// caller.handle(now, CallerInput::Ended { permit, cost: None });
/// ```
#[derive(Debug)]
pub struct Caller {
    settings: CallerSettings,
    /// Whether calls need a grant.
    limited: bool,
    caught_up: bool,
    stopping: bool,
    read_to: i64,
    epoch: Option<i64>,
    held: Option<Held>,
    /// Grants that answer an ask before this are not taken: it was given back.
    accept_from: u64,
    next_seq: u64,
    /// When the asks were sent that a grant may still answer.
    sent: VecDeque<(u64, Time)>,
    asked_at: Option<Time>,
    /// What the last ask said, where a change is reason to ask at once.
    asked_for_work: bool,
    said_in_flight: u64,
    ask_at_once: bool,
    /// Nothing is held, and nothing may come to be: there is nothing to give back.
    released: bool,
    busy_at: Time,
    in_flight: u64,
    /// Of those, the ones of replays.
    replayed_in_flight: u64,
    calls: Bucket,
    cost: Bucket,
    day: Option<DayState>,
    turns: Turns,
    hold: Hold,
    outage: Option<Time>,
    learned: Learned,
    advertised: Option<Advertised>,
    unreadable: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Held {
    share: Share,
    until: Time,
    day: Option<Day>,
}

#[derive(Debug)]
struct DayState {
    day: Day,
    allowance: PerMeter<Option<u64>>,
    spent: PerMeter<u64>,
    /// At this many calls, and at this cost, more is asked for.
    ask_at: PerMeter<Option<u64>>,
}

impl Caller {
    /// Makes one that has read nothing and holds nothing.
    #[must_use]
    pub fn new(settings: CallerSettings) -> Self {
        let start = Time::default();
        Self {
            limited: !settings.limits.is_unlimited(),
            settings,
            caught_up: false,
            stopping: false,
            read_to: -1,
            epoch: None,
            held: None,
            accept_from: 0,
            next_seq: 1,
            sent: VecDeque::new(),
            asked_at: None,
            asked_for_work: false,
            said_in_flight: 0,
            ask_at_once: false,
            released: true,
            busy_at: start,
            in_flight: 0,
            replayed_in_flight: 0,
            calls: Bucket::new(start),
            cost: Bucket::new(start),
            day: None,
            turns: Turns::default(),
            hold: Hold::new(),
            outage: None,
            learned: Learned::default(),
            advertised: None,
            unreadable: BTreeMap::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: CallerInput) {
        self.lapse(now);
        match input {
            CallerInput::Read { offset, record } => {
                self.read_to = self.read_to.max(offset);
                self.read(now, offset, &record);
            }
            CallerInput::CaughtUp { unix_ms } => {
                self.caught_up = true;
                self.hold.caught_up(now, unix_ms);
            }
            CallerInput::Waiting { flow, weight, calls } if !self.stopping => {
                self.turns.waiting(flow, weight, calls);
                self.ask_at_once |= calls > 0 && !self.asked_for_work;
            }
            CallerInput::Waiting { .. } | CallerInput::Tick => {}
            CallerInput::Ended { permit, cost } => self.end(permit, cost),
            CallerInput::Throttled { retry_after, unix_ms } => self.wait(now, unix_ms, retry_after),
            CallerInput::Advertised { advertised, unix_ms } => self.learn(now, unix_ms, advertised),
            CallerInput::Stop => {
                self.stopping = true;
                self.turns.nothing_waits();
            }
        }
        self.note_work(now);
    }

    fn note_work(&mut self, now: Time) {
        if self.turns.waiting_total() > 0 || self.in_flight > 0 {
            self.busy_at = now;
        }
    }

    /// Ends what has ended by itself. Comes before all else, also right before a call is sent.
    fn lapse(&mut self, now: Time) {
        if self.held.as_ref().is_some_and(|held| held.until <= now) {
            self.drop_grant(now);
        }
    }

    fn drop_grant(&mut self, now: Time) {
        self.held = None;
        self.calls.empty(now);
        self.cost.empty(now);
    }

    fn read(&mut self, now: Time, offset: i64, record: &Record) {
        match self.understand(record) {
            Ok(None) => {}
            Ok(Some(Message::Claim(_))) => {
                self.epoch = Some(offset);
                self.drop_grant(now);
                self.ask_at_once = true;
            }
            Ok(Some(Message::Grant(epoch, _, grant))) if Some(epoch) == self.epoch => self.take_grant(now, &grant),
            Ok(Some(Message::NotBefore(caller, number, not_before))) => {
                if caller == self.settings.id {
                    self.hold.read_back(number);
                } else if self.hold.read(now, caller, number, not_before) {
                    self.note_outage(now);
                }
            }
            Ok(Some(Message::Gone(Key::NotBefore(caller, number)))) => self.hold.gone(caller, number),
            Ok(Some(Message::Grant(..) | Message::Ask(..) | Message::Gone(_))) => {}
            Err(why) => *self.unreadable.entry(kind(&why)).or_default() += 1,
        }
    }

    /// What a record says, if it is for us. What is for others is not parsed: each caller reads what is for each.
    fn understand(&self, record: &Record) -> Result<Option<Message>, Unreadable> {
        let Some(key) = Key::parse(&self.settings.system, &record.key)? else { return Ok(None) };
        let ours = match &key {
            Key::Claim => record.value.is_some(),
            Key::NotBefore(..) => true,
            Key::Grant(epoch, caller) => Some(*epoch) == self.epoch && *caller == self.settings.id,
            Key::Ask(_) => false,
        };
        if ours { Message::decode(key, record.value.as_deref()).map(Some) } else { Ok(None) }
    }

    /// Each grant takes the place of the one before, whichever is better: so the allocator knows which one is in use.
    fn take_grant(&mut self, now: Time, grant: &Grant) {
        let Some((_, sent)) = self.sent.iter().find(|(seq, _)| *seq == grant.seq && *seq >= self.accept_from) else {
            return;
        };
        let until = sent.after(Duration::from_millis(grant.lease_ms).min(LEASE));
        let before = self.held.as_ref().map(|held| held.share);
        // That it knows of the smaller one is what others wait for.
        self.ask_at_once |= before.is_some_and(|before| grant.share.is_below(100, before));
        if let Some(day) = grant.day {
            self.take_day(day);
        }
        self.held = Some(Held { share: grant.share, until, day: grant.day.map(|day| day.day) });
        self.fit(now);
        self.lapse(now);
    }

    fn take_day(&mut self, grant: DayGrant) {
        let spent = match &self.day {
            Some(day) if day.day == grant.day => day.spent,
            Some(_) | None => PerMeter::default(),
        };
        let half = |allowance: Option<u64>, spent: u64| Some(spent + allowance?.saturating_sub(spent) / 2);
        self.day = Some(DayState {
            day: grant.day,
            allowance: grant.allowance,
            spent,
            ask_at: PerMeter {
                calls: half(grant.allowance.calls, spent.calls),
                cost: half(grant.allowance.cost, spent.cost),
            },
        });
    }

    /// Fits the buckets to the grant, and to what the system itself said: at once, before the allocator knows of it.
    fn fit(&mut self, now: Time) {
        let Some(held) = &self.held else { return };
        let share = self.learned.cap(now, held.share);
        self.calls.refit(now, share.rate.unwrap_or(0), share.burst.unwrap_or(0));
        self.cost.refit(now, share.cost_rate.unwrap_or(0), share.cost_burst.unwrap_or(0));
    }

    fn end(&mut self, permit: Permit, cost: Option<u64>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.replayed_in_flight = self.replayed_in_flight.saturating_sub(u64::from(permit.replay));
        // If more was under way than it is granted, others wait for that to end.
        let granted = self.held.as_ref().map_or(Some(0), |held| held.share.in_flight);
        self.ask_at_once |= granted.is_some_and(|granted| self.said_in_flight > granted);
        let Some(cost) = cost else { return };
        let (more, less) = (cost.saturating_sub(permit.cost), permit.cost.saturating_sub(cost));
        self.cost.take(more.saturating_mul(UNIT));
        self.cost.give_back(less.saturating_mul(UNIT));
        if let Some(day) = &mut self.day {
            day.spent.cost += more;
            if permit.day == Some(day.day) {
                day.spent.cost = day.spent.cost.saturating_sub(less);
            }
        }
    }

    fn wait(&mut self, now: Time, unix_ms: i64, retry_after: Duration) {
        if self.hold.told(now, unix_ms, retry_after) {
            self.note_outage(now);
        }
    }

    fn note_outage(&mut self, now: Time) {
        if self.hold.until().since(now) > super::at_least(self.settings.retry_after_max) {
            self.outage = Some(self.hold.until());
        }
    }

    fn learn(&mut self, now: Time, unix_ms: i64, advertised: Advertised) {
        self.learned.learn(now, &advertised);
        let before = self.advertised.unwrap_or_default();
        self.advertised = Some(Advertised {
            policy: advertised.policy.or(before.policy),
            remaining: advertised.remaining.or(before.remaining),
        });
        self.fit(now);
        if let Some(remaining) = advertised.remaining.filter(|remaining| remaining.calls == 0) {
            self.wait(now, unix_ms, Duration::from_millis(remaining.resets_in_ms));
        }
    }

    /// Takes the right to send one call, now. `cost` is what it is expected to cost, where costs are limited; what it
    /// did cost is settled when it ends.
    ///
    /// # Errors
    /// [`NotYet`] if no call of this flow may be sent now.
    pub fn try_take(&mut self, now: Time, flow: &Flow, cost: u64) -> Result<Permit, NotYet> {
        self.may_take(now, flow, cost)?;
        self.turns.sent(now, flow);
        self.in_flight += 1;
        self.replayed_in_flight += u64::from(flow.replay);
        let share = self.held.as_ref().map(|held| held.share).unwrap_or_default();
        if share.rate.is_some() || self.learned.cap(now, share).rate.is_some() {
            self.calls.take(UNIT);
        }
        if share.cost_rate.is_some() {
            self.cost.take(cost.saturating_mul(UNIT));
        }
        let day = self.held.as_ref().and_then(|held| held.day);
        if let Some(state) = self.day.as_mut().filter(|state| Some(state.day) == day) {
            state.spent.calls += 1;
            state.spent.cost += cost;
            let reached = |at: Option<u64>, spent| at.is_some_and(|at| spent == at + 1);
            let calls = reached(state.ask_at.calls, state.spent.calls);
            let costs = state.ask_at.cost.is_some_and(|at| state.spent.cost > at);
            if costs {
                state.ask_at.cost = None;
            }
            self.ask_at_once |= calls || costs;
        }
        self.note_work(now);
        Ok(Permit { cost, day, replay: flow.replay })
    }

    /// Whether [`Self::try_take`] would give a permit now. For calls that are still to be put together.
    ///
    /// # Errors
    /// [`NotYet`] if no call of this flow may be sent now.
    pub fn may_take(&mut self, now: Time, flow: &Flow, cost: u64) -> Result<(), NotYet> {
        self.lapse(now);
        self.turns.came(flow);
        if let Err(not_yet) = self.room(now, cost) {
            self.turns.closed();
            return Err(not_yet);
        }
        let full_at = self.full_at();
        self.turns.may(now, flow, full_at).map_err(|until| NotYet { until: Some(until), why: Why::Turn })
    }

    /// Whether the limits have room for a call.
    fn room(&mut self, now: Time, cost: u64) -> Result<(), NotYet> {
        let not_yet = |until, why| Err(NotYet { until, why });
        if now < self.hold.until() {
            return not_yet(Some(self.hold.until()), Why::NotBefore);
        }
        if !self.limited {
            return Ok(());
        }
        let Some(held) = &self.held else { return not_yet(None, Why::Grant) };
        let (share, day) = (self.learned.cap(now, held.share), held.day);
        if share.in_flight.is_some_and(|most| self.in_flight >= most) {
            return not_yet(None, if share.in_flight == Some(0) { Why::Grant } else { Why::InFlight });
        }
        if day.is_some() && !self.day.as_ref().is_some_and(|state| Some(state.day) == day && state.has_room()) {
            return not_yet(None, Why::Day);
        }
        self.fit(now);
        if share.rate.is_some() {
            wait_for(&self.calls, UNIT, now, Why::Rate)?;
        }
        if let Some(burst) = share.cost_burst.filter(|_| share.cost_rate.is_some()) {
            // More than a bucket holds is never there: then a full one is enough, and the rest is a debt.
            wait_for(&self.cost, cost.saturating_mul(UNIT).min(burst).max(1), now, Why::Cost)?;
        }
        Ok(())
    }

    /// Until when what may be sent grows, where there is a rate.
    fn full_at(&self) -> Option<Time> {
        let share = self.held.as_ref()?.share;
        let calls = share.rate.and_then(|_| self.calls.full_at());
        let cost = share.cost_rate.and_then(|_| self.cost.full_at());
        [calls, cost].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Time) -> CallerOutput {
        self.lapse(now);
        self.note_work(now);
        if let Some(until) = self.outage.take() {
            return CallerOutput::Outage { until };
        }
        if let Some(message) = self.hold.write(now, &self.settings.id) {
            return CallerOutput::Write(message.encode(&self.settings.system));
        }
        match self.ask_at(now) {
            Some(at) if at <= now => {
                let ask = self.ask(now);
                CallerOutput::Write(Message::Ask(self.settings.id.clone(), ask).encode(&self.settings.system))
            }
            ask_at => {
                let lapses = self.held.as_ref().map(|held| held.until);
                let until = [ask_at, self.hold.due(), lapses].into_iter().flatten().min();
                CallerOutput::Wait { until }
            }
        }
    }

    fn ask_at(&self, now: Time) -> Option<Time> {
        if !self.limited || !self.caught_up {
            return None;
        }
        let gap = self.asked_at.map_or(now, |at| at.after(ASK_GAP_MIN));
        let is_busy = self.turns.waiting_total() > 0 || self.in_flight > 0;
        // One that has never asked has nothing that a new allocator could wait for.
        let at_once = self.ask_at_once && (is_busy || self.asked_at.is_some());
        let gives_back = !self.released && self.stopping;
        let is_last_in_flight = self.in_flight == 0 && self.said_in_flight > 0 && self.released;
        if at_once || gives_back || is_last_in_flight {
            return Some(gap);
        }
        if is_busy {
            return Some(self.asked_at.map_or(now, |at| at.after(ASK_EVERY)));
        }
        if self.released { None } else { Some(self.busy_at.after(IDLE_FOR).max(gap)) }
    }

    fn ask(&mut self, now: Time) -> Ask {
        let seq = self.next_seq;
        self.next_seq += 1;
        let waiting = self.turns.waiting_total();
        let holds = !self.stopping && (waiting > 0 || self.in_flight > 0);
        if !holds {
            self.release(now, seq);
        }
        self.released = !holds;
        self.asked_at = Some(now);
        self.ask_at_once = false;
        self.asked_for_work = waiting > 0;
        self.said_in_flight = self.in_flight;
        while self.sent.front().is_some_and(|(_, at)| at.after(LEASE) <= now) {
            self.sent.pop_front();
        }
        self.sent.push_back((seq, now));
        let wants = if holds { self.turns.wants(now) } else { Vec::new() };
        let day = self.day.as_ref().map(|day| DaySpent { day: day.day, spent: day.spent, allowance: day.allowance });
        let (read_to, in_flight, advertised) = (self.read_to, self.in_flight, self.advertised.take());
        let replayed = self.replayed_in_flight + self.turns.waiting_replayed();
        Ask { seq, read_to, holds, in_flight, waiting, replayed, wants, day, advertised }
    }

    /// Gives back what it holds, and all that it may still be granted for the asks before this one.
    fn release(&mut self, now: Time, seq: u64) {
        self.drop_grant(now);
        self.accept_from = seq;
        if let Some(day) = &mut self.day {
            let unspent = |allowance: Option<u64>, spent: u64| allowance.map(|allowance| allowance.min(spent));
            day.allowance = PerMeter {
                calls: unspent(day.allowance.calls, day.spent.calls),
                cost: unspent(day.allowance.cost, day.spent.cost),
            };
        }
    }

    /// Calls under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// What it holds now, for people.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        self.held.as_ref().map(|held| held.share)
    }

    /// Nobody calls before this, as far as it knows.
    #[must_use]
    pub fn not_before(&self) -> Time {
        self.hold.until()
    }

    /// Records that could not be read, by why: `key`, `version`, `value`.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<&'static str, u64> {
        &self.unreadable
    }
}

impl DayState {
    fn has_room(&self) -> bool {
        self.allowance.calls.is_none_or(|calls| self.spent.calls < calls)
            && self.allowance.cost.is_none_or(|cost| self.spent.cost < cost)
    }
}

fn wait_for(bucket: &Bucket, millionths: u64, now: Time, why: Why) -> Result<(), NotYet> {
    match bucket.ready_at(millionths) {
        Some(at) if at <= now => Ok(()),
        until => Err(NotYet { until, why }),
    }
}

/// What a record was unreadable for, as a label.
pub(crate) fn kind(why: &Unreadable) -> &'static str {
    match why {
        Unreadable::Key => "key",
        Unreadable::Version(_) => "version",
        Unreadable::TooLong(_) | Unreadable::Value(_) => "value",
    }
}
