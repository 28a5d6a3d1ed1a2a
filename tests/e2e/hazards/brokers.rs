//! Three brokers, of which one is killed, or all are restarted one after another: nothing is lost, and work goes on soon.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tieline_sandbox::broker::kafka::Kafka;
use tieline_sandbox::recorder::Options;

use crate::cluster::three_nodes;
use crate::load::{Load, Setup};
use crate::size::{figure, size};
use crate::stall::StallWatch;
use crate::{eventually, secs};

/// Records in a second.
const RATE: u64 = 100;

/// How long a partition may stand still when a broker goes.
const RECOVERS_WITHIN: Duration = secs(30);

/// Calls of one replica that may come again where its session ended in the trouble.
const REPEATS_MAX: usize = 1_024;

/// What is done to a broker.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Killed,
    Bounced,
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_killed_and_restarted_lose_nothing_and_hold_up_nobody_for_long() {
    let system = Options { latency: Duration::from_millis(10), ..Options::default() };
    let load = Load::start_on(Setup { kafka: three_nodes, replication: 3, ..Setup::new("brokers", system) }).await;
    let cluster = three_nodes();
    let replicas = ["a", "b"].map(|name| load.replica(name));
    let stalls = StallWatch::start(load.offsets("apply-item"));
    let (mut produced, mut first, mut done) = (Vec::new(), 0, Vec::new());
    for _ in 0..size().broker_rounds {
        for trouble in [Trouble::Killed, Trouble::Bounced] {
            for broker in 1..=size().brokers_a_round {
                let producing = load.produce_from(first, RATE * 4, secs(4));
                first += RATE * 4;
                let effects = load.recorder.effects();
                eventually("there is work under way", secs(60), || load.recorder.effects() > effects).await;
                let begun = Instant::now();
                tokio::task::spawn_blocking(move || make(cluster, trouble, broker)).await.unwrap();
                done.push(format!("{broker} {trouble:?}"));
                produced.extend(producing.await.unwrap());
                load.drained(produced.len(), secs(120)).await;
                load.all_committed(&produced, secs(60)).await;
                eprintln!("broker {broker} {trouble:?}: all is well {:?} after", begun.elapsed());
                // Else the next one would leave too few.
                eventually("each partition is on all brokers again", secs(120), || is_in_sync(cluster)).await;
            }
        }
    }
    let stall = stalls.longest().await;
    for replica in replicas {
        assert!(replica.terminate(secs(60)).await.success());
    }
    let verdict = load.verdict(produced, Some(done.len() * REPEATS_MAX)).await;
    figure(format!("{}; longest stand-still {:.1} s; {verdict}", done.join(", "), stall.lasted.as_secs_f64()));
    assert!(verdict.holds(), "{verdict}");
    assert!(stall.lasted < RECOVERS_WITHIN, "{stall:?}");
}

/// Does it, and waits until the broker is back.
fn make(cluster: &Kafka, trouble: Trouble, broker: u8) {
    match trouble {
        Trouble::Killed => {
            cluster.kill(broker).unwrap();
            // Long enough that the others elect leaders, and not only wait (`broker.session.timeout.ms` is 3 s).
            std::thread::sleep(secs(5));
            cluster.restart(broker).unwrap();
        }
        Trouble::Bounced => cluster.bounce(broker).unwrap(),
    }
}

fn is_in_sync(cluster: &Kafka) -> bool {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", cluster.brokers()).create().unwrap();
    let Ok(metadata) = client.fetch_metadata(None, secs(10)) else { return false };
    let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    metadata.brokers().len() == 3 && partitions.all(|partition| partition.isr().len() == 3)
}
