//! The real binary, in a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{eventually, secs};

/// A running `tieline`. Killed when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `tieline` with these arguments. What it logs goes to a file beside the bus, for whoever looks into a failure.
    pub fn start(dir: &Path, name: &str, args: &[&str], environment: &[(String, String)]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_tieline"))
            .args(args)
            .arg("--bus")
            .arg(dir)
            .envs(environment.iter().cloned())
            .env("TIELINE_INSTANCE", name)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log file"))
            .stderr(file)
            .spawn()
            .expect("tieline starts");
        Self { child, log }
    }

    /// As a crash would end it.
    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }

    /// Asks it to finish, and waits for its end.
    pub async fn terminate(self, within: Duration) -> ExitStatus {
        self.signal("-TERM");
        self.ended(within).await
    }

    /// Waits for its end.
    pub async fn ended(mut self, within: Duration) -> ExitStatus {
        let mut ended = None;
        eventually("the process ends", within, || {
            ended = self.child.try_wait().expect("its state");
            ended.is_some()
        })
        .await;
        ended.expect("its end")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    /// The most memory that it has had so far, in bytes; nothing after its end.
    pub fn memory_peak(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1_024)
    }

    /// The memory that it holds now (proc(5), `VmRSS`).
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The address that it listens on for what this flag says.
    pub async fn address(&self, flag: &str) -> String {
        let found = || {
            self.log().lines().rev().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                (line["flag"] == flag).then(|| line["address"].as_str().map(str::to_owned))?
            })
        };
        eventually(&format!("it listens for {flag}; it says: {}", self.log()), secs(30), || found().is_some()).await;
        found().expect("an address")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `tieline` to its end: its exit code, and what it wrote to standard output and error.
pub fn tieline(dir: &Path, args: &[&str], environment: &[(String, String)]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tieline"))
        .args(args)
        .arg("--bus")
        .arg(dir)
        .envs(environment.iter().cloned())
        .output()
        .expect("tieline runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}
