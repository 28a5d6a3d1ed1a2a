//! A real Kafka beside this process, from Maven's jars: one node or three, plain or with TLS, SCRAM and ACLs.
//!
//! It is driven by `kafka.sh`, which is the recipe for people too. The script and its `pom.xml` are part of the binary,
//! so that `tieline dev --kafka` works where only that is installed; they are written into the cluster's own folder.
//! Jars and the class archive are kept in `KAFKA_CACHE` (else `$XDG_CACHE_HOME/tieline/kafka`). Java 17 is needed, and
//! Maven once; where they are missing, [`BrokerError::Missing`] says in a sentence how to get them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::BrokerError;

const SCRIPT: &str = include_str!("../../kafka/kafka.sh");
const POM: &str = include_str!("../../kafka/pom.xml");

/// The version of Kafka that is started.
#[must_use]
pub fn version() -> &'static str {
    let after = POM.split_once("<kafka.version>").map_or("", |(_, after)| after);
    after.split_once('<').map_or("", |(version, _)| version)
}

/// The exit code by which `kafka.sh` says that something is not installed.
const EXIT_MISSING: i32 = 3;

/// Where the clusters of this machine find their ports: below Linux's range for the kernel's choices (32768 and up), so
/// that no other test is given one of them between the look and the start.
const PORTS_FROM: u16 = 12_000;

/// What a cluster takes: broker N listens on the block's first port plus N, its controller on plus 100 plus N; for a proxy
/// in between, see [`Kafka::through_proxy`].
const PORTS_A_CLUSTER: u16 = 200;

/// Where the broker listens for a proxy, and where it says that it does: the block's first port plus this plus N.
const BEHIND_PROXY: u16 = 20;
const AT_PROXY: u16 = 40;

/// How many clusters can run side by side.
const CLUSTERS_MAX: u16 = 100;

/// The most that is told of what the script printed, in bytes.
const OUTPUT_BYTES_MAX: usize = 2_000;

/// The user who may do all on a secure cluster, and the password.
pub const ADMIN: (&str, &str) = ("admin", "admin-secret");

/// The user who may do nothing on a secure cluster until an ACL says so, and the password.
pub const APP: (&str, &str) = ("app", "app-secret");

/// Which cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Brokers, each of them a controller too: 1, or 3 with replication 3 and two in-sync replicas.
    pub nodes: u8,
    /// Whether clients come over TLS with SCRAM-SHA-512, and ACLs hold ([`ADMIN`], [`APP`]).
    pub secure: bool,
}

/// A cluster that runs until this value is dropped, or this process ends.
#[derive(Debug)]
pub struct Kafka {
    dir: TempDir,
    brokers: String,
    ports: Ports,
    options: Options,
}

impl Options {
    /// One plain node: what most tests need.
    #[must_use]
    pub const fn one_node() -> Self {
        Self { nodes: 1, secure: false }
    }
}

impl Kafka {
    /// Starts a cluster in a new temporary folder, and waits until every broker serves.
    ///
    /// # Errors
    /// When Java or Maven is missing, no ports are free, or Kafka does not start.
    pub fn start(options: Options) -> Result<Self, BrokerError> {
        let dir = tempfile::Builder::new().prefix("tieline-kafka-").tempdir().map_err(io("make Kafka's folder"))?;
        fs::write(dir.path().join("kafka.sh"), SCRIPT).map_err(io("write kafka.sh"))?;
        fs::write(dir.path().join("pom.xml"), POM).map_err(io("write Kafka's pom.xml"))?;
        let mut kafka = Self { ports: Ports::find()?, dir, brokers: String::new(), options };
        let mode = if options.secure { "secure" } else { "plain" };
        kafka.script("up", &[&options.nodes.to_string(), mode])?;
        kafka.brokers = fs::read_to_string(kafka.cluster().join("bootstrap"))
            .map_err(io("read Kafka's addresses"))?
            .trim()
            .to_owned();
        Ok(kafka)
    }

    /// Its addresses, for `bootstrap.servers`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What a client of this user has to be told besides the addresses. Nothing on a plain cluster.
    #[must_use]
    pub fn client_settings(&self, (user, password): (&str, &str)) -> Vec<(&'static str, String)> {
        if !self.options.secure {
            return Vec::new();
        }
        vec![
            ("security.protocol", "SASL_SSL".to_owned()),
            ("ssl.ca.location", self.cluster().join("tls/ca.pem").display().to_string()),
            ("sasl.mechanisms", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", user.to_owned()),
            ("sasl.password", password.to_owned()),
        ]
    }

    /// Kills a broker (1 to `nodes`) with SIGKILL, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, id: u8) -> Result<(), BrokerError> {
        self.script("kill", &[&id.to_string()])
    }

