//! The processes of the bench: this binary again, with another part to play.
//!
//! A side gets its task as JSON in an argument, and prints what it used when it is done, or when its standard input ends.
//! How the recording system is spoken with stands in `system.rs`.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::measure::{Used, cpu_us, peak_rss_kib};

/// Plays the system that is called.
pub const SYSTEM: &str = "system";
/// Plays the consumer.
pub const TIED: &str = "tied";
/// Plays the loop without guarantees.
pub const RAW: &str = "raw";
/// The same loop, which decodes and maps, and calls nobody.
pub const RAW_READS: &str = "raw-reads";

/// Writes the ledger alone.
pub const LEDGER: &str = "ledger";

/// How often a side looks whether its first call is made, and whether it is done. It costs both sides the same.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// What a side has to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// Where the bus is.
    pub bus: PathBuf,
    /// The consumer group of the loop without guarantees; the consumer's own follows from the bus.
    pub group: String,
    /// Calls under way at most. The consumer has it from the bus.
    pub in_flight: usize,
    /// Whether an event follows from each call.
    pub follow_up: bool,
    /// How many records there are to be done, before it ends by itself.
    pub records: usize,
    /// `bootstrap.servers`.
    pub kafka: String,
    /// The registry's URL.
    pub registry: String,
    /// The ERP's URL.
    pub erp: String,
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Started {
    /// Starts a part. It ends at the latest with this value.
    pub fn new<T: Serialize>(part: &str, task: &T) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this binary")?);
        command.arg(part).arg(serde_json::to_string(task)?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start the part `{part}`"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a child without standard output")?;
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines() })
    }

    /// Waits for what it says next.
    pub async fn said<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.lines.next_line().await?.context("a part ended without a word")?;
        serde_json::from_str(&line).with_context(|| format!("a part said something else: {line}"))
    }

    /// Tells it something.
    pub async fn tell<T: Serialize>(&mut self, what: &T) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("a part was told that nothing more comes")?;
        stdin.write_all(format!("{}\n", serde_json::to_string(what)?).as_bytes()).await.context("a part ended early")
    }

    /// Its number, while it runs.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("a part ended early")
    }

    /// Tells it that nothing more comes.
    pub fn finish(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> anyhow::Result<()> {
        self.finish();
        let status = self.child.wait().await?;
        ensure!(status.success(), "a part failed: {status}");
        Ok(())
    }
}

/// What this process was given to do.
pub fn argument<T: DeserializeOwned>() -> anyhow::Result<T> {
    let argument = std::env::args().nth(2).context("a part needs its task as an argument")?;
    serde_json::from_str(&argument).context("the task cannot be read")
}

/// Tells the driver something.
pub fn say<T: Serialize>(what: &T) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(what)?).context("nobody listens")
}

/// A side's CPU time from its first call or record on, so that starting and joining the group are left out.
#[derive(Debug)]
pub struct FromFirstCall {
    cpu_us: u64,
    since: Instant,
}

impl FromFirstCall {
    /// Waits for the first one.
    pub async fn wait(calls: impl Fn() -> u64) -> anyhow::Result<Self> {
        while calls() == 0 {
            tokio::time::sleep(LOOK_EVERY.0).await;
        }
        Ok(Self { cpu_us: cpu_us(std::process::id())?, since: Instant::now() })
    }

    /// Waits until so many records are done, or until standard input ends.
    pub async fn until(&self, done: impl Fn() -> u64, records: usize) {
        let all_done = async {
            while done() < records as u64 {
                tokio::time::sleep(LOOK_EVERY.1).await;
            }
        };
        // The driver ends standard input in any case, so that this thread is no obstacle to the end of the process.
        let told = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        tokio::select! {
            () = all_done => {}
            _ = told => {}
        }
    }

    /// What was used.
    pub fn used(&self) -> anyhow::Result<Used> {
        Ok(Used {
            cpu_us: cpu_us(std::process::id())? - self.cpu_us,
            elapsed_ms: u64::try_from(self.since.elapsed().as_millis())?,
            peak_rss_kib: peak_rss_kib(std::process::id())?,
            in_calls_ms: 0,
            dead: 0,
        })
    }
}
