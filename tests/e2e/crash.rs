//! A crash loses nothing, repeats no effect, and keeps the order of keys: SIGKILL at random instants under load.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tieline_delivery::oracle::Verdict;
use tieline_sandbox::recorder::Options;

use crate::load::Load;
use crate::{eventually, secs};

/// Calls of one replica that may come again after a crash: the least bound, as four times those that may be under way
/// (`load/consumer.yaml`) are fewer.
const REPEATS_MAX: usize = 1_024;

/// Kills in one run, and the records that are produced meanwhile. Three runs make 30 kills over 21,000 records.
const KILLS: usize = 10;
const RECORDS: u64 = 7_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_loses_nothing_and_repeats_no_effect() {
    let runs = [1, 2, 3].map(|seed| tokio::spawn(crashes(seed)));
    for run in runs {
        let (seed, verdict) = run.await.unwrap();
        assert!(verdict.holds(), "seed {seed}: {verdict}");
        assert_eq!(verdict.effects, usize::try_from(RECORDS).unwrap(), "seed {seed}: {verdict}");
    }
}

async fn crashes(seed: u64) -> (u64, Verdict) {
    let mut random = StdRng::seed_from_u64(seed);
    let latency = Duration::from_millis(random.random_range(5..40));
    let load = Load::start(&format!("crash{seed}"), Options { latency, ..Options::default() }).await;
    let producing = load.produce(RECORDS, secs(60));
    let mut replicas = [Some(load.replica("a")), Some(load.replica("b"))];
    let mut seen = 0;
    for kill in 0..KILLS {
        let all = usize::try_from(RECORDS).unwrap();
        eventually("there are effects since the last kill", secs(60), || {
            load.recorder.effects() > seen || load.recorder.effects() == all
        })
        .await;
        // A random instant is what is tested here, not something waited for.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2_000))).await;
        let (victim, name) = if kill % 2 == 0 { (0, "a") } else { (1, "b") };
        replicas[victim].take().unwrap().kill();
        seen = load.recorder.effects();
        replicas[victim] = Some(load.replica(name));
    }
    let produced = producing.await.unwrap();
    load.drained(produced.len(), secs(120)).await;
    load.all_committed(&produced, secs(60)).await;
    for replica in replicas.into_iter().flatten() {
        assert!(replica.terminate(secs(30)).await.success());
    }
    eprintln!("seed {seed}: {KILLS} kills in {:?}, latency {latency:?}", load.elapsed());
    let verdict = load.verdict(produced, Some(KILLS * REPEATS_MAX)).await;
    eprintln!("seed {seed}: {verdict}");
    (seed, verdict)
}
