//! The allocator: divides a system's limits among those who call it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account::Account;
use super::advertised::Learned;
use super::bucket::UNIT;
use super::budget::Budget;
use super::caller::kind;
use super::hold::Held;
use super::plan::plan;
use super::rotation::Rotation;
use super::{ASK_EVERY, Ask, CallerId, Claim, Grant, Key, LEASE, LimitsSettings, Message, Record, Share};
use crate::Time;

/// A claim that has not been read back after this may not be there, and is written again.
const CLAIM_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Who divides and has answered nobody for so long is taken for gone, and another claims. Three times as long as one that is
/// there can let pass without a [sign of life](Allocator::sign_of_life), and shorter than a lease: so whoever lives still
/// holds a share, or has not been without for long. One that was only slow is superseded, and costs a round trip.
const TAKEN_OVER_AFTER: Duration = Duration::from_millis(1_500);

/// Those who could take over do so one after the other, this far apart: more than a claim needs to be read by all, as a rule.
/// Where it is not, several claim, and the last one counts.
const TURN_TO_CLAIM: Duration = Duration::from_millis(200);

/// Most callers of a system. Of more than these, asks are passed over: each is answered by itself, twice a second.
const CALLERS_MAX: usize = 1_000;

/// Least time between two grants to a caller that it has not asked for.
const PUSH_GAP_MIN: Duration = Duration::from_millis(50);

/// How long a caller keeps its place where there are fewer than callers, and for how many calls at least: handing a place
/// over takes some tenths of a second in which nobody uses it, and what had grown towards the next call is lost, half a
/// call on average. With 20 calls that is 2.5 %. Who waits for a place waits so long at most for each that is before it.
const SLICE: Duration = Duration::from_secs(5);
const SLICE_CALLS: u64 = 20;
const SLICE_MAX: Duration = Duration::from_secs(60);

/// A tombstone that has not been read back is written again after this.
const CLEAN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Which system's limits it divides.
#[derive(Debug, Clone)]
pub struct AllocatorSettings {
    /// The system.
    pub system: String,
    /// The caller of this process, whose name the claims bear too.
    pub caller: CallerId,
    /// What there is to divide.
    pub limits: LimitsSettings,
    /// The longest that a call may be under way.
    pub deadline: Duration,
}

/// All that can happen to an allocator.
#[derive(Debug)]
pub enum AllocatorInput {
    /// A record of the topic came. Each from the beginning of the partition, in order.
    Read {
        /// Its offset.
        offset: i64,
        /// The record, of whatever system.
        record: Record,
    },
    /// The partition is read to where it ended when we began.
    CaughtUp,
    /// What the wall clock shows; needed at least twice a minute where there is a budget for a day.
    Wall {
        /// Milliseconds since the Unix epoch.
        unix_ms: i64,
    },
    /// It divides no more: whoever asks next has another do it.
    Stop,
    /// Time has passed.
    Tick,
}

/// All that an allocator can ask for. Ask until `Wait`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllocatorOutput {
    /// Write this to the topic, after what was to be written before. Whether it succeeds need not be said.
    Write(Record),
    /// Nothing to do before this, or before the next input.
    Wait {
        /// When there is something to do without an input.
        until: Option<Time>,
    },
}

