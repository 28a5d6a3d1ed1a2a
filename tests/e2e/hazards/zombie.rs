//! A process that is stopped for longer than its session, and then goes on as if nothing had been.

use std::time::Duration;

use tieline_sandbox::recorder::Options;

use crate::load::Load;
use crate::process::Process;
use crate::size::{figure, size};
use crate::{eventually, secs};

/// Calls of one replica that may come again, as where it is killed.
const REPEATS_MAX: usize = 1_024;

/// Records for each sleep.
const RECORDS: u64 = 3_000;

/// How long a call takes.
const LATENCY: Duration = Duration::from_millis(200);

/// How long so many records may take at the end: little is done while somebody sleeps, and then one replica has 64 calls under
/// way at a time, if it has keys enough for them. Half of that, and a minute for what else there is.
fn drains_within(records: usize) -> Duration {
    secs(60) + LATENCY * u32::try_from(records).expect("some thousands") / 32
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_wakes_after_its_session_commits_nothing_and_repeats_no_effect() {
    let load = Load::start("zombie", Options { latency: LATENCY, ..Options::default() }).await;
    let sleeps = size().sleeps;
    let mut produced = Vec::new();
    let mut sleeper = load.replica("a");
    for name in ["b", "a"].into_iter().cycle().take(sleeps) {
        let producing = load.produce_from(produced.len() as u64, RECORDS, secs(15));
        let effects = load.recorder.effects();
        eventually("it works", secs(60), || load.recorder.effects() > effects + 100).await;
        // Mid-request: of its calls, some are always under way.
        sleeper.signal("-STOP");
        let other = load.replica(name);
        let had = assigned(&other);
        eventually("the other one has all partitions", secs(60), || assigned(&other) >= had + 6).await;
        let effects = load.recorder.effects();
        eventually("the other one works", secs(60), || load.recorder.effects() > effects + 200).await;
        sleeper.signal("-CONT");
        let effects = load.recorder.effects();
        eventually("both are there, and work goes on", secs(60), || load.recorder.effects() > effects + 200).await;
        // It is a member again, or about to be: either way it ends as it should.
        let slept = std::mem::replace(&mut sleeper, other);
        assert!(slept.terminate(secs(40)).await.success());
        produced.extend(producing.await.unwrap());
    }

    load.drained(produced.len(), drains_within(produced.len())).await;
    load.all_committed(&produced, secs(60)).await;
    assert!(sleeper.terminate(secs(40)).await.success());
    let all = produced.len();
    let verdict = load.verdict(produced, Some(sleeps * REPEATS_MAX)).await;
    figure(format!("{sleeps} sleeps beyond the session: {verdict}"));
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(verdict.effects, all);
}

/// Partitions that it was given in all its time.
fn assigned(replica: &Process) -> usize {
    replica.log().matches("\"assigned\"").count()
}
