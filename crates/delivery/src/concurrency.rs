//! How many calls may be under way: from one to all that are configured, as the system bears it.
//!
//! Additive increase and multiplicative decrease, TCP's way (RFC 5681, §3.1). Each round trip is judged by its answers: one
//! that went well, and had all under way that was allowed, allows more; one that shows a system with more than it can do
//! allows a part of it. There are two signs of that: more of its calls fail than is normal, or they take far longer.
//!
//! **A cut has to help.** A system that fails a fifth of its calls however few they are, or that is slow from today on, would
//! be called by ever fewer, down to one, and be none the better for it. So where the sign is still there at a quarter of the
//! calls, their number is not to blame: all that was cut is given back, and what is seen then is what is normal. A system of
//! constant latency, whatever that is, so gets all the calls that may be. (The gradients of Netflix's concurrency-limits and of
//! Envoy measure by a mean, which a slow overload takes along with it, or by a minimum, for which they hold calls back from
//! time to time; neither asks whether the number of calls is to blame.)

use std::collections::VecDeque;

use crate::{Answer, Time};

/// Calls that may be under way at first, before anything is known: about TCP's first window (RFC 6928: 10 segments).
const AT_FIRST: usize = 16;

/// The last calls that worked whose times are looked at.
const TIMES: usize = 32;

/// Their lower quartile counts: calls that wait in line all take longer, where one slow key, or half of them, says nothing.
const QUARTILE: usize = 4;

/// Fewer times than this say nothing.
const TIMES_MIN: usize = 8;

/// Calls take far longer if they take more than so many times what is normal …
const LONGER_TIMES: f64 = 2.0;

/// … and by so much, in seconds: below that it may be noise of the network or of our own machine, and hurts no system.
const LONGER_BY: f64 = 0.05;

/// More calls than is normal fail if it is this part of all beyond that.
const FAILED_BEYOND: f64 = 0.125;

/// Where some fail, answers that it takes to say which part of them: a round trip of a few calls is too short for that. Of as
/// many, five have to fail that none did before.
const ANSWERS_MIN: usize = 32;

/// A sign that is still there at this part of the calls has nothing to do with their number. A system that cannot do so many
/// fails most of what it is sent: that is an outage.
const DESCENT_PART: usize = 4;

/// What is normal follows what is seen by this part of the way with each round trip, so that one that is out of the ordinary does
/// not set it.
const FOLLOWS: f64 = 0.125;

/// A step upwards is one, or this part of what is allowed where that is much, so that coming back from a cut takes some ten
/// round trips, whatever the number.
const STEP_PART: usize = 32;

/// How many calls may be under way, and what is known of the system to say so.
#[derive(Debug)]
pub(crate) struct Concurrency {
    max: usize,
    /// Whether fewer are allowed where the system seems to have too many.
    adapts: bool,
    limit: usize,
    /// Up to this it doubles with each round trip (slow start), and goes by steps from there.
    doubles_to: usize,
    /// The answers of calls that were sent before say nothing of what is allowed now.
    since: Time,
    round: Round,
    /// What the last calls took, in seconds.
    times: VecDeque<f64>,
    /// The part of the calls that fails, and the seconds that one takes, while the system has no more than it can do.
    failed_normally: f64,
    normal_time: Option<f64>,
    descent: Option<Descent>,
}

/// The answers since the last verdict.
#[derive(Debug, Default)]
struct Round {
    answers: usize,
    failed: usize,
    /// All that was allowed was under way.
    in_use: bool,
}

/// What was allowed before a first cut, whose sign has not gone since.
#[derive(Debug, Clone, Copy)]
struct Descent {
    limit: usize,
    doubles_to: usize,
    /// What was answered on the way down, so that what is normal is not taken from a few.
    answers: usize,
    failed: usize,
}

/// What a round trip shows.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// Nothing yet: it goes on.
    Open,
    /// Nothing, since not all was in use.
    Nothing,
    Well,
    /// More of the calls fail than is normal.
    Failing,
    /// They take far longer than is normal: so many seconds.
    Slow(f64),
}

