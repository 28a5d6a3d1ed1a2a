//! What was measured: a line of JSON for the machine, and one for each workload.
//!
//! They go to standard output, and to the file that `BENCH_RESULTS` names. From that, `page.rs` and `figures.rs` make what
//! `docs/benchmarks.md` shows: from the same lines the same page.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::measure::Spread;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Line {
    /// Where it was measured; the first line.
    Machine(Machine),
    /// What a record costs.
    Cost(Cost),
    /// What the ledger costs.
    Ledger(Ledger),
    /// How many calls are made where each takes its time.
    Possible(Possible),
    /// What trouble takes from the rest.
    Trouble(Troubled),
    /// An outage.
    Outage(Outage),
    /// How soon an event arrives.
    Latency(Latency),
    /// How soon it does beside a replay.
    BesideReplay(BesideReplay),
    /// A process that has nothing to do.
    Idle(Idle),
}

/// Where and how it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The day, as `2026-11-24`.
    pub day: String,
    /// The processor's name.
    pub cpu: String,
    /// How many of its cores we may use.
    pub cores: usize,
    /// Memory, in GiB.
    pub memory_gib: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The broker.
    pub broker: String,
    /// Records of a round.
    pub records: usize,
    /// Rounds.
    pub rounds: usize,
}

/// CPU time for a record, of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The workload's name.
    pub workload: String,
    /// Processes that were running or wanted to, on average over the last minute: what else the machine did.
    pub load: f64,
    /// The consumer's.
    pub cpu_us_per_record: Spread,
    /// The raw loop's.
    pub raw_cpu_us_per_record: Spread,
    /// One by the other, of the same round.
    pub ratio: Spread,
    /// The most memory that the consumer had, in MiB.
    pub peak_rss_mib: u64,
}

/// CPU time that the ledger takes for a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// As in [`Cost`].
    pub load: f64,
    /// Entries of a commit, in all its partitions.
    pub entries_per_commit: usize,
    /// Of its writing, beyond what a commit without entries takes.
    pub cpu_us_per_record: Spread,
}

/// Calls a second, as shares of in flight ÷ latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Possible {
    /// As in [`Cost`].
    pub load: f64,
    /// What an answer takes.
    pub latency_ms: u64,
    /// A pair for each number of calls under way.
    pub at: Vec<PossibleAt>,
}

/// The same with so many under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PossibleAt {
    /// Calls under way at most.
    pub in_flight: usize,
    /// The consumer's share.
    pub share: Spread,
    /// The raw loop's.
    pub raw_share: Spread,
}

/// The rate of those who are not in trouble, as a share of the same round's without any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Troubled {
    /// The workload's name.
    pub workload: String,
    /// As in [`Cost`].
    pub load: f64,
    /// The share.
    pub share: Spread,
    /// Attempts for each effect.
    pub attempts_per_record: Spread,
}

/// What became of an outage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// As in [`Cost`].
    pub load: f64,
    /// How long it was.
    pub outage_s: u64,
    /// Calls a second before it.
    pub calls_per_second_before: f64,
    /// Attempts in it, as a share of what there would be without it.
    pub attempts_share: f64,
    /// From its end to 90 % of the rate; none where it never came back.
    pub seconds_to_90_percent: Option<f64>,
    /// Memory at its start, and the most from then on, in MiB.
    pub rss_start_mib: u64,
    /// The latter.
    pub rss_peak_mib: u64,
    /// When it began, and when it ended, in seconds of the following.
    pub down_s: f64,
    /// The latter.
    pub up_s: f64,
    /// Attempts that came in each second.
    pub attempts_each_second: Vec<u32>,
}

/// From publication to arrival, of both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// As in [`Cost`].
    pub load: f64,
    /// Events a second.
    pub per_second: u32,
    /// The consumer's half.
    pub p50_ms: Spread,
    /// 99 of its 100.
    pub p99_ms: Spread,
    /// The raw loop's half.
    pub raw_p50_ms: Spread,
    /// 99 of its 100.
    pub raw_p99_ms: Spread,
}

