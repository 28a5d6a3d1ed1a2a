//! Single rules of shared limits, without dice.

use tieline_delivery::Time;
use tieline_delivery::limits::{Advertised, CallerInput, CostLimits, LimitsSettings, Policy, Record, Remaining, Why};

use crate::bench::{Bench, UNIX_MS, flow, ms, replay_of, secs};

fn per_second(rate: f64, burst: u32) -> LimitsSettings {
    LimitsSettings { per_second: Some(rate), burst: Some(burst), ..Default::default() }
}

#[test]
fn a_takeover_is_silent_for_a_round_trip_if_all_who_hold_something_answer() {
    let mut bench = Bench::new(2, per_second(20.0, 40));
    (0..2).for_each(|caller| bench.want(caller, 100));
    bench.advance(secs(5));
    bench.take_over();
    bench.advance(ms(60));
    assert!(bench.is_granting(), "both have asked with the claim read");
    assert!(bench.callers.iter().all(|caller| caller.share().is_some()));
}

#[test]
fn a_takeover_waits_for_the_lease_of_one_that_is_gone() {
    let mut bench = Bench::new(2, per_second(20.0, 40));
    (0..2).for_each(|caller| bench.want(caller, 100));
    bench.advance(secs(5));
    let asked = bench.now;
    bench.callers.pop();
    bench.take_over();
    bench.advance(ms(2_040).saturating_sub(bench.now.since(asked)));
    assert!(!bench.is_granting());
    bench.advance(ms(100));
    assert!(bench.callers[0].share().is_some());
}

#[test]
fn where_the_one_that_divides_is_killed_another_does_when_its_lease_is_over() {
    let mut bench = Bench::new(3, per_second(60.0, 9));
    for name in ["c1", "c2"] {
        bench.stand_by(name);
    }
    (0..3).for_each(|caller| bench.want(caller, 100));
    bench.advance(ms(5_130));
    bench.callers.remove(0);
    bench.allocators.remove(0);
    let (killed, mut last, mut longest) = (bench.now, bench.now, ms(0));
    while bench.now < killed.after(secs(4)) {
        if bench.sends(0, ms(10)) + bench.sends(1, ms(10)) > 0 {
            longest = longest.max(bench.now.since(last));
            last = bench.now;
        }
    }
    assert!(longest < ms(700), "nobody called for {longest:?}");
    assert_eq!(bench.callers[0].share().unwrap().rate, Some(29_700_000), "half of it each");
    let claims = bench.log.iter().filter(|record| record.key == "erp/claim").count();
    assert_eq!(claims, 2, "one took over, and no other");
}

#[test]
fn nobody_takes_over_from_one_that_has_nothing_to_grant() {
    let mut bench = Bench::new(2, LimitsSettings { in_flight: Some(1), ..Default::default() });
    bench.stand_by("c1");
    bench.want(0, 1);
    bench.advance(secs(1));
    assert!(bench.take(0).is_ok());
    bench.callers.remove(0);
    bench.want(0, 1);
    bench.advance(secs(11));
    assert!(bench.take(0).is_err(), "the call of the one that is gone may be under way");
    let claims = bench.log.iter().filter(|record| record.key == "erp/claim").count();
    assert_eq!(claims, 1, "it says that it is there");
    bench.advance(secs(2));
    assert!(bench.take(0).is_ok());
}

#[test]
fn nothing_is_sent_around_midnight_where_only_the_day_is_limited() {
    let mut bench = Bench::new(1, LimitsSettings { per_day: Some(1_000), ..Default::default() });
    let midnight_unix_ms = 1_795_564_800_000;
    bench.began_unix_ms = midnight_unix_ms - 5_000;
    bench.want(0, 100);
    bench.advance(ms(1_000));
    assert!(bench.take(0).is_ok());
    bench.advance(ms(2_100));
    assert_eq!(bench.sends(0, ms(3_800)), 0);
    assert!(bench.sends(0, secs(1)) > 0, "of the new day");
}

#[test]
fn what_is_not_used_is_lent_within_two_seconds_and_given_back_at_once() {
    let mut bench = Bench::new(2, per_second(20.0, 4));
    (0..2).for_each(|caller| bench.want(caller, 100));
    bench.advance(secs(3));
    bench.want(1, 0);
    bench.advance(secs(2));
    assert!((94..=103).contains(&bench.sends(0, secs(5))), "all of it");
    bench.want(1, 100);
    bench.advance(ms(200));
    assert_eq!(bench.callers[1].share().unwrap().rate, Some(9_900_000), "its half");
}

