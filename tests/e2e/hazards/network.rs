//! The network between a replica and both sides, Kafka and the system: slow, narrow, reset, silent, closed late.

use std::time::Duration;

use tieline_sandbox::proxy::{Network, Proxy};
use tieline_sandbox::recorder::Options;

use crate::cluster::{any_port, kafka};
use crate::load::Load;
use crate::size::{figure, size};
use crate::{eventually, secs};

/// Records of each fault, in two seconds.
const RECORDS: u64 = 300;

/// What the network does.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Of some replies nobody knows when they come.
    Slow,
    /// Each connection is reset, time and again.
    Reset,
    /// Connections are open, and nobody hears anything.
    Silent,
    /// The same, and those connections are gone when it is over.
    HalfOpen,
    /// One side does not hear that the other has closed.
    ClosesLate,
    Narrow,
}

const FAULTS: [Fault; 6] =
    [Fault::Slow, Fault::Reset, Fault::Silent, Fault::HalfOpen, Fault::ClosesLate, Fault::Narrow];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_on_the_way_to_kafka_and_to_the_system_loses_nothing_and_repeats_no_effect() {
    let mut load = Load::start("network", Options { latency: Duration::from_millis(5), ..Options::default() }).await;
    load.edit("systems/recorder/system.yaml", "deadline: 5s", "deadline: 1s");
    let (listen, leads_to) = kafka().through_proxy(1);
    let to_kafka = Proxy::start(listen, leads_to).await.unwrap();
    let recorder = load.recorder.url().trim_start_matches("http://").parse().unwrap();
    let to_system = Proxy::start(any_port(), recorder).await.unwrap();
    // For replicas; the test itself sees the brokers without it.
    for (name, value) in &mut load.environment {
        match name.as_str() {
            "KAFKA_BROKERS" => *value = to_kafka.address().to_string(),
            "RECORDER_URL" => *value = format!("http://{}", to_system.address()),
            _ => {}
        }
    }
    let replicas = ["a", "b"].map(|name| load.replica(name));
    eventually("a replica works", secs(60), || replicas[0].log().contains("\"assigned\"")).await;
    let mut produced = Vec::new();
    for round in 0..size().network_rounds {
        for (n, fault) in (0..).zip(FAULTS) {
            let first = (u64::from(round) * FAULTS.len() as u64 + n) * RECORDS;
            let producing = load.produce_from(first, RECORDS, secs(2));
            // Each side by itself, then both: the system's in even rounds first.
            let (one, other) = if round % 2 == 0 { (&to_system, &to_kafka) } else { (&to_kafka, &to_system) };
            bring_about(fault, &[one]).await;
            bring_about(fault, &[one, other]).await;
            produced.extend(producing.await.unwrap());
            load.drained(produced.len(), secs(120)).await;
        }
    }
    load.all_committed(&produced, secs(60)).await;
    for replica in replicas {
        assert!(replica.terminate(secs(60)).await.success());
    }
    let all = produced.len();
    // A call whose answer was lost comes again, however often that is.
    let verdict = load.verdict(produced, None).await;
    figure(format!("{} rounds of {FAULTS:?} on both sides: {verdict}", size().network_rounds));
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(verdict.effects, all, "{verdict}");
    assert!(verdict.duplicates > 0, "no answer was lost: {verdict}");
}

/// Has the network be bad for a while, and well again.
async fn bring_about(fault: Fault, proxies: &[&Proxy]) {
    let (network, lasts) = match fault {
        Fault::Slow => {
            let jitter = Duration::from_millis(200);
            (Network { latency: Duration::from_millis(100), jitter, ..Network::default() }, 1_000)
        }
        Fault::Reset => (Network::default(), 500),
        // Longer than a call may take.
        Fault::Silent | Fault::HalfOpen => (Network { holds: true, ..Network::default() }, 1_500),
        Fault::ClosesLate => (Network { closes_late: secs(1), ..Network::default() }, 500),
        Fault::Narrow => (Network { bytes_per_second: Some(50_000), ..Network::default() }, 1_000),
    };
    proxies.iter().for_each(|proxy| proxy.set(network));
    let ends = match fault {
        Fault::Reset | Fault::HalfOpen | Fault::ClosesLate => 3,
        Fault::Slow | Fault::Silent | Fault::Narrow => 0,
    };
    // How long it lasts is what is tried; nothing is waited for.
    let lasts = Duration::from_millis(lasts);
    if ends == 0 {
        tokio::time::sleep(lasts).await;
    }
    for _ in 0..ends {
        tokio::time::sleep(lasts / ends).await;
        proxies.iter().for_each(|proxy| proxy.reset_all());
    }
    proxies.iter().for_each(|proxy| proxy.set(Network::default()));
}
