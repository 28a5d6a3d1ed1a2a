//! Stand-ins for the systems of a bus, made from their contracts: they demand credentials, validate requests, keep
//! state, remember idempotency keys, and fail on demand.
//!
//! Each listens on a loopback port of its own. What they can be told while they run is [`Fault`], in this process or by
//! `PUT /_sandbox/faults`; what arrived is in the [journal](Systems::journal), or at `GET /_sandbox/journal`.
//!
//! ```no_run
//! # use std::{collections::BTreeMap, sync::Arc};
//! # use tieline_sandbox::systems::{Expected, Fault, Repeats, Spec, Systems};
//! # async fn example(contract: Arc<tieline_schema::contract::Contract>) -> std::io::Result<()> {
//! let billing = Spec {
//!     name: "billing".to_owned(),
//!     contract,
//!     credential: Expected::Basic { username: "tieline".to_owned(), password: "secret".to_owned() },
//!     repeats: Repeats { header: Some("Idempotency-Key".to_owned()), ..Repeats::default() },
//!     version: None,
//!     seed: BTreeMap::new(),
//! };
//! let systems = Systems::start(vec![billing]).await?;
//! systems.fault("billing", Fault { outage: true, ..Fault::default() });
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;
use tieline_schema::contract::Contract;
use tokio::sync::broadcast;

pub use self::credential::{Expected, TOKEN_MARK};
pub use self::fault::Fault;
pub use self::journal::Arrival;
use self::journal::Journal;
pub use self::repeats::{Refusal, Repeats};
use self::stand_in::StandIn;
use crate::http::Server;

mod credential;
mod example;
mod fault;
mod journal;
mod memory;
mod parameter;
mod problem;
mod repeats;
mod response;
mod route;
mod stand_in;

/// Which system to stand in for.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// What it promises. An `x-sandbox-seed` in the document says what it knows from the start, as `seed` does.
    pub contract: Arc<Contract>,
    /// The credential that it demands.
    pub credential: Expected,
    /// How it takes a request that comes a second time.
    pub repeats: Repeats,
    /// A header that it answers with, and its value where the request has none: the API's version.
    pub version: Option<(String, String)>,
    /// What it knows from the start: objects by collection, which is a path (`/v3/users`) or its last part (`users`).
    pub seed: BTreeMap<String, Vec<Value>>,
}

/// Stand-ins that live as long as this value.
#[derive(Debug)]
pub struct Systems {
    running: BTreeMap<String, Running>,
    journal: Arc<Journal>,
}

#[derive(Debug)]
struct Running {
    server: Server,
    stand_in: Arc<StandIn>,
}

impl Systems {
    /// Starts a stand-in for each. To be called in a Tokio runtime.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(specs: Vec<Spec>) -> std::io::Result<Self> {
        let journal = Arc::new(Journal::default());
        let mut running = BTreeMap::new();
        for spec in specs {
            let name = spec.name.clone();
            let stand_in = Arc::new(StandIn::new(spec, journal.clone()));
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let server = Server::start(address, stand_in::router(stand_in.clone())).await?;
            running.insert(name, Running { server, stand_in });
        }
        Ok(Self { running, journal })
    }

    /// The names of the systems.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.running.keys().map(String::as_str)
    }

    /// Where a system is, without a trailing slash; `None` for one that is not stood in for. Its token endpoint, where
    /// it demands OAuth 2, is `/oauth/token` below it.
    #[must_use]
    pub fn base_url(&self, name: &str) -> Option<String> {
        self.running.get(name).map(|running| running.server.url())
    }

    /// Makes a system ail from the next request on; the default fault is none. Says whether there is such a system.
    pub fn fault(&self, name: &str, fault: Fault) -> bool {
        self.running.get(name).is_some_and(|running| running.stand_in.ail(fault))
    }

    /// How often a system was asked for a token.
    #[must_use]
    pub fn token_requests(&self, name: &str) -> u64 {
        self.running.get(name).map_or(0, |running| running.stand_in.token_requests())
    }

    /// What arrived at all systems, in order.
    #[must_use]
    pub fn journal(&self) -> Vec<Arrival> {
        self.journal.all()
    }

    /// What arrives from now on. A reader who is more than some thousands behind loses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arrival> {
        self.journal.subscribe()
    }
}
