//! Serves a router on a socket, within bounds that hold before any of our code sees a request.
//!
//! `axum::serve` is not enough: it takes any number of connections, any head in any time, and waits for ever when it
//! is told to stop. So hyper is driven directly. HTTP/1.1 only: TLS ends at the proxy before us, which speaks it, and
//! HTTP/2 in clear would add its own ways to be flooded (streams, resets, CONTINUATION) for nothing.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Most connections at one time; further ones wait in the listener's queue. Each holds at most
/// [`CONNECTION_BUFFER_BYTES_MAX`] and what its request holds.
const CONNECTIONS_MAX: usize = 1_024;

/// The time for a request's head, and for a connection that waits for its next request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes of a request's head (431 beyond). Proxies before us allow 8 to 32 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Most headers of a request (431 beyond). Senders have 10 to 25, a proxy adds some.
const HEADERS_MAX: usize = 64;

/// Most bytes that a connection's read buffer takes; hyper's default is 408 KiB, which 1,024 times is too much.
const CONNECTION_BUFFER_BYTES_MAX: usize = 32 << 10;

/// The oldest that a connection gets. Ends those that never read their answer, and spreads senders over new replicas.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);

/// The time that requests under way have when we stop: a webhook's body and its acknowledgement. Below the 30 s that
/// orchestrators give by default.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// The pause after an accept that failed for want of something (file descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Failed accepts in a row after which the listener is taken for broken: a minute of them.
const ACCEPT_FAILURES_MAX: u32 = 120;

/// Serves until `shutdown` is done; then takes no more connections, lets requests under way end, and returns, after
/// 20 s at the latest.
///
/// # Errors
/// When the listener accepts nothing any more.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, permit) = tokio::select! {
            accepted = accept(&listener, &room) => accepted?,
            () = &mut shutdown => break,
        };
        connections.spawn(converse(stream, router.clone(), stopped.clone(), permit));
        while connections.try_join_next().is_some() {} // those that ended
    }
    drop(listener);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {} // each has its own deadline
    Ok(())
}

/// The next connection, and the room that it takes.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let mut failures = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, permit)),
            // The connection's fault: it was gone before we came to it.
            Err(error) if is_of_connection(error.kind()) => {}
            Err(error) if failures == ACCEPT_FAILURES_MAX => return Err(error),
            Err(error) => {
                failures += 1;
                warn!(%error, "no connection can be accepted; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_connection(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
}

/// Serves one connection until its end, its greatest age, or the deadline after we were told to stop.
async fn converse(
    stream: TcpStream,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    // Without it, an answer after an answer waits for the peer's delayed acknowledgement, 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY cannot be set");
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));

    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = time_to_end(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            match timeout(DRAIN_DEADLINE, connection).await {
                Ok(ended) => ended,
                Err(_) => return warn!("a connection was cut: its request was still under way at the deadline"),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early"); // a peer that hangs up, or speaks no HTTP
    }
}

/// When we are told to stop, or the connection is old enough.
async fn time_to_end(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the server: that is a stop too.
    let _ = timeout(CONNECTION_AGE_MAX, stopped.wait_for(|stopped| *stopped)).await;
}
