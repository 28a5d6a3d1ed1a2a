//! The system that both sides call: it answers as it is told to, and logs what comes.

use std::io::BufRead as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tieline_sandbox::recorder::{Arrival, Options, Reaction, Recorder};
use tieline_schema::partitioner::partition;

use crate::bus::PARTITIONS;
use crate::events::BUSY_KEY;
use crate::process::{argument, say};

/// The partition that is slow, where one is.
pub const SLOW_PARTITION: u32 = 0;

/// How it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manners {
    /// What each answer takes. Tokio's timer rounds it up to the next millisecond.
    pub latency_ms: u64,
    /// What an answer about [`BUSY_KEY`] takes instead.
    pub busy_key_ms: Option<u64>,
    /// What an answer about a key of [`SLOW_PARTITION`] takes instead.
    pub slow_partition_ms: Option<u64>,
    /// One call of so many, first or repeated, is answered with 503.
    pub one_failed_of: Option<u16>,
    /// One record of so many is answered with 422, in each attempt.
    pub one_refused_of: Option<u16>,
    /// Whether every call is answered with 503.
    pub is_down: bool,
}

/// What it has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Since its start.
    pub at_us: u64,
    /// How many requests came.
    pub requests: usize,
    /// How many of them made an effect.
    pub effects: usize,
}

/// All that came.
#[derive(Debug, Serialize, Deserialize)]
pub struct Log {
    /// In sum.
    pub seen: Seen,
    /// When the system started, since 1970.
    pub started_us: u64,
    /// Each call, in order.
    pub calls: Vec<Came>,
}

/// A call that came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    /// Since the system's start.
    pub at_us: u64,
    /// The deal's id, where the task says that it is wanted.
    pub key: String,
    /// Whether it made an effect.
    pub applied: bool,
}

/// How it begins.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Begin {
    /// As it behaves first.
    pub manners: Manners,
    /// Whether keys are read and logged, which takes some of the machine.
    pub keys: bool,
}

/// Says its address. Then a line on standard input is how it behaves from now on, and is answered with what it has seen;
/// when there are no more, it says all that came.
pub async fn serve() -> anyhow::Result<()> {
    let begin: Begin = argument()?;
    let manners = Arc::new(Mutex::new(begin.manners));
    let started_us = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?;
    let recorder = Recorder::start(options(begin, Arc::clone(&manners))).await;
    let recorder = recorder.context("the recording system cannot start")?;
    let started = std::time::Instant::now();
    let seen = move |recorder: &Recorder| -> anyhow::Result<Seen> {
        let at_us = u64::try_from(started.elapsed().as_micros())?;
        Ok(Seen { at_us, requests: recorder.arrived(), effects: recorder.effects() })
    };
    say(&recorder.url())?;
    let log = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines() {
            *manners.lock().unwrap_or_else(PoisonError::into_inner) = serde_json::from_str(&line?)?;
            say(&seen(&recorder)?)?;
        }
        let calls = recorder.arrivals().into_iter().map(came).collect();
        anyhow::Ok(Log { seen: seen(&recorder)?, started_us, calls })
    });
    say(&log.await??)
}

fn options(begin: Begin, manners: Arc<Mutex<Manners>>) -> Options {
    // The same project each time: nobody compares it with what was sent.
    let project = json!({
        "id": "prj_01HZX3", "number": "P-2026-0815", "externalId": "D-1042", "status": "planned",
        "name": "Nordwind Logistik AG – Warehouse rollout", "budget": 125_000.5, "startDate": "2026-11-25",
        "createdAt": "2026-11-24T23:15:04.125Z",
    });
    Options {
        status: 201,
        body: project.to_string(),
        key_pointer: begin.keys.then(|| "/externalId".to_owned()),
        react: Some(Box::new(move |arrival| {
            let manners = *manners.lock().unwrap_or_else(PoisonError::into_inner);
            Some(manners.reaction(arrival))
        })),
        ..Options::default()
    }
}

impl Manners {
    fn reaction(self, arrival: &Arrival) -> Reaction {
        let status = if self.is_down || self.fails(arrival) {
            503
        } else if self.refuses(arrival) {
            422
        } else {
            201
        };
        Reaction { status, delay: Duration::from_millis(self.takes_ms(arrival)), ..Reaction::default() }
    }

    fn fails(self, arrival: &Arrival) -> bool {
        self.one_failed_of.is_some_and(|one_of| die(arrival, arrival.earlier_attempts as usize).is_multiple_of(one_of))
    }

    fn refuses(self, arrival: &Arrival) -> bool {
        self.one_refused_of.is_some_and(|one_of| die(arrival, 0).is_multiple_of(one_of))
    }

    fn takes_ms(self, arrival: &Arrival) -> u64 {
        let key = arrival.key.as_deref().unwrap_or_default();
        let of_key = self.busy_key_ms.filter(|_| key == BUSY_KEY);
        let of_partition = self.slow_partition_ms.filter(|_| is_of_slow_partition(key));
        of_key.or(of_partition).unwrap_or(self.latency_ms)
    }
}

/// Dice that fall alike in each run: other bytes of the body's hash for each throw.
fn die(arrival: &Arrival, throw: usize) -> u16 {
    let [high, low] = [throw * 2, throw * 2 + 1].map(|n| arrival.body_sha256[n % arrival.body_sha256.len()]);
    u16::from_be_bytes([high, low])
}

/// Whether a key's records lie on the partition that can be slow.
pub fn is_of_slow_partition(key: &str) -> bool {
    partition(key.as_bytes(), PARTITIONS) == SLOW_PARTITION
}

fn came(arrival: Arrival) -> Came {
    Came {
        at_us: u64::try_from(arrival.at.as_micros()).unwrap_or(u64::MAX),
        key: arrival.key.unwrap_or_default(),
        applied: arrival.applied,
    }
}
