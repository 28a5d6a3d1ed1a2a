//! A planned stop repeats nothing: SIGTERM under load, and replicas that join and leave.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tieline_sandbox::recorder::Options;

use crate::load::Load;
use crate::size::{figure, size};
use crate::{eventually, secs};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_consumer_finishes_what_is_in_flight_and_repeats_nothing() {
    let mut random = StdRng::seed_from_u64(7);
    let load = Load::start("drain", Options { latency: Duration::from_millis(20), ..Options::default() }).await;
    let stops = size().stops;
    let (mut seen, mut produced) = (0, Vec::new());
    for _ in 0..stops {
        let producing = load.produce_from(produced.len() as u64, 500, Duration::from_millis(2_500));
        let replica = load.replica("a");
        eventually("there are effects since the last stop", secs(60), || load.recorder.effects() > seen).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        let ended = replica.terminate(secs(30)).await;
        assert!(ended.success(), "{ended}");
        seen = load.recorder.effects();
        produced.extend(producing.await.unwrap());
    }
    let last = load.replica("a");
    load.drained(produced.len(), secs(60)).await;
    load.all_committed(&produced, secs(60)).await;
    assert!(last.terminate(secs(30)).await.success());
    let took = load.elapsed();
    let verdict = load.verdict(produced, Some(0)).await;
    figure(format!("{stops} stops in {} s; {verdict}", took.as_secs()));
    assert!(verdict.holds(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_join_and_leave_share_the_work_and_repeat_nothing() {
    join_and_leave("members", "classic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_do_so_too_under_the_newer_group_protocol() {
    join_and_leave("members848", "consumer").await;
}

async fn join_and_leave(bus: &str, protocol: &str) {
    let load = Load::start(bus, Options { latency: Duration::from_millis(20), ..Options::default() }).await;
    load.set("group.protocol", protocol);
    let producing = load.produce(4_000, secs(20));
    let first = load.replica("a");
    eventually("the first replica works", secs(60), || load.recorder.effects() > 100).await;
    let second = load.replica("b");
    eventually("the second has partitions", secs(60), || second.log().contains("assigned")).await;
    eventually("both work on", secs(60), || load.recorder.effects() > 1_500).await;
    assert!(first.terminate(secs(30)).await.success());
    let third = load.replica("a");
    let produced = producing.await.unwrap();
    load.drained(produced.len(), secs(60)).await;
    load.all_committed(&produced, secs(60)).await;
    for replica in [second, third] {
        assert!(replica.terminate(secs(30)).await.success());
    }
    let verdict = load.verdict(produced, Some(0)).await;
    assert!(verdict.holds(), "{verdict}");
}
