//! The real binary, in a process of its own. Whatever it writes is looked through for secrets: no test has to ask for it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::canary::none_in;
use crate::{eventually, secs};

/// What a service shows on its admin port.
const PAGES: [&str; 4] = ["/livez", "/readyz", "/metrics", "/stuck"];

/// How long a page may take: a process that is busy or stopped shows none, and is not waited for.
const PAGE_WITHIN: Duration = secs(2);

/// A running `tieline`. When it is dropped it is killed, and what it has shown and logged is looked through for secrets.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// The log, open: it is read even where its folder is gone.
    logged: File,
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
        let logged = File::open(&log).expect("a log file");
        Self { child, log, logged }
    }

    /// As a crash would end it.
    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
    }

    /// Asks it to finish, and waits for its end.
    pub async fn terminate(self, within: Duration) -> ExitStatus {
        self.pages();
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
        let what = format!("it listens for {flag}; it says: {}", self.log());
        eventually(&what, secs(30), || self.address_now(flag).is_some()).await;
        self.address_now(flag).expect("an address")
    }

    fn address_now(&self, flag: &str) -> Option<String> {
        self.log().lines().rev().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["flag"] == flag).then(|| line["address"].as_str().map(str::to_owned))?
        })
    }

    /// What its admin port shows, page by page, without a secret; nothing where it does not answer.
    pub fn pages(&self) -> Vec<(&'static str, String)> {
        let pages = self.shown();
        self.look_through(&pages);
        pages
    }

    fn shown(&self) -> Vec<(&'static str, String)> {
        let Some(admin) = self.address_now("--admin").and_then(|address| address.parse().ok()) else {
            return Vec::new();
        };
        PAGES.into_iter().map_while(|path| Some((path, page(admin, path).ok()?))).collect()
    }

    fn look_through(&self, pages: &[(&str, String)]) {
        for (path, text) in pages {
            none_in(&format!("{path} of {}", self.log.display()), text.as_bytes());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let runs = matches!(self.child.try_wait(), Ok(None));
        let pages = if runs && !std::thread::panicking() { self.shown() } else { Vec::new() };
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.look_through(&pages);
        let mut written = Vec::new();
        self.logged.read_to_end(&mut written).expect("the log");
        none_in(&self.log.display().to_string(), &written);
    }
}

/// What is served there now.
fn page(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PAGE_WITHIN)?;
    stream.set_read_timeout(Some(PAGE_WITHIN))?;
    // In 1.0 the end of the answer is the end of the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Runs `tieline` to its end: its exit code, and what it wrote to standard output and error, in which no secret shows.
pub fn tieline(dir: &Path, args: &[&str], environment: &[(String, String)]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tieline"))
        .args(args)
        .arg("--bus")
        .arg(dir)
        .envs(environment.iter().cloned())
        .output()
        .expect("tieline runs");
    none_in(&format!("standard output of tieline {args:?}"), &output.stdout);
    none_in(&format!("standard error of tieline {args:?}"), &output.stderr);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}