/// How a call ended, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It had its effect: what it took is what a call takes.
    Worked,
    /// It failed as calls do to a system that has too many.
    Failed,
    /// It says nothing of how busy the system is.
    Else,
}

impl Ended {
    pub(crate) fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Applied | Answer::AppliedUnreadable(_) => Self::Worked,
            Answer::Throttled { .. } | Answer::NotApplied(_) | Answer::Unknown(_) => Self::Failed,
            Answer::Refused(_)
            | Answer::Conflict(_)
            | Answer::AbsentOrForbidden(_)
            | Answer::Credential(_)
            | Answer::Misconfigured(_) => Self::Else,
        }
    }
}

impl Concurrency {
    pub(crate) fn new(max: usize, adapts: bool, now: Time) -> Self {
        let max = max.max(1);
        Self {
            max,
            adapts,
            limit: if adapts { max.min(AT_FIRST) } else { max },
            doubles_to: max,
            since: now,
            round: Round::default(),
            times: VecDeque::with_capacity(TIMES),
            failed_normally: 0.0,
            normal_time: None,
            descent: None,
        }
    }

    /// How many calls may be under way.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A call ended that was sent at that time, one of so many that were under way.
    pub(crate) fn ended(&mut self, now: Time, sent_at: Time, under_way: usize, ended: Ended) {
        if sent_at < self.since {
            return;
        }
        self.round.answers += 1;
        self.round.failed += usize::from(ended == Ended::Failed);
        self.round.in_use |= under_way >= self.limit;
        if ended == Ended::Worked {
            if self.times.len() == TIMES {
                self.times.pop_front();
            }
            self.times.push_back(now.since(sent_at).as_secs_f64());
        }
        match self.verdict() {
            Verdict::Open => return,
            Verdict::Nothing => {}
            Verdict::Well => self.grow(),
            // A quarter less: hardly more than the system can do is enough for some to fail.
            Verdict::Failing if self.is_to_blame() => self.cut_to(self.limit * 3 / 4, now),
            Verdict::Failing => {
                let (answers, failed) = self.descent.map_or((0, 0), |before| (before.answers, before.failed));
                self.failed_normally = part(failed + self.round.failed, answers + self.round.answers);
                self.give_back();
            }
            // Half: they take twice as long when there are twice as many as the system can do.
            Verdict::Slow(_) if self.is_to_blame() => self.cut_to(self.limit / 2, now),
            Verdict::Slow(time) => {
                self.normal_time = Some(time);
                self.give_back();
            }
        }
        self.round = Round::default();
    }

    /// An outage is over: it begins with one call, and doubles up to half of what was allowed before, which may have been too
    /// much.
    pub(crate) fn begin_again(&mut self, now: Time) {
        let before = self.descent.take().map_or(self.limit, |before| before.limit);
        self.doubles_to = if self.adapts { (before / 2).max(1) } else { self.max };
        self.set(1, now);
    }

    /// What the round shows by now. It is over when as many calls have been answered as may be under way; where more have
    /// failed than may of so many, at once: what is refused comes back fast, and is followed by the next.
    fn verdict(&mut self) -> Verdict {
        let Round { answers, failed, in_use } = self.round;
        let to_blame = self.is_to_blame();
        let whole = if failed == 0 { self.limit } else { self.limit.max(ANSWERS_MIN) };
        let share = part(failed, answers.max(whole));
        let failing = self.adapts && share > self.failed_normally + FAILED_BEYOND;
        if failing && in_use && (to_blame || answers >= whole) {
            return Verdict::Failing;
        }
        let time = self.time();
        if answers < whole || (self.descent.is_some() && time.is_none()) {
            return Verdict::Open;
        }
        if failing || !in_use {
            return Verdict::Nothing;
        }
        if let Some(time) = time.filter(|_| self.adapts) {
            let normal = *self.normal_time.get_or_insert(time);
            if time > normal * LONGER_TIMES + LONGER_BY {
                return Verdict::Slow(time);
            }
            self.normal_time = Some(follow(normal, time).min(normal));
        }
        self.failed_normally = follow(self.failed_normally, share);
        Verdict::Well
    }