#[test]
fn a_refusal_is_waited_for_by_all_and_a_long_one_is_an_outage() {
    let mut bench = Bench::new(2, per_second(20.0, 40));
    (0..2).for_each(|caller| bench.want(caller, 100));
    bench.advance(secs(3));
    let throttled = |seconds| CallerInput::Throttled { retry_after: secs(seconds), unix_ms: UNIX_MS + 3_000 };
    bench.callers[0].handle(bench.now, throttled(5));
    assert_eq!(bench.take(0).unwrap_err().why, Why::NotBefore, "its own at once");
    bench.settle();
    assert_eq!(bench.take(1).unwrap_err().why, Why::NotBefore);
    bench.advance(secs(5));
    assert_eq!(bench.take(1).unwrap_err().why, Why::NotBefore, "clocks may be fast");
    bench.advance(ms(150));
    assert!(bench.take(1).is_ok());
    assert!(bench.outages.is_empty());
    bench.callers[0].handle(bench.now, throttled(61));
    bench.settle();
    assert_eq!(bench.outages.len(), 2, "for both");
}

#[test]
fn what_the_system_says_of_its_limits_counts_at_once_where_it_was_said_and_soon_for_all() {
    let mut bench = Bench::new(2, per_second(20.0, 40));
    (0..2).for_each(|caller| bench.want(caller, 100));
    bench.advance(secs(30));
    let policy = Some(Policy { quota: 20, window_ms: 10_000 });
    let advertised = Advertised { policy, remaining: None };
    bench.callers[0].handle(bench.now, CallerInput::Advertised { advertised, unix_ms: UNIX_MS });
    assert!(bench.sends(0, ms(10)) <= 2, "no burst of 20");
    bench.advance(secs(2));
    let rates: Vec<u64> = bench.callers.iter().map(|caller| caller.share().unwrap().rate.unwrap()).collect();
    assert_eq!(rates.iter().sum::<u64>(), 1_782_000, "2 at once and 1.8 a second, less 1 %: {rates:?}");
    let remaining = Some(Remaining { calls: 0, resets_in_ms: 4_000 });
    let advertised = Advertised { policy: None, remaining };
    bench.callers[0].handle(bench.now, CallerInput::Advertised { advertised, unix_ms: UNIX_MS });
    bench.settle();
    assert_eq!(bench.take(1).unwrap_err().why, Why::NotBefore, "nothing remains, for anybody");
}

#[test]
fn a_debt_of_cost_is_paid_before_the_next_call() {
    let cost = Some(CostLimits { per_second: 100.0, burst: 200, per_day: None });
    let mut bench = Bench::new(1, LimitsSettings { cost, ..Default::default() });
    bench.want(0, 100);
    bench.advance(secs(3));
    let permit = bench.take(0).unwrap();
    bench.callers[0].handle(bench.now, CallerInput::Ended { permit, cost: Some(1_190) });
    assert_eq!(bench.take(0).unwrap_err().why, Why::Cost);
    bench.advance(secs(9));
    assert_eq!(bench.take(0).unwrap_err().why, Why::Cost);
    bench.advance(secs(2));
    assert!(bench.take(0).is_ok());
}

#[test]
fn a_day_is_given_in_chunks_of_a_hundredth_and_outlives_its_allocator() {
    let mut bench = Bench::new(2, LimitsSettings { per_day: Some(1_000), ..Default::default() });
    (0..2).for_each(|caller| bench.want(caller, 5_000));
    let mut sent = [bench.sends(0, secs(3)), 0];
    // The second takes its chunk along.
    bench.callers.pop();
    bench.take_over();
    bench.advance(secs(3));
    for _ in 0..40 {
        sent[1] += bench.sends(0, secs(5));
        bench.take_over();
    }
    let wasted = 1_000 - sent[0] - sent[1];
    assert!((1..=10).contains(&wasted), "{sent:?}: {wasted} are wasted");
    bench.advance(secs(3));
    assert_eq!(bench.take(0).unwrap_err().why, Why::Day);
}

#[test]
fn calls_of_a_vanished_caller_count_until_they_are_certainly_over() {
    let mut bench = Bench::new(2, LimitsSettings { in_flight: Some(4), ..Default::default() });
    (0..2).for_each(|caller| bench.want(caller, 100));
    bench.advance(secs(3));
    let lost = bench.take(1).and_then(|_| bench.take(1));
    assert!(lost.is_ok(), "two of four");
    bench.callers.pop();
    let mut most = 0;
    for _ in 0..11 {
        bench.advance(secs(1));
        while bench.take(0).is_ok() {
            most += 1;
        }
        assert_eq!(most, 2);
    }
    bench.advance(secs(3));
    assert!(bench.take(0).is_ok(), "after lease and deadline");
}

#[test]
fn without_limits_no_grant_is_needed() {
    let mut bench = Bench::new(1, LimitsSettings::default());
    assert!(bench.take(0).is_ok());
    assert!(bench.log.is_empty());
}

