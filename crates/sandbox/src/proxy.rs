//! A network with faults: a TCP proxy on loopback that delays, narrows, holds, resets or closes late what goes through it.
//!
//! It does what Toxiproxy does, for tests that are one process: that one is a Go program with an API of its own, and its
//! port to Rust, noxious, has had no release since 2021.
//!
//! ```no_run
//! # async fn example(upstream: std::net::SocketAddr) -> std::io::Result<()> {
//! use std::time::Duration;
//! use tieline_sandbox::proxy::{Network, Proxy};
//!
//! let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), upstream).await?;
//! proxy.set(Network { latency: Duration::from_millis(80), ..Network::default() });
//! proxy.reset_all();
//! # Ok(())
//! # }
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Most connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// Bytes that are carried at once, and chunks of one direction that may be under way. Both sides feel back pressure beyond.
const CHUNK_BYTES: usize = 16 * 1024;
const CHUNKS_MAX: usize = 64;

/// How long accepting rests after it failed (out of descriptors), so that it does not spin.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What the network is like, for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Network {
    /// What each byte takes at least.
    pub latency: Duration,
    /// At most this much on top, by chance. The order of bytes is kept.
    pub jitter: Duration,
    /// How much passes in a second; any amount without it.
    pub bytes_per_second: Option<u32>,
    /// Whether nothing passes: connections stay open, are accepted too, and nobody hears anything. What waits goes on when
    /// this is over.
    pub holds: bool,
    /// How long one side does not hear that the other has closed.
    pub closes_late: Duration,
}

/// A proxy that lives as long as this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    resets: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on an address (port 0 leaves the choice to the kernel) and leads to another. To be called in a Tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(address: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (network, of_connections) = watch::channel(Network::default());
        let (resets, ends) = watch::channel(0);
        Ok(Self {
            address: listener.local_addr()?,
            network,
            resets,
            accepting: tokio::spawn(accept(listener, upstream, of_connections, ends)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the network be like this, for what is under way too.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Resets all connections that are open, both ways.
    pub fn reset_all(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort(); // and with it its set of connections
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    network: watch::Receiver<Network>,
    resets: watch::Receiver<u64>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((client, _)) => {
                    let mut resets = resets.clone();
                    resets.mark_unchanged();
                    connections.spawn(carry(client, upstream, network.clone(), resets));
                }
                Err(error) => {
                    tracing::warn!(%error, "a proxy cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection both ways until both sides have closed, or it is reset.
async fn carry(
    mut client: TcpStream,
    upstream: SocketAddr,
    network: watch::Receiver<Network>,
    mut resets: watch::Receiver<u64>,
) {
    // Who cannot be reached closes at once, as a port where nobody listens does.
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let is_reset = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let there = relay(from_client, to_server, network.clone());
        let back = relay(from_server, to_client, network);
        tokio::select! {
            _ = resets.changed() => true,
            _ = async { tokio::join!(there, back) } => false,
        }
    };
    if is_reset {
        // Closed with unsent data thrown away, which is what makes it a reset.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Carries one direction. Chunks are read on while earlier ones are delayed, so that latency costs no throughput.
async fn relay(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut network: watch::Receiver<Network>) {
    let (chunks, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let of_reader = network.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut due = Instant::now();
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            due = due.max(Instant::now() + delay(*of_reader.borrow()));
            if chunks.send((due, buffer[..length].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if passes(&mut network, chunk.len()).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let closes_late = network.borrow().closes_late;
        tokio::time::sleep(closes_late).await;
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

fn delay(network: Network) -> Duration {
    let jitter = if network.jitter.is_zero() {
        Duration::ZERO
    } else {
        rand::rng().random_range(Duration::ZERO..network.jitter)
    };
    network.latency + jitter
}

/// Waits until so many bytes may pass.
async fn passes(network: &mut watch::Receiver<Network>, bytes: usize) -> Result<(), watch::error::RecvError> {
    let now = *network.wait_for(|network| !network.holds).await?;
    if let Some(rate) = now.bytes_per_second.filter(|rate| *rate > 0) {
        let share = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / f64::from(rate);
        tokio::time::sleep(Duration::from_secs_f64(share)).await;
    }
    Ok(())
}
