//! A registry that is away: who knows the schemas does not notice, who does not waits, and no record is blamed.

use std::time::Duration;

use tieline_sandbox::recorder::Options;
use tieline_sandbox::registry::Fault;

use crate::load::Load;
use crate::{eventually, secs};

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_not_noticed_by_a_warm_consumer_and_waited_for_by_a_cold_one() {
    let load = Load::start("away", Options::default()).await;
    let warm = load.replica("a");
    // It asks for the schema's id before the registry goes.
    let producing = load.produce(1_500, secs(6));
    load.drained(200, secs(60)).await;
    load.registry.fault(Fault::Down);
    let asked = load.registry.requests().len();
    let produced = producing.await.unwrap();
    load.drained(produced.len(), secs(30)).await;
    load.all_committed(&produced, secs(30)).await;
    assert_eq!(load.registry.requests().len(), asked, "the warm one has asked again");
    assert!(warm.terminate(secs(30)).await.success());

    load.registry.fault(Fault::None);
    let more = load.produce_from(5_000, 300, secs(1)).await.unwrap();
    for fault in [Fault::Down, Fault::Failing(503)] {
        load.registry.fault(fault);
        let cold = load.replica("b");
        let asked = load.registry.requests().len();
        eventually("it asks the registry", secs(60), || load.registry.requests().len() > asked + 2).await;
        // A look at what it does in a while, not a wait for something.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let log = cold.log();
        assert!(!log.contains("\"dead letter\""), "{log}");
        assert_eq!(load.recorder.effects(), produced.len());
        cold.kill();
    }
    let cold = load.replica("c");
    let asked = load.registry.requests().len();
    eventually("it asks the registry", secs(60), || load.registry.requests().len() > asked).await;
    load.registry.fault(Fault::None);
    load.drained(produced.len() + more.len(), secs(60)).await;
    assert!(cold.terminate(secs(30)).await.success());
    let all = produced.into_iter().chain(more).collect();
    let verdict = load.verdict(all, Some(0)).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
}
