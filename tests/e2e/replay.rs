//! Replay, by the command and the owners of the partitions, on a real Kafka: only what is missing, never after newer state,
//! again only where that is asked for, through a crash and beside live traffic.

use std::collections::BTreeSet;

use serde_json::Value;
use tieline_delivery::oracle::{End, Ended, Produced};
use tieline_sandbox::recorder::{Arrival, Options};

use crate::load::Load;
use crate::process::tieline;
use crate::{eventually, secs};

const RECORDS: u64 = 1_000;
const DELIVER: &str = "{ in_flight: 64, patience: 5s, start: earliest }";
const BECAUSE: [&str; 2] = ["--reason", "the system has lost it"];

impl Load {
    fn replay(&self, args: &[&str]) -> (i32, String, String) {
        let args = [&["replay", "apply-item"][..], args].concat();
        tokio::task::block_in_place(|| tieline(self.dir.path(), &args, &self.environment))
    }

    fn replay_json(&self, args: &[&str]) -> Value {
        let (code, out, error) = self.replay(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{args:?}: {out}{error}");
        serde_json::from_str(&out).unwrap()
    }

    /// Orders a replay; its id.
    fn order_replay(&self, args: &[&str]) -> String {
        self.replay_json(&[args, &BECAUSE[..]].concat())["command"].as_str().unwrap().to_owned()
    }

    /// What the owners say of a replay.
    fn state_of(&self, command: &str) -> String {
        let all = self.replay_json(&["--status"]);
        let found = all.as_array().unwrap().iter().find(|one| one["replay"]["id"] == *command).unwrap();
        found["state"].as_str().unwrap().to_owned()
    }

    async fn replayed(&self, command: &str, says: &str) {
        let mut state = String::new();
        let what = format!("replay {command} says {says}");
        eventually(&what, secs(120), || {
            let now = self.state_of(command);
            if now != state {
                eprintln!("{now}");
                state = now;
            }
            state == says
        })
        .await;
    }

    fn sends(&self, command: &str) -> Vec<Arrival> {
        let of = |arrival: &Arrival| arrival.event_headers.get("tieline-replay").is_some_and(|id| id == command);
        self.recorder.arrivals().into_iter().filter(of).collect()
    }
}

fn keys(arrivals: &[Arrival]) -> BTreeSet<String> {
    arrivals.iter().map(|arrival| arrival.idempotency_key.clone().unwrap()).collect()
}

/// What was passed by before the definition was changed.
fn skipped(produced: &[Produced]) -> Vec<Ended> {
    let ended = |record: &Produced| Ended { event_id: record.event_id.clone(), end: End::Skipped, at_ms: None };
    produced.iter().filter(|record| record.sequence >= RECORDS / 2).map(ended).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_missing_is_replayed_once_and_in_order_through_crashes() {
    let load = Load::start_with("missing", Options::default(), DELIVER).await;
    let consumer = "consumers/apply-item/consumer.yaml";
    load.edit(consumer, "subscribe: load.item_changed", "subscribe: load.item_changed\nwhen: .sequence < 500");
    let replica = load.replica("a");
    let produced = load.produce(RECORDS, secs(3)).await.unwrap();
    load.drained(500, secs(60)).await;
    load.all_committed(&produced, secs(60)).await;
    replica.kill();

    // The other half was not wanted, and is from now on. A dry run shows it, and calls nobody.
    load.edit(consumer, "\nwhen: .sequence < 500", "");
    let calls = load.recorder.arrivals().len();
    let dry = load.replay_json(&["--from", "earliest", "--dry-run", "--max", "3"]);
    assert_eq!((&dry["tally"]["sent"], &dry["tally"]["done_before"]), (&500.into(), &500.into()), "{dry}");
    let first = &dry["records"][0];
    assert_eq!((&first["was"], &first["would"]), (&"missing".into(), &"call".into()), "{dry}");
    assert_eq!(first["body"]["note"], "as ordered");
    let (code, out, error) = load.replay(&["--from", "earliest", "--where", ".sequence > 900", "--dry-run"]);
    assert!(code == 0 && out.contains("would send 99;") && out.contains("401 not meant"), "{out}{error}");
    let (code, _, error) = load.replay(&["--from", "earliest", "--where", ".sequenc > 900", "--dry-run"]);
    assert!(code == 2 && error.contains("did you mean `sequence`?"), "{error}");
    assert_eq!(load.recorder.arrivals().len(), calls, "a dry run calls nobody");

    let order = load.order_replay(&["--from", "earliest", "--rate", "60"]);
    let mut replica = load.replica("b");
    for (effects, next) in [(600, "c"), (800, "d")] {
        load.drained(effects, secs(60)).await;
        replica.kill();
        replica = load.replica(next);
    }
    load.drained(produced.len(), secs(120)).await;
    load.replayed(&order, "done: 500 sent, 500 done before").await;
    assert_eq!(keys(&load.sends(&order)).len(), 500, "under the keys that they have always had");

    // Nothing is missing any more.
    let again = load.order_replay(&["--from", "earliest"]);
    load.replayed(&again, "done: 1000 done before").await;
    assert!(load.sends(&again).is_empty());
    assert!(replica.terminate(secs(30)).await.success());
    let ended = skipped(&produced);
    let verdict = load.verdict_with(produced, Some(2 * 1_024), ended).await;
    eprintln!("{verdict}");
    assert!(verdict.holds() && verdict.effects == 1_000, "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_what_is_done_is_passed_over_unless_it_is_to_overtake() {
    let load = Load::start_with("overtaken", Options::default(), DELIVER).await;
    let consumer = "consumers/apply-item/consumer.yaml";
    load.edit(consumer, "subscribe: load.item_changed", "subscribe: load.item_changed\nwhen: .sequence >= 500");
    let replica = load.replica("a");
    let produced = load.produce(RECORDS, secs(3)).await.unwrap();
    load.drained(500, secs(60)).await;
    load.all_committed(&produced, secs(60)).await;
    replica.kill();
    load.edit(consumer, "\nwhen: .sequence >= 500", "");
    let replica = load.replica("b");

    let order = load.order_replay(&["--from", "earliest"]);
    load.replayed(&order, "done: 500 overtaken, 500 done before").await;
    assert!(load.sends(&order).is_empty());
    let order = load.order_replay(&["--from", "earliest", "--overtake", "--where", ".sequence < 100"]);
    load.replayed(&order, "done: 100 sent, 500 done before, 400 not meant").await;
    assert_eq!(load.recorder.effects(), 600);
    assert!(replica.terminate(secs(30)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn again_makes_one_new_effect_of_each_beside_live_traffic_that_keeps_its_order() {
    let load = Load::start_with("again", Options::default(), DELIVER).await;
    let first = load.replica("a");
    let old = load.produce(RECORDS, secs(3)).await.unwrap();
    load.drained(old.len(), secs(60)).await;
    load.all_committed(&old, secs(60)).await;

    let ends: Vec<String> = load.committed("apply-item").iter().map(|(p, offset)| format!("{p}:{offset}")).collect();
    let live = load.produce_from(RECORDS, 1_000, secs(10));
    let order = load.order_replay(&["--from", "earliest", "--to", &ends.join(","), "--again", "--overtake"]);
    // Whoever pauses it stops it, and it goes on from there.
    eventually("some are sent again", secs(60), || load.sends(&order).len() >= 50).await;
    let run = |args: &[&str]| tokio::task::block_in_place(|| tieline(load.dir.path(), args, &load.environment));
    let target = format!("replays/{order}");
    assert_eq!(run(&[&["pause", &target][..], &BECAUSE].concat()).0, 0);
    let second = load.replica("b"); // a rebalance
    assert_eq!(run(&[&["resume", &target][..], &BECAUSE].concat()).0, 0);
    let live = live.await.unwrap();
    load.replayed(&order, "done: 1000 sent").await;
    let produced = [old, live].concat();
    load.drained(produced.len() + 1_000, secs(60)).await;
    let replays = load.sends(&order);
    let new: Vec<&Arrival> = replays.iter().filter(|arrival| arrival.applied).collect();
    assert_eq!((keys(&replays).len(), new.len()), (1_000, 1_000), "each under a key of its own");
    assert_eq!(load.recorder.effects(), produced.len() + 1_000);

    // Only the newest of a key is not older than what is done.
    let order = load.order_replay(&["--from", "earliest", "--again"]);
    load.replayed(&order, "done: 97 sent, 1903 overtaken").await;
    // One that is ended stays so.
    let order = load.order_replay(&["--from", "earliest", "--again", "--overtake", "--rate", "1"]);
    eventually("it has begun", secs(60), || !load.sends(&order).is_empty()).await;
    let (code, out, error) = load.replay(&[&["--cancel", &order][..], &BECAUSE].concat());
    assert_eq!(code, 0, "{out}{error}");
    eventually("it is cancelled", secs(60), || load.state_of(&order).starts_with("cancelled: ")).await;

    for replica in [first, second] {
        assert!(replica.terminate(secs(30)).await.success());
    }
    let arrivals = load.recorder.arrivals();
    let live = arrivals.into_iter().filter(|arrival| !arrival.event_headers.contains_key("tieline-replay")).collect();
    let verdict = load.verdict_of(live, produced, Some(0), Vec::new()).await;
    eprintln!("{verdict}");
    assert!(verdict.holds() && verdict.effects == 2_000, "{verdict}");
}