    /// Whether the number of calls may still be what is wrong.
    fn is_to_blame(&self) -> bool {
        self.limit > 1 && self.descent.is_none_or(|before| self.limit * DESCENT_PART > before.limit)
    }

    fn grow(&mut self) {
        let more = if self.limit < self.doubles_to {
            (self.limit * 2).min(self.doubles_to)
        } else {
            self.limit + (self.limit / STEP_PART).max(1)
        };
        self.limit = more.min(self.max);
        self.descent = None;
    }

    fn cut_to(&mut self, fewer: usize, now: Time) {
        let fewer = fewer.max(1);
        if fewer < self.limit {
            let (limit, doubles_to) = (self.limit, self.doubles_to);
            let descent = self.descent.get_or_insert(Descent { limit, doubles_to, answers: 0, failed: 0 });
            descent.answers += self.round.answers;
            descent.failed += self.round.failed;
            self.doubles_to = fewer;
            self.set(fewer, now);
        }
    }

    fn give_back(&mut self) {
        if let Some(before) = self.descent.take() {
            (self.limit, self.doubles_to) = (before.limit, before.doubles_to);
        }
    }

    /// So many from now on; what was answered before says nothing of that.
    fn set(&mut self, limit: usize, now: Time) {
        self.limit = limit;
        self.since = now;
        self.round = Round::default();
        self.times.clear();
    }

    /// What the last calls took.
    fn time(&self) -> Option<f64> {
        if self.times.len() < TIMES_MIN {
            return None;
        }
        let mut times: Vec<f64> = self.times.iter().copied().collect();
        let (_, time, _) = times.select_nth_unstable_by(self.times.len() / QUARTILE, f64::total_cmp);
        Some(*time)
    }
}

fn follow(normal: f64, seen: f64) -> f64 {
    normal + (seen - normal) * FOLLOWS
}

