//! A process that is stopped for longer than its session, and then goes on as if nothing had been.

use std::time::Duration;

use tieline_sandbox::recorder::Options;

use crate::load::Load;
use crate::{eventually, secs};

/// Calls of one replica that may come again, as where it is killed.
const REPEATS_MAX: usize = 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_wakes_after_its_session_commits_nothing_and_repeats_no_effect() {
    let load = Load::start("zombie", Options { latency: Duration::from_millis(200), ..Options::default() }).await;
    let producing = load.produce(3_000, secs(15));
    let sleeper = load.replica("a");
    eventually("it works", secs(60), || load.recorder.effects() > 100).await;
    // Mid-request: of its calls, some are always under way.
    sleeper.signal("-STOP");
    let other = load.replica("b");
    eventually("the other one has all partitions", secs(60), || other.log().matches("\"assigned\"").count() >= 6).await;
    let effects = load.recorder.effects();
    eventually("the other one works", secs(30), || load.recorder.effects() > effects + 200).await;
    sleeper.signal("-CONT");

    let produced = producing.await.unwrap();
    load.drained(produced.len(), secs(60)).await;
    load.all_committed(&produced, secs(60)).await;
    // It is a member again, or about to be: either way it ends as it should.
    assert!(sleeper.terminate(secs(40)).await.success());
    assert!(other.terminate(secs(40)).await.success());
    let verdict = load.verdict(produced, Some(REPEATS_MAX)).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(verdict.effects, 3_000);
}