/// Divides one system's limits, or stands by: there is one in each process that calls the system, and the log says which of
/// them divides. It is read to from the beginning of the partition. [`super::Caller`] has an example of both.
#[derive(Debug)]
pub struct Allocator {
    settings: AllocatorSettings,
    /// What there is to divide, before what the system says of itself.
    capacity: Share,
    phase: Phase,
    /// The latest claim, or what a grant tells of one that compaction took.
    epoch: Option<i64>,
    /// Whether the latest claim was given up, or none was ever made.
    is_vacant: bool,
    /// Since when somebody asks, and nobody has claimed or granted anything.
    unanswered: Option<Time>,
    /// When it last said that it is there.
    signed_at: Option<Time>,
    accounts: BTreeMap<CallerId, Account>,
    rotation: Rotation,
    budget: Budget,
    learned: Learned,
    /// To be answered.
    due: BTreeSet<CallerId>,
    next_number: u64,
    /// The grants that lie in the topic, by their epoch and caller.
    grants: BTreeMap<(i64, CallerId), Granted>,
    /// The grant of the latest epoch that was written last: it knows the day's total.
    tells_of_day: Option<(i64, i64)>,
    /// The callers of whom an ask lies in the topic.
    asks: BTreeSet<CallerId>,
    holds: Held,
    cleaning: BTreeMap<Key, Time>,
    clean_at: Time,
    /// When to look again whether somebody is short, if nobody asks before.
    look_at: Time,
    unreadable: BTreeMap<&'static str, u64>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It reads what lies in the topic.
    Reading,
    /// Another divides, or nobody.
    StandingBy,
    /// It has written its claim at this time, and has not read it.
    Claiming(Time),
    /// It divides; but grants nothing as long as what an older one granted may be in use.
    Granting(i64),
    /// It has to say that it divides no more.
    Resigning,
    /// It does nothing more.
    Stopped,
}

/// What has to be known of a grant that lies in the topic.
#[derive(Debug, Clone, Copy)]
struct Granted {
    offset: i64,
    /// The ask that it answers.
    seq: u64,
    counted_in_flight: u64,
}

