//! The wall clock of a replica is set, by an hour ahead and then back. What it retries, waits for and commits goes by the monotonic
//! clock, and notices nothing when the time jumps ahead. Kafka's client would stand still where it is set back (`src/clock.rs`):
//! the replica ends instead, and the one that takes its place goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::Load;
use crate::size::{figure, size};
use crate::stall::StallWatch;
use crate::{eventually, secs};

/// How far it jumps, in seconds. Kafka refuses records whose time is more than an hour ahead (`message.timestamp.after.max.ms`).
const JUMP_S: i64 = 3_600;

/// Records in a second.
const RATE: u64 = 100;

/// Attempts of each record of one key: three that fail, and one that works.
const ATTEMPTS: u32 = 4;

/// Longest between two attempts: the last of them wait some seconds by themselves, and a machine that builds takes its time.
const BETWEEN_MAX: Duration = secs(15);

/// As the oracle has it: nothing that has records to deliver stands still for longer.
const STANDS_STILL_MAX: Duration = secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_is_not_noticed_and_one_that_is_set_back_ends_a_replica_that_another_follows() {
    let react = |arrival: &Arrival| {
        let fails = arrival.key.as_deref() == Some("item-13") && arrival.earlier_attempts + 1 < ATTEMPTS;
        fails.then(|| Reaction { status: 503, ..Reaction::default() })
    };
    let options = Options { key_pointer: Some("/item".to_owned()), react: Some(Box::new(react)), ..Options::default() };
    let load = Load::start("clock", options).await;
    let clock = Clock::new(load.dir.path());
    let first = load.replica_with("a", &clock.environment());
    let calm = size().clock_calm;
    let producing = load.produce(RATE * (calm * 4).as_secs(), calm * 4);
    eventually("it works", secs(60), || load.recorder.effects() > 100).await;
    let stalls = StallWatch::start(load.offsets("apply-item"));
    tokio::time::sleep(calm).await;
    clock.set(JUMP_S);
    tokio::time::sleep(calm).await;
    let stall = stalls.longest().await;
    let ahead = load.recorder.arrivals();

    clock.set(-JUMP_S);
    let log = load.dir.path().join("clock-a.log");
    assert_eq!(first.ended(secs(30)).await.code(), Some(3));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("the clock was set back"), "it does not say why it ends: {log}");
    assert!(hours_of(&log).ends_with(&[0, 1]), "the clock that it logs by has not jumped: {:?}", hours_of(&log));
    let second = load.replica_with("b", &clock.environment());
    let produced = producing.await.unwrap();
    load.drained(produced.len(), secs(120)).await;
    load.all_committed(&produced, secs(60)).await;
    assert_eq!(hours_of(&second.log()), [-1]);
    assert!(second.terminate(secs(30)).await.success());

    let mut attempts: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for arrival in ahead {
        attempts.entry(arrival.idempotency_key.unwrap()).or_default().push(arrival.at);
    }
    let retried: Vec<&Vec<Duration>> = attempts.values().filter(|times| times.len() > 1).collect();
    let longest = retried.iter().flat_map(|times| times.windows(2)).map(|two| two[1] - two[0]).max().unwrap();
    let most = retried.iter().map(|times| times.len()).max().unwrap();
    let verdict = load.verdict(produced, Some(usize::try_from(RATE).unwrap() * 10)).await;
    figure(format_args!(
        "an hour ahead: {} records retried, at most {:.1} s between two attempts, longest stand-still {:.1} s; then two hours back: \
         {verdict}",
        retried.len(),
        longest.as_secs_f64(),
        stall.lasted.as_secs_f64()
    ));
    assert!(most <= ATTEMPTS as usize, "{most} attempts of one record, where {ATTEMPTS} do");
    assert!(longest <= BETWEEN_MAX, "{longest:?} between two attempts");
    assert!(stall.lasted < STANDS_STILL_MAX, "{stall:?}");
    assert!(verdict.holds(), "{verdict}");
}

/// The wall clock of a process.
struct Clock {
    library: PathBuf,
    shift: PathBuf,
}

impl Clock {
    /// Builds the library that stands before the C library (`clock.c`).
    fn new(dir: &Path) -> Self {
        let (library, shift) = (dir.join("clock.so"), dir.join("clock.shift"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/hazards/clock.c");
        let mut cc = Command::new("cc");
        let built = cc.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").status();
        assert!(built.expect("a C compiler, by which Kafka's client is built too").success());
        let clock = Self { library, shift };
        clock.set(0);
        clock
    }

    fn environment(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", self.library.to_str().unwrap()), ("TIELINE_TEST_CLOCK", self.shift.to_str().unwrap())]
    }

    /// From now on it is so many seconds ahead.
    fn set(&self, seconds: i64) {
        // Put there whole: nobody reads half of it.
        let new = self.shift.with_extension("new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, &self.shift).unwrap();
    }
}

/// By how many hours the lines of a log are ahead of this process's clock, all that there are.
fn hours_of(log: &str) -> Vec<i64> {
    let now = jiff::Timestamp::now().as_second();
    let times = log.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["timestamp"].as_str()?.parse::<jiff::Timestamp>().ok()
    });
    // The test takes minutes.
    let mut hours: Vec<i64> = times.map(|at| (at.as_second() - now + 1_800).div_euclid(3_600)).collect();
    hours.sort_unstable();
    hours.dedup();
    hours
}