/// From publication to arrival, alone and while a replay is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BesideReplay {
    /// As in [`Cost`].
    pub load: f64,
    /// Events a second.
    pub per_second: u32,
    /// Records that the replay sent in a second.
    pub replayed_per_second: Spread,
    /// 99 of 100 events, beside the replay.
    pub p99_ms: Spread,
    /// 99 of 100 events, when nobody replays.
    pub alone_p99_ms: Spread,
    /// One by the other, of the same round.
    pub ratio: Spread,
}

/// A process without work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// As in [`Cost`].
    pub load: f64,
    /// For how long it was watched.
    pub seconds: u64,
    /// Of one core.
    pub cpu_share: f64,
    /// Memory in the end, in MiB.
    pub rss_mib: f64,
    /// The most that it had.
    pub peak_rss_mib: f64,
}

/// The file that they go to, beside standard output.
fn file() -> Option<PathBuf> {
    std::env::var_os("BENCH_RESULTS").filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// Begins anew, with the machine.
pub fn begin(records: usize, rounds: usize) -> anyhow::Result<()> {
    if let Some(path) = file() {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    report(&Line::Machine(Machine::this(records, rounds)?))
}

/// Adds a line.
pub fn report(line: &Line) -> anyhow::Result<()> {
    let text = serde_json::to_string(line)?;
    writeln!(std::io::stdout(), "{text}").context("standard output is closed")?;
    let Some(path) = file() else { return Ok(()) };
    let add = || writeln!(OpenOptions::new().append(true).open(&path)?, "{text}");
    add().with_context(|| format!("cannot write {}", path.display()))
}

/// The lines of a file, each in its place.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Results {
    /// Where they are from.
    pub machine: Option<Machine>,
    /// The rest, as in [`Line`].
    pub cost: Vec<Cost>,
    /// As in [`Line`].
    pub ledger: Option<Ledger>,
    /// As in [`Line`].
    pub possible: Option<Possible>,
    /// As in [`Line`].
    pub trouble: Vec<Troubled>,
    /// As in [`Line`].
    pub outage: Option<Outage>,
    /// As in [`Line`].
    pub latency: Option<Latency>,
    /// As in [`Line`].
    pub beside_replay: Option<BesideReplay>,
    /// As in [`Line`].
    pub idle: Option<Idle>,
}

impl Results {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut results = Self::default();
        for (n, line) in text.lines().enumerate() {
            let line =
                serde_json::from_str(line).with_context(|| format!("{}:{}: no result", path.display(), n + 1))?;
            results.take(line);
        }
        Ok(results)
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Machine(machine) => self.machine = Some(machine),
            Line::Cost(cost) => self.cost.push(cost),
            Line::Ledger(ledger) => self.ledger = Some(ledger),
            Line::Possible(possible) => self.possible = Some(possible),
            Line::Trouble(trouble) => self.trouble.push(trouble),
            Line::Outage(outage) => self.outage = Some(outage),
            Line::Latency(latency) => self.latency = Some(latency),
            Line::BesideReplay(beside_replay) => self.beside_replay = Some(beside_replay),
            Line::Idle(idle) => self.idle = Some(idle),
        }
    }
}

/// Processes that are running or want to, over the last minute.
pub fn load() -> anyhow::Result<f64> {
    let text = kernel_file("/proc/loadavg")?;
    text.split(' ').next().and_then(|load| load.parse().ok()).context("/proc/loadavg is not as proc(5) has it")
}

impl Machine {
    fn this(records: usize, rounds: usize) -> anyhow::Result<Self> {
        let field = |text: &str, name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
            value.map_or_else(|| "unknown".to_owned(), |value| value.trim().to_owned())
        };
        let memory = field(&kernel_file("/proc/meminfo")?, "MemTotal");
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
        Ok(Self {
            day: jiff::Timestamp::now().to_string().chars().take("2026-11-24".len()).collect(),
            cpu: field(&kernel_file("/proc/cpuinfo")?, "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: crate::measure::rounded(kib / f64::from(1 << 20), 1),
            kernel: kernel_file("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            broker: format!("Apache Kafka {}", tieline_sandbox::broker::kafka::version()),
            records,
            rounds,
        })
    }
}

fn kernel_file(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}
