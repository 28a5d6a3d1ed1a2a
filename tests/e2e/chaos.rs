//! Chaos: replicas killed, stopped and started at random instants, 0 to 500 ms apart, while records are produced and
//! delivered; under both group protocols.
//!
//! A classic group waits at each rebalance for all its members, and for a killed one until its session is over: switched
//! without a pause it would never come to deliver anything. So the switches come in storms, and between two storms all
//! replicas run until there are some thousand effects more. The session is 3 s, so that it is often over in a storm.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tieline_sandbox::recorder::{Arrival, Options, Reaction};
use tokio::task::JoinHandle;

use crate::load::{Load, Setup};
use crate::process::Process;
use crate::size::{figure, size};
use crate::stall::StallWatch;
use crate::{eventually, secs};

/// Replicas that are switched.
const REPLICAS: usize = 3;

/// The signal that asks for an end.
const SIGTERM: i32 = 15;

/// Longest time between two switches, in milliseconds.
const SWITCH_WITHIN_MS: u64 = 500;

/// Calls of one replica that may come again after a crash.
const REPEATS_MAX: usize = 1_024;

/// The longest that a call takes, in milliseconds.
const LATENCY_MS_MAX: u64 = 10;

/// How long a partition may stand still through a storm: the storm, the session of a member that was killed in it, the
/// transaction that it left open, the deadline of its calls, and the start of those that run next.
const STANDS_STILL_MAX: Duration = secs(60);

/// How much memory a replica may take: the window's bytes (64 MiB), the client's prefetch (16 MiB), and the process with
/// what the clients keep for themselves.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_killed_stopped_and_started_all_the_time_keep_every_promise() {
    chaos("chaos", "session.timeout.ms: \"3000\", heartbeat.interval.ms: \"500\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_keep_them_too_under_the_newer_group_protocol() {
    chaos("chaos848", "group.protocol: \"consumer\"").await;
}

async fn chaos(bus: &str, settings: &str) {
    let react = |_: &Arrival| {
        let delay = Duration::from_millis(rand::random_range(0..LATENCY_MS_MAX));
        Some(Reaction { delay, ..Reaction::default() })
    };
    let system = Options { react: Some(Box::new(react)), ..Options::default() };
    let load = Load::start_on(Setup { settings: settings.to_owned(), log: "info", ..Setup::new(bus, system) }).await;
    // The next owner of a call that was under way waits for as long as it may take.
    load.edit("systems/recorder/system.yaml", "deadline: 5s", "deadline: 1s");
    let records = size().chaos_records;
    let producing = load.produce(records, secs(records / size().chaos_rate));
    let stalls = StallWatch::start(load.offsets("apply-item"));
    let mut pool = Pool::new(&load, rand::random());
    eprintln!("{bus}: seed {}", pool.seed);
    let all = usize::try_from(records).expect("a number");
    let mut storms = 0;
    while load.recorder.effects() < all {
        pool.storm().await;
        storms += 1;
        pool.all_run().await;
        let calm = load.recorder.effects() + usize::try_from(size().chaos_calm).expect("a number");
        eventually("it is calm again, and work goes on", secs(120), || load.recorder.effects() >= calm.min(all)).await;
    }
    let stall = stalls.longest().await;
    let produced = producing.await.unwrap();
    load.all_committed(&produced, secs(60)).await;
    let Pool { seed, kills, stops, starts, memory_peak, .. } = pool.end().await;
    let took = load.elapsed();
    let verdict = load.verdict(produced, Some(kills * REPEATS_MAX)).await;
    figure(format!(
        "seed {seed}, {records} records in {} s: {storms} storms, {kills} kills, {stops} stops, {starts} starts; \
         longest stand-still {:.1} s (partition {}), most memory of a replica {} MiB; {verdict}",
        took.as_secs(),
        stall.lasted.as_secs_f64(),
        stall.partition,
        memory_peak >> 20,
    ));
    assert!(verdict.holds(), "seed {seed}: {verdict}");
    assert_eq!(verdict.effects, all, "seed {seed}: {verdict}");
    assert!(stall.lasted < STANDS_STILL_MAX, "seed {seed}: {stall:?}");
    assert!(memory_peak < MEMORY_BYTES_MAX, "seed {seed}: {memory_peak} bytes");
}

/// Replicas, each in its place.
struct Pool<'a> {
    load: &'a Load,
    seed: u64,
    random: StdRng,
    places: Vec<Place>,
    kills: usize,
    stops: usize,
    starts: usize,
    memory_peak: u64,
}

/// Where a replica runs, or not.
enum Place {
    Empty,
    Runs(Process),
    /// It was asked to stop; it ends with exit code 0, or the test fails.
    Ends(JoinHandle<()>),
}

impl<'a> Pool<'a> {
    fn new(load: &'a Load, seed: u64) -> Self {
        let places = (0..REPLICAS).map(|_| Place::Empty).collect();
        let random = StdRng::seed_from_u64(seed);
        Self { load, seed, random, places, kills: 0, stops: 0, starts: 0, memory_peak: 0 }
    }

    /// Switches replicas, one after another.
    async fn storm(&mut self) {
        for _ in 0..size().chaos_switches {
            let pause = Duration::from_millis(self.random.random_range(0..SWITCH_WITHIN_MS));
            // The instant is what is random here; nothing is waited for.
            tokio::time::sleep(pause).await;
            let n = self.random.random_range(0..REPLICAS);
            let to_kill = self.random.random_bool(0.5);
            self.switch(n, to_kill);
        }
    }

    fn switch(&mut self, n: usize, to_kill: bool) {
        let place = std::mem::replace(&mut self.places[n], Place::Empty);
        self.places[n] = match place {
            Place::Empty => self.started(n),
            Place::Runs(process) if to_kill => {
                self.note(&process);
                self.kills += 1;
                process.kill();
                Place::Empty
            }
            Place::Runs(process) => {
                self.note(&process);
                self.stops += 1;
                Place::Ends(tokio::spawn(async move {
                    assert_ended_well(process.terminate(secs(60)).await);
                }))
            }
            // Nobody runs two under one name.
            Place::Ends(ending) => Place::Ends(ending),
        };
    }

    /// Has all run, those that are ending too, once they have.
    async fn all_run(&mut self) {
        for n in 0..REPLICAS {
            let place = std::mem::replace(&mut self.places[n], Place::Empty);
            self.places[n] = match place {
                Place::Runs(process) => Place::Runs(process),
                Place::Empty => self.started(n),
                Place::Ends(ending) => {
                    ending.await.expect("it ends well");
                    self.started(n)
                }
            };
        }
    }

    fn started(&mut self, n: usize) -> Place {
        self.starts += 1;
        Place::Runs(self.load.replica(&format!("{n}")))
    }

    fn note(&mut self, process: &Process) {
        self.memory_peak = self.memory_peak.max(process.memory_peak().unwrap_or(0));
    }

    /// Stops all.
    async fn end(mut self) -> Self {
        let begun = Instant::now();
        for place in std::mem::take(&mut self.places) {
            match place {
                Place::Empty => {}
                Place::Ends(ending) => ending.await.expect("it ends well"),
                Place::Runs(process) => {
                    self.note(&process);
                    assert_ended_well(process.terminate(secs(60)).await);
                }
            }
        }
        eprintln!("all ended in {:?}", begun.elapsed());
        self
    }
}

/// By the signal itself where it came before the process had begun to listen for it.
fn assert_ended_well(ended: ExitStatus) {
    assert!(ended.success() || ended.signal() == Some(SIGTERM), "{ended}");
}