#[allow(clippy::cast_precision_loss, reason = "numbers of calls under way")]
fn part(some: usize, all: usize) -> f64 {
    some as f64 / all as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    use std::time::Duration;

    use super::*;

    /// What a system does with what is more than it can do at once.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Beyond {
        Waits,
        IsRefused,
    }

    /// A system under a load that takes all that is allowed.
    struct Model {
        concurrency: Concurrency,
        now_ms: f64,
        dice: u64,
        under_way: BinaryHeap<Reverse<(u64, u64, bool)>>,
        /// How many it can do at once, and when each of its places is free.
        capacity: usize,
        beyond: Beyond,
        service_ms: f64,
        /// Calls of a thousand that take ten times as long, and that fail whatever the load.
        slow: u64,
        failing: u64,
        // What came to pass in the last run.
        ran_secs: f64,
        worked: usize,
        failed: usize,
        limits: Vec<usize>,
    }

    impl Model {
        fn new(max: usize, capacity: usize, beyond: Beyond, service_ms: f64) -> Self {
            Self {
                concurrency: Concurrency::new(max, true, Time::default()),
                now_ms: 0.0,
                dice: 7,
                under_way: BinaryHeap::new(),
                capacity,
                beyond,
                service_ms,
                slow: 0,
                failing: 0,
                ran_secs: 0.0,
                worked: 0,
                failed: 0,
                limits: Vec::new(),
            }
        }

        fn draw(&mut self, below: u64) -> u64 {
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.dice >> 33) % below
        }

        fn time(&self) -> Time {
            Time(Duration::from_secs_f64(self.now_ms / 1_000.0))
        }

        /// A call is sent: it ends after the service's time, more or less, and what it waits in line.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        fn send(&mut self) {
            let busy = self.under_way.len();
            let refused = self.beyond == Beyond::IsRefused && busy >= self.capacity;
            let failed = refused || self.draw(1_000) < self.failing;
            let spread = 0.7 + self.draw(600) as f64 / 1_000.0;
            let slow = if self.draw(1_000) < self.slow { 10.0 } else { 1.0 };
            let wait = if self.beyond == Beyond::Waits { (busy as f64 / self.capacity as f64).max(1.0) } else { 1.0 };
            let took = if refused { 2.0 } else { self.service_ms * spread * slow * wait };
            let us = |ms: f64| (ms * 1_000.0) as u64;
            self.under_way.push(Reverse((us(self.now_ms + took), us(self.now_ms), failed)));
        }

        fn run_round_trips(&mut self, number: f64) {
            self.run(number * self.service_ms / 1_000.0);
        }

        /// Lets time pass.
        #[allow(clippy::cast_precision_loss)]
        fn run(&mut self, secs: f64) {
            (self.ran_secs, self.worked, self.failed, self.limits) = (secs, 0, 0, Vec::new());
            let end = self.now_ms + secs * 1_000.0;
            loop {
                while self.under_way.len() < self.concurrency.limit() {
                    self.send();
                }
                let under_way = self.under_way.len();
                let Reverse((at_us, sent_us, failed)) = self.under_way.pop().unwrap();
                self.now_ms = at_us as f64 / 1_000.0;
                (self.worked, self.failed) = (self.worked + usize::from(!failed), self.failed + usize::from(failed));
                let ended = if failed { Ended::Failed } else { Ended::Worked };
                let sent_at = Time(Duration::from_micros(sent_us));
                self.concurrency.ended(self.time(), sent_at, under_way, ended);
                self.limits.push(self.concurrency.limit());
                if self.now_ms >= end {
                    return;
                }
            }
        }

        fn least(&self) -> usize {
            *self.limits.iter().min().unwrap()
        }

        fn most(&self) -> usize {
            *self.limits.iter().max().unwrap()
        }

        fn mean(&self) -> f64 {
            part(self.limits.iter().sum::<usize>(), self.limits.len())
        }

        /// Calls a second that worked, and that work where so many are under way.
        fn rate(&self) -> f64 {
            part(self.worked, 1) / self.ran_secs
        }

        fn rate_of(&self, under_way: usize) -> f64 {
            part(under_way, 1) / (self.service_ms / 1_000.0)
        }
    }

    #[test]
    fn a_system_that_bears_it_gets_all_calls_within_ten_round_trips_and_keeps_them_whatever_a_call_takes() {
        for service_ms in [0.5, 20.0, 200.0, 2_000.0] {
            let mut model = Model::new(256, usize::MAX, Beyond::Waits, service_ms);
            model.run_round_trips(10.0);
            assert_eq!(model.concurrency.limit(), 256, "{service_ms} ms");
            model.run_round_trips(200.0);
            assert_eq!(model.least(), 256, "{service_ms} ms");
        }
    }

    #[test]
    fn where_calls_wait_in_line_there_are_no_fewer_than_a_system_can_do_and_no_more_than_three_times_that() {
        for (capacity, service_ms) in [(20, 200.0), (40, 500.0), (100, 200.0)] {
            let mut model = Model::new(1_024, capacity, Beyond::Waits, service_ms);
            model.run(60.0);
            model.run(60.0);
            let line = format!("{capacity} of {service_ms} ms: {} to {}", model.least(), model.most());
            assert!(model.least() >= capacity && model.most() <= capacity * 3, "{line}");
        }
    }

    #[test]
    fn where_calls_are_refused_there_are_about_as_many_as_a_system_can_do_and_few_are_refused() {
        for (capacity, refused_max) in [(6, 0.25), (10, 0.2), (24, 0.06), (100, 0.04)] {
            let mut model = Model::new(512, capacity, Beyond::IsRefused, 50.0);
            model.run(30.0);
            model.run(60.0);
            let (mean, refused) = (model.mean(), part(model.failed, model.worked + model.failed));
            let about = part(capacity, 1) * 0.8..=part(capacity, 1) * 1.1;
            assert!(about.contains(&mean) && refused <= refused_max, "{capacity}: {mean:.1}, {refused:.3} refused");
            assert!(model.rate() >= 0.8 * model.rate_of(capacity), "{capacity}: {:.1} a second", model.rate());
        }
    }

    #[test]
    fn when_a_system_can_do_more_again_it_gets_more_with_each_round_trip() {
        for (beyond, service_ms) in [(Beyond::IsRefused, 50.0), (Beyond::Waits, 200.0)] {
            let mut model = Model::new(64, 10, beyond, service_ms);
            model.run(30.0);
            let before = model.concurrency.limit();
            assert!(before <= 30, "{before}");
            model.capacity = usize::MAX;
            model.run_round_trips(70.0);
            assert_eq!(model.concurrency.limit(), 64);
        }
    }

    #[test]
    fn a_system_that_is_slower_for_good_is_not_called_less_for_it() {
        for max in [4, 16, 64, 512] {
            let mut model = Model::new(max, usize::MAX, Beyond::Waits, 20.0);
            model.run(20.0);
            model.service_ms = 400.0;
            model.run_round_trips(50.0);
            let (rate, possible) = (model.rate(), model.rate_of(max));
            assert!(rate >= 0.8 * possible, "{max}: {rate:.0} of {possible:.0} a second in the first 50 round trips");
            model.run_round_trips(50.0);
            assert_eq!(model.least(), max);
        }
    }

    #[test]
    fn slow_keys_say_nothing_of_the_others() {
        let mut model = Model::new(64, usize::MAX, Beyond::Waits, 20.0);
        model.slow = 300;
        model.run(5.0);
        model.run(30.0);
        assert_eq!(model.least(), 64);
    }

    #[test]
    fn calls_that_fail_whatever_their_number_take_little_from_the_others() {
        for (max, failing, least) in
            [(64, 10, 0.98), (64, 50, 0.98), (64, 100, 0.95), (64, 300, 0.7), (16, 50, 0.95), (4, 10, 0.98)]
        {
            let mut model = Model::new(max, usize::MAX, Beyond::Waits, 20.0);
            model.failing = failing;
            model.run(60.0);
            #[allow(clippy::cast_precision_loss)]
            let possible = model.rate_of(max) * (1_000 - failing) as f64 / 1_000.0;
            let rate = model.rate();
            assert!(rate >= least * possible, "{max}, {failing} of 1,000 fail: {rate:.0} of {possible:.0} a second");
        }
    }

    #[test]
    fn what_is_not_in_use_is_neither_raised_nor_cut() {
        for ended in [Ended::Worked, Ended::Failed] {
            let mut concurrency = Concurrency::new(64, true, Time::default());
            for secs in 0..1_000 {
                let (sent_at, now) = (Duration::from_secs(secs), Duration::from_secs(secs + 1));
                concurrency.ended(Time(now), Time(sent_at), 3, ended);
            }
            assert_eq!(concurrency.limit(), AT_FIRST, "{ended:?}");
        }
    }

    #[test]
    fn what_was_sent_before_a_cut_says_nothing_of_what_is_allowed_since() {
        let mut concurrency = Concurrency::new(16, true, Time::default());
        let now = Time(Duration::from_secs(1));
        (0..16).for_each(|_| concurrency.ended(now, Time::default(), 16, Ended::Failed));
        assert_eq!(concurrency.limit(), 12);
    }

    #[test]
    fn there_is_always_one_call() {
        let mut concurrency = Concurrency::new(1, true, Time::default());
        for secs in 0..1_000 {
            let (sent_at, now) = (Duration::from_secs(secs), Duration::from_secs(secs + 1));
            concurrency.ended(Time(now), Time(sent_at), 1, Ended::Failed);
            assert_eq!(concurrency.limit(), 1);
        }
    }

    #[test]
    fn after_an_outage_the_calls_double_to_half_of_what_they_were_and_go_by_steps_from_there() {
        let climb = |adapts| {
            let mut model = Model::new(64, usize::MAX, Beyond::Waits, 20.0);
            model.concurrency.adapts = adapts;
            model.run(5.0);
            model.under_way.clear();
            model.concurrency.begin_again(model.time());
            model.run(0.3);
            let mut steps = model.limits.clone();
            steps.dedup();
            steps.truncate(8);
            steps
        };
        assert_eq!(climb(true), [2, 4, 8, 16, 32, 33, 34, 35]);
        assert_eq!(climb(false), [2, 4, 8, 16, 32, 64]);
    }
}
