//! A crash at chosen points between the system's 2xx and the end of the commit: what comes again is recognised, and is no
//! more than may be.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use tieline_delivery::oracle::Produced;
use tieline_sandbox::recorder::Options;

use crate::load::{Load, Setup};
use crate::process::Process;
use crate::size::{figure, size};
use crate::{eventually, secs};

/// The points (`crates/runtime/src/fail_point.rs`), and at which passage the first crash is, the next one passage later:
/// effects for the first point, commits for the others, of which some cover nothing but the start.
const POINTS: [(&str, u64); 5] =
    [("answered", 50), ("commit-begins", 5), ("offsets-sent", 5), ("records-written", 5), ("commit-made", 5)];

/// Calls that may come again after a crash: as many as may be open (`load/consumer.yaml`).
const REPEATS_MAX: usize = 1_024;

/// Records that come in half a second: of those of a busy machine one commit may cover a few hundred.
const RECORDS: u64 = 100;
const EVERY: Duration = Duration::from_millis(500);

/// The signal of an abort.
const SIGABRT: i32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_each_point_between_the_effect_and_its_commit_loses_nothing_and_repeats_no_effect() {
    let runs = POINTS.map(|(point, first)| tokio::spawn(crashes(point, first)));
    for run in runs {
        run.await.unwrap();
    }
}

/// Produces for as long as a replica lives, and says how it ended.
async fn produce_until_it_ends(load: &Load, replica: Process, produced: &mut Vec<Produced>) -> ExitStatus {
    let mut ended = Box::pin(replica.ended(secs(60)));
    loop {
        let producing = load.produce_from(produced.len() as u64, RECORDS, EVERY);
        let end = tokio::time::timeout(EVERY, &mut ended).await;
        produced.extend(producing.await.unwrap());
        if let Ok(status) = end {
            return status;
        }
    }
}

async fn crashes(point: &'static str, first: u64) {
    let system = Options { latency: Duration::from_millis(5), ..Options::default() };
    let settings = "session.timeout.ms: \"3000\", heartbeat.interval.ms: \"500\"".to_owned();
    let load = Load::start_on(Setup { settings, ..Setup::new(&format!("at-{point}"), system) }).await;
    load.edit("systems/recorder/system.yaml", "deadline: 5s", "deadline: 1s");
    let mut produced = Vec::new();
    for crash in 0..size().crashes_a_point {
        let at = format!("{point}:{}", first + crash);
        let replica = load.replica_with("a", &[("TIELINE_FAIL_POINT", &at)]);
        let had = replica.log().matches("\"assigned\"").count();
        let has_more = || replica.log().matches("\"assigned\"").count() > had;
        eventually("it is ready, so that the records come over many commits", secs(60), has_more).await;
        let ended = produce_until_it_ends(&load, replica, &mut produced).await;
        assert_eq!(ended.signal(), Some(SIGABRT), "{at}: {ended}");
        // Each crash has its own takeover, and begins where all is well.
        let next = load.replica("a");
        load.drained(produced.len(), secs(60)).await;
        load.all_committed(&produced, secs(60)).await;
        assert!(next.terminate(secs(30)).await.success());
    }
    let crashes = usize::try_from(size().crashes_a_point).unwrap();
    let all = produced.len();
    let verdict = load.verdict(produced, Some(crashes * REPEATS_MAX)).await;
    figure(format!("{crashes} at {point}: {verdict}"));
    assert!(verdict.holds(), "{point}: {verdict}");
    assert_eq!(verdict.effects, all, "{point}: {verdict}");
    // What is committed does not come again; before that something does, or the crash was at the wrong time.
    assert!(verdict.duplicates > 0 || point == "commit-made", "{point}: {verdict}");
}
