//! Limits belong to the system: over all replicas of all consumers, through crashes and restarts, on a real Kafka.
//!
//! Promised is what holds *at sending*: at most `burst + rate · w` calls in any window `w`. What can be seen here is when they
//! arrive. A call that is under way for `d` longer than the one before it makes a window look shorter by `d`; so each test
//! tells the least `d` that explains all arrivals, and bounds it.

use std::time::Duration;

use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::Load;
use crate::process::{Process, tieline};
use crate::{eventually, secs};

/// The limit of most tests here.
const RATE: f64 = 50.0;
const BURST: u32 = 10;

/// Most delay between sending and arrival that is taken for one: of a process, a connection and a server on one machine that
/// builds at the same time. At 50 a second it is worth 15 calls, in however long a window.
const DELAY_MAX: f64 = 0.3;

/// Two consumers of one system, and its limits as in the definition.
async fn bus(name: &str, system: Options, limits: &str) -> Load {
    let load = Load::start(name, system).await;
    load.edit("systems/recorder/system.yaml", "deadline: 5s", &format!("deadline: 5s\nlimits: {limits}"));
    let consumer = std::fs::read_to_string(load.dir.path().join("consumers/apply-item/consumer.yaml")).unwrap();
    std::fs::create_dir_all(load.dir.path().join("consumers/note-item")).unwrap();
    std::fs::write(load.dir.path().join("consumers/note-item/consumer.yaml"), consumer).unwrap();
    let (code, out, error) = load.apply(&[]).await;
    assert_eq!(code, 0, "{out}{error}");
    load
}

fn replica(load: &Load, name: &str) -> Process {
    let args = ["run", "consumers/apply-item", "consumers/note-item", "--admin", "127.0.0.1:0"];
    Process::start(load.dir.path(), name, &args, &load.environment)
}

/// Whether this process was the last to say that it divides the limits.
fn divides(process: &Process) -> bool {
    let said = |line: &str| -> Option<bool> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["message"].as_str()?.contains("divides its limits").then_some(line["is_granting"] == true)
    };
    process.log().lines().rev().find_map(said).unwrap_or(false)
}

fn at(arrival: &Arrival) -> f64 {
    arrival.at.as_secs_f64()
}

/// Arrivals from one time to another, since the recorder's start.
fn between(arrivals: &[Arrival], from: f64, to: f64) -> usize {
    arrivals.iter().filter(|arrival| (from..to).contains(&at(arrival))).count()
}

/// The longest time in which nobody called.
fn longest_silence(arrivals: &[Arrival], from: f64, to: f64) -> f64 {
    let (mut last, mut longest) = (from, 0.0f64);
    for at in arrivals.iter().map(at).filter(|at| (from..to).contains(at)).chain([to]) {
        longest = longest.max(at - last);
        last = at;
    }
    longest
}

/// The least delay in seconds that explains how close together calls arrived, over all windows there are.
fn delay(arrivals: &[Arrival], rate: f64, burst: u32) -> f64 {
    let mut least: f64 = 0.0;
    for (first, from) in arrivals.iter().enumerate() {
        for (calls, to) in (1..).zip(&arrivals[first..]) {
            least = least.max((f64::from(calls) - f64::from(burst)) / rate - (at(to) - at(from)));
        }
    }
    least
}

#[test]
fn a_delay_is_what_makes_a_window_look_shorter() {
    let arrivals = |times: &[f64]| -> Vec<Arrival> {
        times.iter().map(|at| Arrival { at: Duration::from_secs_f64(*at), ..of_nothing() }).collect()
    };
    assert!(delay(&arrivals(&[0.0, 0.0, 0.5, 1.0]), 2.0, 2) < 1e-9);
    assert!((delay(&arrivals(&[0.0, 0.0, 0.2, 1.0]), 2.0, 2) - 0.3).abs() < 1e-9);
}

