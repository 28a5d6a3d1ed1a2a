//! A crash loses nothing, repeats no effect, and keeps the order of keys: SIGKILL at random instants under load.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tieline_delivery::oracle::Verdict;
use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::Load;
use crate::size::{figure, size};
use crate::{eventually, secs};

/// Calls of one replica that may come again after a crash: the least bound, as four times those that may be under way
/// (`load/consumer.yaml`) are fewer.
const REPEATS_MAX: usize = 1_024;

/// How fast records come, in a second.
const RATE: u64 = 120;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_loses_nothing_and_repeats_no_effect() {
    let runs = [1, 2, 3].map(|seed| tokio::spawn(crashes(seed)));
    for run in runs {
        let (seed, verdict) = run.await.unwrap();
        assert!(verdict.holds(), "seed {seed}: {verdict}");
        assert_eq!(verdict.effects, usize::try_from(size().crash_records).unwrap(), "seed {seed}: {verdict}");
    }
}

async fn crashes(seed: u64) -> (u64, Verdict) {
    let mut random = StdRng::seed_from_u64(seed);
    let slow =
        |_: &Arrival| Some(Reaction { delay: Duration::from_millis(rand::random_range(0..50)), ..Reaction::default() });
    let load =
        Load::start(&format!("crash{seed}"), Options { react: Some(Box::new(slow)), ..Options::default() }).await;
    let (records, kills) = (size().crash_records, size().crash_kills);
    let producing = load.produce(records, secs(records / RATE));
    let mut replicas = [Some(load.replica("a")), Some(load.replica("b"))];
    let mut seen = 0;
    for kill in 0..kills {
        let all = usize::try_from(records).unwrap();
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
    let took = load.elapsed();
    let verdict = load.verdict(produced, Some(kills * REPEATS_MAX)).await;
    figure(format!("seed {seed}: {kills} kills in {} s; {verdict}", took.as_secs()));
    (seed, verdict)
}
