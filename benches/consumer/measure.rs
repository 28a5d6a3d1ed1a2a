//! What a process has used up, as the kernel counts it, and what comes of several rounds.

use std::fs;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// How long a unit of `/proc/PID/stat` is: `USER_HZ` is 100 on all of Linux's usual machines. A side takes seconds, so
/// that it makes no more than some tenths of a per cent.
const TICK_US: u64 = 10_000;

/// Position of `utime` in `/proc/PID/stat`, counted from what follows the command's name (proc(5)); `stime` is next.
const UTIME: usize = 11;

/// What a side has used, from its first call to its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Used {
    /// CPU time of all its threads, in the kernel too.
    pub cpu_us: u64,
    /// Elapsed time.
    pub elapsed_ms: u64,
    /// The most memory that it had, since its start.
    pub peak_rss_kib: u64,
    /// How long its calls took, in sum; nought where it does not count that.
    pub in_calls_ms: u64,
    /// Records that became dead letters.
    pub dead: u64,
}

impl Used {
    /// The same, if each record had its effect: else something is wrong with the workload.
    pub fn without_dead_letters(self) -> anyhow::Result<Self> {
        ensure!(self.dead == 0, "{} records became dead letters", self.dead);
        Ok(self)
    }
}

/// The CPU time of a process so far.
pub fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    let file = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_whitespace().skip(UTIME).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) * TICK_US),
        _ => anyhow::bail!("{file} is not as proc(5) has it: {stat}"),
    }
}

/// The most memory that a process had.
pub fn peak_rss_kib(pid: u32) -> anyhow::Result<u64> {
    kib(pid, "VmHWM:")
}

/// The memory that a process has.
pub fn rss_kib(pid: u32) -> anyhow::Result<u64> {
    kib(pid, "VmRSS:")
}

fn kib(pid: u32, what: &str) -> anyhow::Result<u64> {
    let file = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let line = line.with_context(|| format!("no {what} in {file}"))?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{what} is no number: {line}"))
}

/// What came of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The lowest.
    pub least: f64,
    /// The middle, or between the two middles.
    pub median: f64,
    /// The highest.
    pub most: f64,
}

impl Spread {
    /// Not numbers where there are no rounds.
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let at = |n: usize| rounds.get(n).copied().unwrap_or(f64::NAN);
        let last = rounds.len().saturating_sub(1);
        Self { least: at(0), median: f64::midpoint(at(last / 2), at(rounds.len() / 2)), most: at(last) }
    }

    /// The same with so many digits after the point.
    pub fn rounded(self, digits: i32) -> Self {
        let Self { least, median, most } = self;
        Self { least: rounded(least, digits), median: rounded(median, digits), most: rounded(most, digits) }
    }
}

/// A number with so many digits after its point.
pub fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}
