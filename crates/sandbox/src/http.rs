//! The HTTP server under every stand-in: bounded, gone with its value, and able to drop a connection without an answer.
//!
//! The last is why this is not `axum::serve`: a system that applies an effect and then loses the connection is the
//! hazard that a bus has to survive, so that a stand-in has to be able to do it (see [`DropConnection`]).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Most connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;

/// How long a client may take for the headers of a request.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// How long accepting rests after it failed (out of descriptors), so that it does not spin.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A server on loopback. It ends, with all its connections, when this value is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// In the extensions of a response: close the connection instead of sending it.
#[derive(Debug, Clone, Copy)]
pub struct DropConnection;

impl Server {
    /// Serves this router; port 0 leaves the choice to the kernel. To be called in a Tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(address: SocketAddr, router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, accepting: tokio::spawn(accept(listener, router)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort(); // and with it its set of connections
    }
}

impl IntoResponse for DropConnection {
    fn into_response(self) -> axum::response::Response {
        let mut response = axum::response::Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, router.clone())); }
                Err(error) => {
                    tracing::warn!(%error, "a stand-in cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    // Without it small answers wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .serve_connection(TokioIo::new(stream), service_fn(move |request| answer(service.clone(), request)));
    let _ = connection.await; // a client that went away, or one that was dropped on purpose
}

/// An answer that shall not be sent: hyper closes the connection on a service's error.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
struct Dropped;

async fn answer(service: TowerToHyperService<Router>, request: Request<Incoming>) -> Result<Response<Body>, Dropped> {
    let answered: Result<_, Infallible> = service.call(request).await;
    match answered {
        Ok(response) if response.extensions().get::<DropConnection>().is_some() => Err(Dropped),
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}
