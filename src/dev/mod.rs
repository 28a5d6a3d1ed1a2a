//! `tieline dev`: the whole bus on one machine. A broker, a registry, stand-ins for the systems, and all producers and
//! consumers in one process; what happens is told as it happens.

mod addresses;
mod demo;
mod environment;
mod place;
mod senders;
mod stand_ins;
mod timeline;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tieline_bus::Bus;
use tieline_runtime::apply::{Accepted, apply};
use tieline_runtime::consumer::{Stop, Wiring};
use tieline_runtime::kafka::Connection;
use tieline_sandbox::systems::Systems;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use self::addresses::{Addresses, BrokerKind};
pub use self::environment::DevEnvironment;
use self::place::Place;
use self::timeline::Timeline;
use crate::failure::{Failure, print};
use crate::process::{stop_on_signals, stopped};
use crate::run::{Services, serve};
use crate::{load, log, wiring};

/// Run the whole bus on this machine, with stand-ins for its systems.
#[derive(Debug, Args)]
pub struct Options {
    /// Start a real Kafka (Java 17 and Maven) instead of the embedded broker.
    #[arg(long, conflicts_with = "brokers")]
    kafka: bool,
    /// Use a Kafka that runs already.
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Close a deal while billing is down, and judge what came of it. For the flagship bus.
    #[arg(long)]
    demo: bool,
    /// End after the demo's verdict, with exit code 0 only if it holds.
    #[arg(long, requires = "demo")]
    once: bool,
    /// Where `/livez`, `/readyz`, `/metrics` and `/stuck` are served; a free port of this machine without it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
}

/// What runs, and where: enough to try it by hand.
struct Running {
    wiring: Arc<Wiring>,
    systems: Arc<Systems>,
    addresses: Addresses,
    /// A body to try a producer with.
    bodies: BTreeMap<String, PathBuf>,
    /// Tells what happens.
    timeline: Timeline,
}

/// Runs the bus until it is told to stop.
///
/// # Errors
/// When the bus has problems, something cannot be started, or the demo's verdict does not hold.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    log::start("tieline=warn,tieline_runtime=error,tieline_server=error,tieline_sandbox=warn");
    let stop = stop_on_signals()?;
    // Read twice: the first time for the contracts that the stand-ins are made from, the second with their addresses.
    let secrets = DevEnvironment::default();
    let sketch = load::bus(dir, &secrets)?;
    if options.demo {
        demo::check(&sketch)?;
    }
    let systems = Arc::new(stand_ins::start(&sketch).await.context("cannot start the stand-ins of the systems")?);
    let mut bus = load::bus(dir, &DevEnvironment::pointing_to(&systems, &sketch))?;

    print(&format!("tieline dev: bus `{}`\n", bus.name));
    let place = Place::start(&bus, options).await?;
    place.settle(&mut bus);
    let connection = Connection { kafka: bus.kafka.clone(), embedded: place.kind() == BrokerKind::Embedded };
    let wiring = wiring::wire(bus, connection)?;
    apply(&wiring.bus, &wiring.connection, &wiring.registry, &Accepted::default()).await?;
    run_services(dir, options, place, wiring, systems, stop).await
}

async fn run_services(
    dir: &Path,
    options: &Options,
    place: Place,
    wiring: Arc<Wiring>,
    systems: Arc<Systems>,
    stop: watch::Receiver<Stop>,
) -> Result<(), Failure> {
    let webhooks = local_port().await?;
    let senders = local_port().await?;
    let admin = match options.admin {
        Some(address) => crate::run::listen(address, "--admin").await?,
        None => local_port().await?,
    };
    let addresses = Addresses {
        broker: place.kind(),
        brokers: wiring.bus.kafka.brokers.clone(),
        registry: wiring.bus.registry.url.clone(),
        webhooks: url(&webhooks)?,
        admin: url(&admin)?,
        senders: url(&senders)?,
        systems: systems.names().filter_map(|n| Some((n.to_owned(), systems.base_url(n)?))).collect(),
    };
    let _told = addresses.write(dir)?;
    let bodies = place::write_bodies(dir, &wiring.bus)?;
    print(&place.banner(&wiring.bus));
    print(&timeline::addresses(&addresses));
    let timeline = Timeline::follow(&wiring);
    let running = Running { wiring: Arc::clone(&wiring), systems, addresses, bodies, timeline };

    let (ours, our_stop) = watch::channel(Stop::Run);
    let router = senders::router(&running.wiring.bus, &running.addresses.webhooks);
    let sending = tokio::spawn(tieline_server::serve(senders, router, stopped(our_stop.clone(), Stop::Drain)));
    let services = serve(&wiring, Services::all(&wiring.bus), Some(webhooks), Some(admin), our_stop);
    tokio::pin!(services);

    let result = tokio::select! {
        // Before the demo is over, or the process is told to stop, services end only when they cannot go on.
        ended = &mut services => return ended.and(Err(Failure::Problems)),
        result = play(options, &running, stop) => result,
    };
    ours.send_replace(Stop::Drain);
    let ended = services.await;
    sending.abort();
    drop(place);
    result.and(ended)
}

/// Plays the demo where it is asked for, then waits until the process is told to stop.
async fn play(options: &Options, running: &Running, stop: watch::Receiver<Stop>) -> Result<(), Failure> {
    let result = if options.demo {
        tokio::select! {
            result = demo::play(running) => result,
            () = stopped(stop.clone(), Stop::Drain) => return Ok(()),
        }
    } else {
        Ok(())
    };
    if options.once {
        return result;
    }
    print(&timeline::invitation(running));
    stopped(stop, Stop::Drain).await;
    result
}

async fn local_port() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on 127.0.0.1")
}

fn url(listener: &TcpListener) -> anyhow::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// The names that the timeline lines up by.
fn widest_name(bus: &Bus) -> usize {
    bus.producers.keys().chain(bus.consumers.keys()).map(String::len).max().unwrap_or(0)
}
