//! What a process has used up, as the kernel counts it.

use std::fs;

use anyhow::Context as _;
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
}

/// The CPU time of this process so far.
pub fn cpu_us() -> anyhow::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_whitespace().skip(UTIME).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) * TICK_US),
        _ => anyhow::bail!("/proc/self/stat is not as proc(5) has it: {stat}"),
    }
}

/// The most memory that this process had.
pub fn peak_rss_kib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("VmHWM is no number: {line}"))
}