#[test]
fn what_another_version_writes_is_counted_and_passed_over() {
    let mut bench = Bench::new(1, per_second(20.0, 40));
    for (key, value) in
        [("erp/claim", &br#"{"v":2}"#[..]), ("erp/claim", b"{"), ("erp/lend/c0", b"{}"), ("crm/claim", b"?")]
    {
        bench.log.push(Record { key: key.to_owned(), value: Some(value.to_vec()) });
    }
    bench.settle();
    for counted in [bench.callers[0].unreadable(), bench.allocators[0].unreadable()] {
        assert_eq!(
            counted.iter().map(|(why, n)| format!("{why} {n}")).collect::<Vec<_>>(),
            ["key 1", "value 1", "version 1"]
        );
    }
    bench.want(0, 1);
    bench.advance(ms(200));
    assert!(bench.take(0).is_ok());
}

#[test]
fn a_caller_that_stops_gives_back_at_once_and_reports_its_calls_until_they_end() {
    let mut bench = Bench::new(2, LimitsSettings { in_flight: Some(4), ..Default::default() });
    (0..2).for_each(|caller| bench.want(caller, 100));
    bench.advance(secs(3));
    let permit = bench.take(1).unwrap();
    bench.callers[1].handle(bench.now, CallerInput::Stop);
    bench.advance(ms(600));
    assert_eq!(bench.callers[1].share(), None);
    assert_eq!(bench.callers[0].share().unwrap().in_flight, Some(3), "all but what is under way");
    bench.callers[1].handle(bench.now, CallerInput::Ended { permit, cost: None });
    bench.advance(ms(600));
    assert_eq!(bench.callers[0].share().unwrap().in_flight, Some(4));
    let written = bench.log.len();
    bench.callers.remove(0);
    bench.advance(secs(5));
    let asks =
        bench.log[written..].iter().filter(|record| record.key == "erp/ask/c1" && record.value.is_some()).count();
    assert_eq!(asks, 0, "nothing is left to say");
    assert!(bench.now > Time::default());
}

/// Live calls at this rate and a replay that could send any number, for 10 s, each call over at once: how many of each went.
fn beside_a_replay(bench: &mut Bench, callers: [usize; 2], live_each: Option<u64>) -> [usize; 2] {
    let (live, replay, mut sent) = (flow("a"), replay_of("b"), [0; 2]);
    let mut waiting = 0;
    for step in 0..1_000 {
        waiting += u64::from(live_each.is_some_and(|each| step % each == 0));
        bench.want_for(callers[0], live.clone(), waiting);
        bench.want_for(callers[1], replay.clone(), 100);
        while let Ok(permit) = bench.take_for(callers[1], &replay) {
            sent[1] += 1;
            bench.callers[callers[1]].handle(bench.now, CallerInput::Ended { permit, cost: None });
        }
        while waiting > 0
            && let Ok(permit) = bench.take_for(callers[0], &live)
        {
            (sent[0], waiting) = (sent[0] + 1, waiting - 1);
            bench.callers[callers[0]].handle(bench.now, CallerInput::Ended { permit, cost: None });
        }
        bench.advance(ms(10));
    }
    sent
}

#[test]
fn a_replay_has_what_live_work_leaves_and_all_where_there_is_none() {
    for (processes, callers) in [(1, [0, 0]), (2, [0, 1])] {
        let mut bench = Bench::new(processes, per_second(20.0, 4));
        beside_a_replay(&mut bench, callers, Some(20));
        let [live, replayed] = beside_a_replay(&mut bench, callers, Some(20)); // 5 a second
        assert!(live >= 48, "{live} of 50 live calls, in {processes} processes");
        // In another process a quarter more than live work has sent of late, and what waits, is kept free for it.
        assert!(replayed >= 110, "{replayed} where 150 are left, in {processes} processes");
        let [live, replayed] = beside_a_replay(&mut bench, callers, None);
        assert!(live == 0 && replayed >= 180, "{replayed} where there is nothing else, in {processes} processes");
        beside_a_replay(&mut bench, callers, Some(1));
        let [live, replayed] = beside_a_replay(&mut bench, callers, Some(1)); // 100 a second
        assert!(live >= 190 && replayed <= 4, "{live} live and {replayed} replayed, in {processes} processes");
    }
}

#[test]
fn live_calls_have_the_places_in_flight_before_a_replay_in_another_process() {
    let mut bench = Bench::new(2, LimitsSettings { in_flight: Some(8), ..Default::default() });
    bench.want_for(1, replay_of("b"), 100);
    bench.advance(secs(3));
    let mut replayed: Vec<_> = std::iter::from_fn(|| bench.take_for(1, &replay_of("b")).ok()).collect();
    assert_eq!(replayed.len(), 8, "all of them, while nothing is live");
    bench.want(0, 6);
    // As its calls end, what is live comes in.
    while let Some(permit) = replayed.pop() {
        bench.callers[1].handle(bench.now, CallerInput::Ended { permit, cost: None });
        bench.advance(ms(600));
    }
    assert_eq!(bench.callers[0].share().unwrap().in_flight, Some(6));
    assert_eq!(bench.callers[1].share().unwrap().in_flight, Some(2));
}