fn of_nothing() -> Arrival {
    Arrival {
        at: Duration::ZERO,
        path: String::new(),
        idempotency_key: None,
        event_headers: std::collections::BTreeMap::new(),
        body_sha256: [0; 32],
        key: None,
        earlier_attempts: 0,
        status: 200,
        dropped: false,
        applied: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_of_two_replicas_keep_one_limit_and_use_it_also_when_one_is_killed() {
    let options = Options { latency: Duration::from_millis(5), ..Options::default() };
    let load = bus("shared-limit", options, &format!("{{ per_second: {RATE}, burst: {BURST} }}")).await;
    let mut replicas = vec![replica(&load, "one"), replica(&load, "two")];
    // Twice as many calls as can be made while this runs: somebody has work all the time.
    let produced = load.produce(3_000, secs(3)).await.unwrap();
    assert_eq!(produced.len(), 3_000);
    eventually("both replicas call and one divides", secs(60), || {
        load.recorder.arrived() > 100 && replicas.iter().any(divides)
    })
    .await;

    // A caller vanishes: what it held is back when its lease is over, 2.05 s after its last ask.
    tokio::time::sleep(secs(10)).await;
    let settled = load.elapsed_of_recorder() - 8.0;
    let killed = load.elapsed_of_recorder();
    let divider = replicas.iter().position(divides).unwrap();
    replicas.remove(1 - divider).kill();
    tokio::time::sleep(secs(10)).await;
    let alone = load.elapsed_of_recorder();

    // It comes again, and then the one that divides vanishes: another takes over, and grants when what that held is over.
    replicas.push(replica(&load, "three"));
    eventually("the new one calls", secs(60), || replicas[1].log().contains("\"called\"")).await;
    tokio::time::sleep(secs(4)).await;
    let divider_killed = load.elapsed_of_recorder();
    replicas.remove(0).kill();
    eventually("another divides", secs(40), || divides(&replicas[0])).await;
    tokio::time::sleep(secs(8)).await;
    let arrivals = load.recorder.arrivals();
    let end = load.elapsed_of_recorder();

    let rate_of = |from: f64, to: f64| between(&arrivals, from, to) as f64 / (to - from);
    let (both, after) = (rate_of(settled, killed), rate_of(killed + 3.0, alone));
    let silent = longest_silence(&arrivals, divider_killed, end);
    let last = rate_of(end - 6.0, end);
    let delay = delay(&arrivals, RATE, BURST);
    println!(
        "{} calls; {both:.1}/s of {RATE} with two replicas, {after:.1}/s from 3 s after one was killed, silent for {:.1} s \
         when the one that divides was, {last:.1}/s then; a delay of {:.0} ms explains all",
        arrivals.len(),
        silent,
        delay * 1_000.0
    );
    assert!(delay <= DELAY_MAX, "calls came too close together: it takes a delay of {delay} s to explain them");
    for (rate, when) in [(both, "with two replicas"), (after, "after one was killed"), (last, "with a new divider")] {
        assert!(rate >= 0.9 * RATE, "{rate} calls a second {when}");
    }
    // Less than a second where the machine has time for it; and no session of a group is waited for, which is 6 s.
    assert!(silent < 6.0, "nobody called for {silent} s");
    // Neither starves the other. Not half each: who does not come for its turn within 10 ms loses it, on a machine that is busy.
    let offsets = |consumer: &str| load.committed(consumer).values().sum::<i64>();
    let (applied, noted) = (offsets("apply-item"), offsets("note-item"));
    assert!(applied.min(noted) * 4 >= applied.max(noted), "{applied} of one, {noted} of the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_calls_are_under_way_than_may_be_also_when_a_replica_is_killed() {
    let latency = Duration::from_millis(300);
    let options = Options { latency, ..Options::default() };
    let load = bus("in-flight-limit", options, "{ in_flight: 4 }").await;
    let mut replicas = vec![replica(&load, "one"), replica(&load, "two")];
    load.produce(1_000, secs(1)).await.unwrap();
    eventually("both call", secs(60), || load.recorder.arrived() > 40).await;
    tokio::time::sleep(secs(5)).await;
    let killed = load.elapsed_of_recorder();
    let divider = replicas.iter().position(divides).unwrap();
    replicas.remove(1 - divider).kill();
    // Its calls count until a lease and the deadline have passed: 2.05 s and 5.1 s.
    tokio::time::sleep(secs(14)).await;
    let end = load.elapsed_of_recorder();

    let arrivals = load.recorder.arrivals();
    // The server has each for its latency at least; who called has it for longer. So there is no delay to allow for.
    let under_way = |from: &Arrival| arrivals.iter().filter(|a| a.at <= from.at && from.at < a.at + latency).count();
    let most = arrivals.iter().map(under_way).max().unwrap();
    let (before, after) = (between(&arrivals, killed - 4.0, killed), between(&arrivals, end - 5.0, end));
    let (before, after) = (before as f64 / 4.0, after as f64 / 5.0);
    let possible = 4.0 / latency.as_secs_f64();
    println!(
        "{most} under way at most; {before:.1}/s of {possible:.1} before the kill, {after:.1}/s from 9 s after it"
    );
    assert!(most <= 4, "{most} calls were under way at once");
    assert!(before >= 0.7 * possible && after >= 0.7 * possible, "{before}/s, then {after}/s of {possible}");
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_share_a_limit_by_weight() {
    let limits = "{ per_second: 60, burst: 5, weights: { note-item: 3 } }";
    let load = bus("weighted-limit", Options::default(), limits).await;
    let replicas = [replica(&load, "one"), replica(&load, "two")];
    load.produce(2_000, secs(1)).await.unwrap();
    let done = |consumer: &str| load.committed(consumer).values().sum::<i64>() as f64;
    eventually("both are at work", secs(60), || done("apply-item") > 20.0 && done("note-item") > 20.0).await;
    let before = (done("apply-item"), done("note-item"));
    eventually("a while has passed", secs(60), || done("apply-item") + done("note-item") > before.0 + before.1 + 600.0)
        .await;
    let (applied, noted) = (done("apply-item") - before.0, done("note-item") - before.1);
    println!(
        "{noted} calls of the one with a weight of 3, {applied} of the other: {:.2} times as many",
        noted / applied
    );
    assert!((2.4..3.8).contains(&(noted / applied)), "{noted} and {applied}");
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_days_budget_survives_that_everything_is_killed() {
    // Where it is about noon now, so that no midnight comes in between.
    let hour = jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).hour();
    // `Etc/GMT+3` is three hours behind Greenwich.
    let behind = i32::from(hour) - 12;
    let zone = format!("Etc/GMT{}{}", if behind < 0 { "-" } else { "+" }, behind.abs());
    let limits = format!("{{ per_second: 200, per_day: 120, time_zone: \"{zone}\" }}");
    let load = bus("day-limit", Options::default(), &limits).await;
    let first = replica(&load, "one");
    load.produce(500, secs(1)).await.unwrap();
    eventually("some of the budget is used", secs(60), || load.recorder.arrived() >= 40).await;
    first.kill();

    let replicas = [replica(&load, "two"), replica(&load, "three")];
    eventually("it is used up", secs(90), || load.recorder.arrived() >= 112).await;
    tokio::time::sleep(secs(3)).await;
    let told = stuck(&replicas).await;
    replicas.into_iter().for_each(Process::kill);
    let before = load.recorder.arrived();

    let last = replica(&load, "four");
    eventually("it knows that nothing is left", secs(60), || last.log().contains("\"assigned\"")).await;
    tokio::time::sleep(secs(12)).await;
    let after = load.recorder.arrived();
    println!("{before} calls of 120 until all was killed, {after} in all; {told}");
    assert!(after <= 120, "{after} calls of 120");
    assert!(told.contains("waits for the limit of recorder") && told.contains("budget for the day"), "{told}");
}

/// What the replicas say that is stuck.
async fn stuck(replicas: &[Process]) -> String {
    let mut told = String::new();
    for replica in replicas {
        let url = format!("http://{}/readyz", replica.address("--admin").await);
        told.push_str(&reqwest::get(url).await.unwrap().text().await.unwrap());
    }
    told
}

/// How long somebody still called after one was told to wait for 6 s, and when somebody called again.
async fn told_to_wait(name: &str, limits: &str) -> (f64, f64) {
    let told = std::sync::Arc::new(std::sync::OnceLock::new());
    let first = std::sync::Arc::clone(&told);
    // The first call after 4 s of calls is told to wait, and that alone.
    let began = std::sync::OnceLock::new();
    let react = move |arrival: &Arrival| {
        let began = *began.get_or_init(|| arrival.at);
        let is_time = arrival.at > began + secs(4) && first.get().is_none();
        is_time.then(|| {
            let _ = first.set(arrival.at);
            Reaction { status: 429, retry_after: Some(6), ..Reaction::default() }
        })
    };
    let options = Options { react: Some(Box::new(react)), ..Options::default() };
    let load = bus(name, options, limits).await;
    let replicas = [replica(&load, "one"), replica(&load, "two")];
    let producing = load.produce(3_000, secs(30));
    eventually("one is told to wait", secs(90), || told.get().is_some()).await;
    let told = told.get().unwrap().as_secs_f64();
    eventually("they call again", secs(60), || load.recorder.arrivals().iter().any(|a| at(a) > told + 6.0)).await;
    let arrivals = load.recorder.arrivals();
    producing.abort();
    let last = arrivals.iter().map(at).filter(|at| *at < told + 3.0).fold(told, f64::max);
    let next = arrivals.iter().map(at).find(|at| *at > told + 3.0).unwrap();
    drop(replicas);
    (last - told, next - told)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_replicas_wait_when_one_is_told_to() {
    for (name, limits) in [("told-limited", "{ per_second: 100, burst: 10 }"), ("told-unlimited", "{}")] {
        let (last, next) = told_to_wait(name, limits).await;
        println!("{name}: the last call came {last:.2} s after the 429, the next {next:.2} s after it");
        assert!(last <= 1.0, "somebody still called {last} s after");
        assert!(next >= 6.0, "somebody called {next} s after, not 6");
    }
}

/// Records that are there to be replayed, before the live ones.
const OLD: u64 = 2_000;

/// Which calls a replay makes.
fn is_replayed(arrival: &Arrival) -> bool {
    arrival.event_headers.contains_key("tieline-replay")
}

/// Live calls and replayed ones a second, from one time to another.
fn rates(arrivals: &[Arrival], from: f64, to: f64) -> (f64, f64) {
    let (replayed, live): (Vec<Arrival>, Vec<Arrival>) = arrivals.iter().cloned().partition(is_replayed);
    (between(&live, from, to) as f64 / (to - from), between(&replayed, from, to) as f64 / (to - from))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_one_consumer_gets_what_the_live_calls_of_another_leave_of_their_limit() {
    let load = bus("replay-limit", Options::default(), &format!("{{ per_second: {RATE}, burst: {BURST} }}")).await;
    let run = |args: &[&str]| tokio::task::block_in_place(|| tieline(load.dir.path(), args, &load.environment));
    let consumer = |name: &str| format!("consumers/{name}/consumer.yaml");
    let alone = |name: &str| {
        let args = ["run", &format!("consumers/{name}"), "--admin", "127.0.0.1:0"];
        Process::start(load.dir.path(), name, &args, &load.environment)
    };
    // One wants what is new, and the other does not want what is old before it is told to.
    let subscribes = "subscribe: load.item_changed";
    load.edit(&consumer("apply-item"), subscribes, &format!("{subscribes}\nwhen: .sequence >= {OLD}"));
    load.edit(&consumer("note-item"), subscribes, &format!("{subscribes}\nwhen: .sequence < 0"));
    let (live, other) = (alone("apply-item"), alone("note-item"));
    load.produce(OLD, secs(1)).await.unwrap();
    let committed = |name: &str| load.committed(name).values().sum::<i64>();
    let old = i64::try_from(OLD).unwrap();
    eventually("both have passed what is old", secs(90), || {
        committed("apply-item") == old && committed("note-item") == old
    })
    .await;
    assert!(other.terminate(secs(30)).await.success());
    load.edit(&consumer("note-item"), ".sequence < 0", &format!(".sequence < {OLD}"));
    let other = alone("note-item");

    // Live calls alone, as many as the limit lets; then a replay in another process comes beside them.
    let producing = load.produce_from(OLD, 1_500, secs(1));
    producing.await.unwrap();
    let calls = || load.recorder.arrivals().len();
    eventually("live calls are made", secs(60), || calls() > 100).await;
    let began = load.elapsed_of_recorder();
    tokio::time::sleep(secs(6)).await;
    let ordered = load.elapsed_of_recorder();
    let (code, out, error) =
        run(&["replay", "note-item", "--from", "earliest", "--reason", "it was not wanted before"]);
    assert_eq!(code, 0, "{out}{error}");
    tokio::time::sleep(secs(8)).await;
    let beside = load.elapsed_of_recorder();
    let live_calls = || load.recorder.arrivals().iter().filter(|arrival| !is_replayed(arrival)).count();
    eventually("the live backlog is done", secs(90), || live_calls() == 1_500).await;

    // All is the replay's while nothing is live; then there are live calls again, fewer than the limit lets.
    tokio::time::sleep(secs(3)).await;
    let rest = load.elapsed_of_recorder();
    tokio::time::sleep(secs(5)).await;
    let producing = load.produce_from(OLD + 1_500, 200, secs(10));
    let few = load.elapsed_of_recorder();
    producing.await.unwrap();
    eventually("the few are done", secs(60), || live_calls() == 1_700).await;
    let few_done = load.elapsed_of_recorder();
    let arrivals = load.recorder.arrivals();
    let (live_alone, none) = rates(&arrivals, began, ordered);
    let (live_beside, replayed_beside) = rates(&arrivals, ordered + 1.0, beside);
    let (_, replayed_alone) = rates(&arrivals, rest, few);
    let (_, replayed_few) = rates(&arrivals, few + 2.0, few + 9.0);
    let delay = delay(&arrivals, RATE, BURST);
    println!(
        "{live_alone:.1}/s live alone, {live_beside:.1}/s beside a replay that gets {replayed_beside:.1}/s; it gets \
         {replayed_alone:.1}/s alone, and {replayed_few:.1}/s beside 20/s, done {:.1} s after the last was sent; a delay of \
         {:.0} ms explains all",
        few_done - few - 10.0,
        delay * 1_000.0
    );
    assert!(none < 0.1, "nothing is replayed before it is ordered");
    assert!(live_beside >= 0.95 * live_alone, "{live_beside}/s live beside the replay, {live_alone}/s alone");
    assert!(replayed_beside <= 0.08 * RATE, "{replayed_beside}/s replayed while live calls want all");
    assert!(replayed_alone >= 0.85 * RATE, "{replayed_alone}/s replayed while there is nothing else");
    assert!(replayed_few >= 0.4 * (RATE - 20.0), "{replayed_few}/s replayed where live calls leave 30");
    assert!(few_done - few < 15.0, "live calls waited for the replay: {} s", few_done - few - 10.0);
    assert!(delay <= DELAY_MAX, "calls came too close together: it takes a delay of {delay} s to explain them");
    drop((live, other));
}