impl Allocator {
    /// Makes one that has read nothing.
    #[must_use]
    pub fn new(settings: AllocatorSettings) -> Self {
        Self {
            capacity: settings.limits.capacity(),
            budget: Budget::new(&settings.limits),
            settings,
            phase: Phase::Reading,
            epoch: None,
            is_vacant: true,
            unanswered: None,
            signed_at: None,
            accounts: BTreeMap::new(),
            rotation: Rotation::default(),
            learned: Learned::default(),
            due: BTreeSet::new(),
            next_number: 1,
            grants: BTreeMap::new(),
            tells_of_day: None,
            asks: BTreeSet::new(),
            holds: Held::default(),
            cleaning: BTreeMap::new(),
            clean_at: Time::default(),
            look_at: Time::default(),
            unreadable: BTreeMap::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Time, input: AllocatorInput) {
        match input {
            AllocatorInput::Read { offset, record } => self.read(now, offset, &record),
            AllocatorInput::CaughtUp => {
                if self.phase == Phase::Reading {
                    self.phase = Phase::StandingBy;
                }
            }
            AllocatorInput::Stop => {
                self.phase = match self.phase {
                    Phase::Claiming(_) | Phase::Granting(_) => Phase::Resigning,
                    Phase::Reading | Phase::StandingBy => Phase::Stopped,
                    Phase::Resigning | Phase::Stopped => self.phase,
                }
            }
            AllocatorInput::Wall { unix_ms } => self.budget.wall(now, unix_ms),
            AllocatorInput::Tick => {}
        }
    }

    fn read(&mut self, now: Time, offset: i64, record: &Record) {
        let key = match Key::parse(&self.settings.system, &record.key) {
            Ok(Some(key)) => key,
            Ok(None) => return,
            Err(why) => return *self.unreadable.entry(kind(&why)).or_default() += 1,
        };
        match Message::decode(key, record.value.as_deref()) {
            Ok(Message::Claim(claim)) => self.read_claim(now, offset, &claim),
            Ok(Message::Ask(caller, ask)) => self.read_ask(now, caller, &ask),
            Ok(Message::Grant(epoch, caller, grant)) => self.read_grant(offset, epoch, caller, &grant),
            Ok(Message::NotBefore(caller, number, not_before)) => self.holds.read(now, caller, number, not_before),
            Ok(Message::Gone(key)) => self.read_gone(&key),
            Err(why) => *self.unreadable.entry(kind(&why)).or_default() += 1,
        }
    }

    fn read_claim(&mut self, now: Time, offset: i64, claim: &Claim) {
        self.epoch = Some(offset);
        self.is_vacant = false;
        self.unanswered = None;
        self.due.clear();
        match self.phase {
            Phase::StandingBy | Phase::Claiming(_) | Phase::Granting(_) => {
                if claim.by == self.settings.caller.to_string() {
                    self.begin(now, offset);
                } else {
                    self.phase = Phase::StandingBy;
                }
            }
            Phase::Reading | Phase::Resigning | Phase::Stopped => {}
        }
    }

    /// Our claim is read: what was granted before it lies in the topic before it, and has been read. All who hold such a
    /// grant are named there.
    fn begin(&mut self, now: Time, epoch: i64) {
        self.phase = Phase::Granting(epoch);
        for account in self.accounts.values_mut() {
            account.begin();
        }
        let mut granted: BTreeMap<&CallerId, Granted> = BTreeMap::new();
        for ((_, caller), grant) in &self.grants {
            let most = granted.entry(caller).or_insert(*grant);
            most.seq = most.seq.max(grant.seq);
            most.counted_in_flight = most.counted_in_flight.max(grant.counted_in_flight);
        }
        for (caller, most) in granted {
            let account = self.accounts.entry(caller.clone()).or_default();
            account.inherit(now, most.seq, most.counted_in_flight, self.settings.deadline);
        }
    }

    fn read_ask(&mut self, now: Time, caller: CallerId, ask: &Ask) {
        if self.accounts.len() >= CALLERS_MAX && !self.accounts.contains_key(&caller) {
            return;
        }
        self.asks.insert(caller.clone());
        let ours = match self.phase {
            Phase::Granting(epoch) => Some(epoch),
            Phase::Reading | Phase::StandingBy | Phase::Claiming(_) | Phase::Resigning | Phase::Stopped => None,
        };
        // What is read while it catches up was answered long ago, or has nobody any more who waits for it.
        if ask.holds && self.phase != Phase::Reading {
            self.unanswered.get_or_insert(now);
        }
        let account = self.accounts.entry(caller.clone()).or_default();
        if !account.asks(now, ask, ours) {
            return;
        }
        if let Some(advertised) = &ask.advertised {
            self.learned.learn(now, advertised);
        }
        if ours.is_some_and(|epoch| ask.read_to >= epoch) {
            self.budget.settle(account, ask);
            self.due.insert(caller);
        }
    }

    fn read_grant(&mut self, offset: i64, epoch: i64, caller: CallerId, grant: &Grant) {
        // One of an epoch that is over counts for nothing with its caller. But it may have taken the place of one that
        // does count, in a topic that was compacted; and it was made knowing that one, and allows for it.
        let (seq, counted_in_flight) = (grant.seq, grant.counted_in_flight);
        self.grants.insert((epoch, caller.clone()), Granted { offset, seq, counted_in_flight });
        if self.tells_of_day.is_none_or(|newest| newest <= (epoch, offset))
            && (grant.day.is_some() || !self.budget.is_limited())
        {
            self.tells_of_day = Some((epoch, offset));
            if let (Some(day), false) = (&grant.day, matches!(self.phase, Phase::Granting(_))) {
                self.budget.read(day);
            }
        }
        if self.epoch.is_some_and(|latest| epoch < latest) {
            return;
        }
        self.epoch = Some(epoch);
        self.unanswered = None;
        if let (Phase::Granting(_), Some(account)) = (self.phase, self.accounts.get_mut(&caller)) {
            account.read_back(grant.number, offset);
        }
    }

    fn read_gone(&mut self, key: &Key) {
        self.cleaning.remove(key);
        match key {
            Key::Claim => {
                self.is_vacant = true;
                // Somebody who did not know that it divides no more has given up what is ours by now.
                if let Phase::Granting(_) = self.phase {
                    self.phase = Phase::StandingBy;
                }
            }
            Key::Ask(caller) => {
                self.asks.remove(caller);
                // Who divides forgets by itself; who stands by, when that one does.
                if !matches!(self.phase, Phase::Granting(_)) {
                    self.accounts.remove(caller);
                }
            }
            Key::Grant(epoch, caller) => {
                self.grants.remove(&(*epoch, caller.clone()));
            }
            Key::NotBefore(caller, number) => self.holds.gone(caller, *number),
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Time) -> AllocatorOutput {
        match self.phase {
            Phase::Reading | Phase::Stopped => AllocatorOutput::Wait { until: None },
            Phase::StandingBy => self.claim_or_wait(now, self.claim_at()),
            Phase::Claiming(at) => self.claim_or_wait(now, Some(at.after(CLAIM_AGAIN_AFTER))),
            Phase::Granting(epoch) => self.grant_or_wait(now, epoch),
            Phase::Resigning => {
                self.phase = Phase::Stopped;
                self.write(&Message::Gone(Key::Claim))
            }
        }
    }

    /// When to take over, if nobody answers until then: whose caller is the first of those that ask goes first, since at least
    /// it is there.
    fn claim_at(&self) -> Option<Time> {
        let since = self.unanswered?;
        let asks = |account: &Account| account.asked_at >= since && account.ask.as_ref().is_some_and(|ask| ask.holds);
        let asking = self.accounts.iter().filter(|(_, account)| asks(account)).map(|(caller, _)| caller);
        let before = u32::try_from(asking.take_while(|caller| **caller != self.settings.caller).count());
        let patience = if self.is_vacant { Duration::ZERO } else { TAKEN_OVER_AFTER };
        Some(since.after(patience + TURN_TO_CLAIM.saturating_mul(before.unwrap_or(u32::MAX))))
    }

    fn claim_or_wait(&mut self, now: Time, at: Option<Time>) -> AllocatorOutput {
        if at.is_none_or(|at| now < at) {
            return AllocatorOutput::Wait { until: at };
        }
        self.phase = Phase::Claiming(now);
        self.write(&Message::Claim(Claim { by: self.settings.caller.to_string() }))
    }

    fn write(&self, message: &Message) -> AllocatorOutput {
        AllocatorOutput::Write(message.encode(&self.settings.system))
    }

    fn grant_or_wait(&mut self, now: Time, epoch: i64) -> AllocatorOutput {
        self.accounts.values_mut().for_each(|account| account.lapse(now));
        if let Some(key) = self.next_to_clean(now, epoch) {
            self.cleaning.insert(key.clone(), now.after(CLEAN_AGAIN_AFTER));
            return self.write(&Message::Gone(key));
        }
        let silent_until = self.silent_until(now);
        if silent_until.is_none() && (!self.due.is_empty() || self.look_at <= now) {
            let planned = self.plan(now, epoch);
            self.push(now, &planned);
            while let Some(caller) = self.due.pop_first() {
                if let Some(grant) = self.grant(now, &caller, planned.get(&caller).copied()) {
                    return self.write(&Message::Grant(epoch, caller, grant));
                }
            }
        }
        if let Some((caller, grant)) = self.sign_of_life(now) {
            return self.write(&Message::Grant(epoch, caller, grant));
        }
        if self.look_at <= now {
            self.look_at = now.after(PUSH_GAP_MIN);
        }
        let deadline = self.settings.deadline;
        let lapses = self.accounts.values().filter_map(|account| account.lapses_at(now, deadline)).min();
        let turns = self.rotation.next(now, self.slice(now));
        let until = [silent_until, lapses, turns].into_iter().flatten().min();
        // Nothing has to be to the millisecond here, and asks come all the time: so seldom is enough.
        AllocatorOutput::Wait { until: until.map(|until| until.max(now.after(PUSH_GAP_MIN))) }
    }

    /// As long as what an older allocator granted may be in use, nothing is granted.
    fn silent_until(&self, now: Time) -> Option<Time> {
        let silent = self.accounts.values().any(|account| account.may_use_what_is_older(now));
        silent.then(|| now.after(PUSH_GAP_MIN))
    }

    /// What each caller that is there should have.
    fn plan(&mut self, now: Time, epoch: i64) -> BTreeMap<CallerId, Share> {
        let capacity = self.learned.cap(now, self.capacity);
        let active = self.accounts.iter().filter(|(_, account)| account.is_active(now, epoch));
        let asks: Vec<(&CallerId, &Ask)> =
            active.filter_map(|(caller, account)| account.ask.as_ref().map(|ask| (caller, ask))).collect();
        let wanting: Vec<(CallerId, bool)> =
            asks.iter().map(|(caller, ask)| ((*caller).clone(), ask.wants.iter().any(|want| !want.replay))).collect();
        let slice = slice(capacity);
        let chosen = self.rotation.choose(now, places(capacity), slice, &wanting);
        let asks: Vec<(&CallerId, &Ask)> = asks.into_iter().filter(|(caller, _)| chosen.contains(*caller)).collect();
        let shares = plan(capacity, &asks.iter().map(|(_, ask)| *ask).collect::<Vec<_>>());
        asks.into_iter().map(|(caller, _)| caller.clone()).zip(shares).collect()
    }

    fn slice(&self, now: Time) -> Duration {
        slice(self.learned.cap(now, self.capacity))
    }

    /// If somebody has far less than it should have, those with more are told at once, and it is too when there is room.
    /// Else all is well enough until the next ask.
    fn push(&mut self, now: Time, planned: &BTreeMap<CallerId, Share>) {
        let nothing = self.learned.cap(now, self.capacity).none_of();
        let has = |account: &Account| account.last_given(now).unwrap_or(nothing);
        let is_short = |caller: &CallerId| {
            self.accounts
                .get(caller)
                .zip(planned.get(caller))
                .is_some_and(|(account, share)| has(account).is_below(50, *share))
        };
        if !planned.keys().any(is_short) {
            return;
        }
        let counted = self.counted(now);
        let pushed: Vec<CallerId> = self
            .accounts
            .iter()
            .filter(|(_, account)| account.ask.as_ref().is_some_and(|ask| ask.holds))
            .filter(|(_, account)| account.pushed_at.is_none_or(|at| at.after(PUSH_GAP_MIN) <= now))
            .filter(|(caller, account)| {
                let share = planned.get(*caller).copied().unwrap_or(nothing);
                let has = has(account);
                share.is_below(95, has)
                    || (is_short(caller) && has.is_below(50, self.room_for(now, account, counted, share)))
            })
            .map(|(caller, _)| caller.clone())
            .collect();
        for caller in pushed {
            if let Some(account) = self.accounts.get_mut(&caller) {
                account.pushed_at = Some(now);
                self.due.insert(caller);
            }
        }
    }

    /// All that may be in use.
    fn counted(&self, now: Time) -> Share {
        let nothing = self.learned.cap(now, self.capacity).none_of();
        let each = self.accounts.values().map(|account| account.counted(now, nothing, self.settings.deadline));
        each.fold(nothing, |sum, one| sum.zip(one, u64::saturating_add))
    }

    /// What of this share the others leave. Without room for a single call it is nothing: it would only be in the way.
    fn room_for(&self, now: Time, account: &Account, counted: Share, share: Share) -> Share {
        let capacity = self.learned.cap(now, self.capacity);
        let nothing = capacity.none_of();
        let others = counted.zip(account.counted(now, nothing, self.settings.deadline), u64::saturating_sub);
        let room = share.zip(capacity.zip(others, u64::saturating_sub), u64::min);
        if room.is_of_use() { room } else { nothing }
    }

    fn grant(&mut self, now: Time, caller: &CallerId, planned: Option<Share>) -> Option<Grant> {
        let nothing = self.learned.cap(now, self.capacity).none_of();
        let account = self.accounts.get(caller)?;
        let share = self.room_for(now, account, self.counted(now), planned.unwrap_or(nothing));
        let today = self.budget.today(now);
        if self.budget.is_limited() && today.is_none() {
            // What is granted of a day ends with it, so that there is nothing to take back.
            return None;
        }
        let deadline = self.settings.deadline;
        let account = self.accounts.get_mut(caller)?;
        let seq = account.ask.as_ref().filter(|ask| ask.holds)?.seq;
        if !share.is_of_use() && account.last_given(now).is_none_or(|given| !given.is_of_use()) {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        let limited = self.budget.is_limited();
        let lease = today.filter(|_| limited).map_or(LEASE, |(_, left)| left.min(LEASE));
        account.give(number, seq, share, lease, deadline);
        let counted_in_flight = account.counted_in_flight(now, deadline);
        let day = today.filter(|_| limited).map(|(today, _)| self.budget.top_up(today, account));
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        Some(Grant { number, seq, lease_ms, share, counted_in_flight, day })
    }

    /// A grant that holds for no time, where somebody asks and nobody can be granted anything for longer than the time between
    /// two asks: it says that somebody divides, so that nobody takes over.
    fn sign_of_life(&mut self, now: Time) -> Option<(CallerId, Grant)> {
        let signed = self.signed_at.is_some_and(|at| now < at.after(ASK_EVERY));
        if signed || now < self.unanswered?.after(ASK_EVERY) {
            return None;
        }
        let nothing = self.learned.cap(now, self.capacity).none_of();
        let deadline = self.settings.deadline;
        let has_use = |account: &Account| account.last_given(now).is_some_and(Share::is_of_use);
        let asks = |account: &Account| account.ask.as_ref().is_some_and(|ask| ask.holds) && !has_use(account);
        let (caller, account) = self.accounts.iter_mut().find(|(_, account)| asks(account))?;
        let seq = account.ask.as_ref()?.seq;
        self.signed_at = Some(now);
        let number = self.next_number;
        self.next_number += 1;
        account.give(number, seq, nothing, Duration::ZERO, deadline);
        let counted_in_flight = account.counted_in_flight(now, deadline);
        let grant = Grant { number, seq, lease_ms: 0, share: nothing, counted_in_flight, day: None };
        Some((caller.clone(), grant))
    }

    /// A key of which nothing is in use any more. The grant that tells of the day stays.
    fn next_to_clean(&mut self, now: Time, epoch: i64) -> Option<Key> {
        if now < self.clean_at {
            return None;
        }
        let deadline = self.settings.deadline;
        self.accounts.retain(|_, account| !account.is_over(now, deadline));
        let grants = self.grants.iter().filter(|((of, caller), granted)| {
            let account = self.accounts.get(caller);
            Some((*of, granted.offset)) != self.tells_of_day
                && account.is_none_or(|account| *of < epoch && !account.inherits())
        });
        let grants = grants.map(|((of, caller), _)| Key::Grant(*of, caller.clone()));
        let asks = self.asks.iter().filter(|caller| !self.accounts.contains_key(caller)).cloned().map(Key::Ask);
        let found = grants
            .chain(asks)
            .chain(self.holds.passed(now))
            .find(|key| self.cleaning.get(key).is_none_or(|again| *again <= now));
        if found.is_none() {
            self.clean_at = now.after(ASK_EVERY);
        }
        found
    }

    /// Whether it divides the limits now, for people.
    #[must_use]
    pub fn is_granting(&self, now: Time) -> bool {
        matches!(self.phase, Phase::Granting(_)) && self.silent_until(now).is_none()
    }

    /// Records that could not be read, by why: `key`, `version`, `value`.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<&'static str, u64> {
        &self.unreadable
    }
}

/// How many callers can hold a share at once: a call of burst and a call in flight for each.
fn places(capacity: Share) -> usize {
    let burst = capacity.burst.map(|burst| burst / UNIT);
    let places = [burst, capacity.in_flight].into_iter().flatten().min();
    places.map_or(CALLERS_MAX, |places| usize::try_from(places).unwrap_or(CALLERS_MAX).max(1))
}

fn slice(capacity: Share) -> Duration {
    let places = u64::try_from(places(capacity)).unwrap_or(u64::MAX);
    let calls = capacity.rate.map(|rate| SLICE_CALLS.saturating_mul(places).saturating_mul(UNIT * 1_000) / rate.max(1));
    calls.map_or(SLICE, |ms| Duration::from_millis(ms).clamp(SLICE, SLICE_MAX))
}