    /// Starts a killed broker on its own log and waits until it serves.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&self, id: u8) -> Result<(), BrokerError> {
        self.script("start", &[&id.to_string()])
    }

    /// Stops a broker as a rolling restart does, so that it hands its leaders over, and starts it again.
    ///
    /// # Errors
    /// When it does not stop, or does not start.
    pub fn bounce(&self, id: u8) -> Result<(), BrokerError> {
        self.script("bounce", &[&id.to_string()])
    }

    /// Where a proxy of a plain cluster's broker has to listen, and where it has to lead. A client that begins at its
    /// address stays on it, since the broker names that as its own.
    #[must_use]
    pub fn through_proxy(&self, id: u8) -> (SocketAddr, SocketAddr) {
        let at = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.first + offset + u16::from(id)));
        (at(AT_PROXY), at(BEHIND_PROXY))
    }

    /// The folder with its data, its logs (`cluster/N/log`) and `kafka.sh`; gone when this value is dropped.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn cluster(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    fn script(&self, command: &str, arguments: &[&str]) -> Result<(), BrokerError> {
        let output = Command::new("bash")
            .arg(self.dir.path().join("kafka.sh"))
            .arg(command)
            .arg(self.cluster())
            .args(arguments)
            .env("KAFKA_PORT", self.ports.first.to_string())
            .env("KAFKA_OWNER", std::process::id().to_string())
            .env("KAFKA_USERS", format!("{}:{} {}:{}", ADMIN.0, ADMIN.1, APP.0, APP.1))
            .stdin(Stdio::null())
            .output()
            .map_err(io("run bash, which starts Kafka"))?;
        if output.status.success() {
            return Ok(());
        }
        let printed = String::from_utf8_lossy(&output.stderr);
        let sentence = printed.lines().rev().find_map(|line| line.strip_prefix("kafka.sh: "));
        match (output.status.code(), sentence) {
            (Some(EXIT_MISSING), Some(sentence)) => Err(BrokerError::Missing { sentence: sentence.to_owned() }),
            _ => Err(BrokerError::Script { command: command.to_owned(), output: end_of(&printed) }),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Err(error) = self.script("end", &[]) {
            tracing::warn!(%error, "Kafka may still be running; it ends with this process");
        }
    }
}

/// A block of ports that no other cluster of this machine takes while it is held.
#[derive(Debug)]
struct Ports {
    first: u16,
    _held: File,
}

impl Ports {
    fn find() -> Result<Self, BrokerError> {
        let locks = std::env::temp_dir().join("tieline-kafka-ports");
        fs::create_dir_all(&locks).map_err(io("make the folder of Kafka's port locks"))?;
        // Processes begin at different blocks, so that they seldom meet.
        let begin = u16::try_from(std::process::id() % u32::from(CLUSTERS_MAX)).unwrap_or(0);
        for n in 0..CLUSTERS_MAX {
            let first = PORTS_FROM + (begin + n) % CLUSTERS_MAX * PORTS_A_CLUSTER;
            let lock = File::create(locks.join(first.to_string())).map_err(io("lock ports for Kafka"))?;
            // The lock ends with the process, however that ends.
            if lock.try_lock().is_ok() && all_free(first) {
                return Ok(Self { first, _held: lock });
            }
        }
        Err(io("find free ports for Kafka")(std::io::ErrorKind::AddrInUse.into()))
    }
}

fn all_free(first: u16) -> bool {
    [0, BEHIND_PROXY, AT_PROXY, 100]
        .into_iter()
        .flat_map(|offset| [1, 2, 3].map(|n| offset + n))
        .all(|n| TcpListener::bind(("127.0.0.1", first + n)).is_ok())
}

fn io(doing: &str) -> impl FnOnce(std::io::Error) -> BrokerError + use<> {
    let doing = doing.to_owned();
    move |cause| BrokerError::Io { doing, cause }
}

/// The end of a text, cut at a character.
fn end_of(text: &str) -> String {
    let text = text.trim_end();
    let mut from = text.len().saturating_sub(OUTPUT_BYTES_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}
