//! An end that somebody insists on.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::Load;
use crate::{eventually, secs};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_the_process_at_once() {
    // It hangs for longer than draining may take.
    let react = |_: &Arrival| Some(Reaction { delay: secs(60), ..Reaction::default() });
    let load = Load::start("insist", Options { react: Some(Box::new(react)), ..Options::default() }).await;
    load.edit("systems/recorder/system.yaml", "deadline: 5s", "deadline: 60s");
    let replica = load.replica("a");
    let produced = load.produce(50, Duration::from_millis(500)).await.unwrap();
    eventually("calls are under way", secs(60), || load.recorder.arrived() > 0).await;

    replica.signal("-TERM");
    eventually("it drains", secs(10), || replica.log().contains("Drain")).await;
    let asked = Instant::now();
    let ended = replica.terminate(secs(10)).await;
    println!("ended {:?} after the second signal: {ended}", asked.elapsed());
    assert!(asked.elapsed() < secs(5), "{:?}", asked.elapsed());
    assert!(ended.success() && ended.signal().is_none(), "{ended}");
    // What was under way was not committed: it comes again, and is recognised.
    let ends = load.committed("apply-item");
    assert!(produced.iter().any(|record| record.offset >= ends[&record.partition]), "{ends:?}");
}
