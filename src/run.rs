//! `tieline run`: producers and consumers, in one process or in one each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tieline_bus::{Bus, Consumer, Producer};
use tieline_runtime::consumer::{ConsumerStatus, Stop, Wiring, run as run_consumer};
use tieline_runtime::kafka::Connection;
use tieline_runtime::producer::Publisher;
use tieline_server::admin::{Admin, Condition, Stuck, admin};
use tieline_server::webhook::{Endpoint, webhooks};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::environment::ProcessEnvironment;
use crate::failure::Failure;
use crate::process::{stop_on_signals, stopped};
use crate::{clock, load, log, wiring};

/// Run producers and consumers until SIGTERM, which lets them finish what is in flight; a second one ends at once.
#[derive(Debug, Args)]
pub struct Options {
    /// `producers/NAME`, `consumers/NAME` or `NAME`; all of the bus without one.
    services: Vec<String>,
    /// Where webhooks are received.
    #[arg(long, env = "TIELINE_WEBHOOKS", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    webhooks: SocketAddr,
    /// Where `/livez`, `/readyz`, `/metrics` and `/stuck` are served.
    #[arg(long, env = "TIELINE_ADMIN", default_value = "0.0.0.0:9464", value_name = "ADDRESS:PORT")]
    admin: SocketAddr,
}

/// What a process is to run.
#[derive(Debug, Default)]
pub struct Services {
    /// Its producers.
    pub producers: Vec<Arc<Producer>>,
    /// Its consumers.
    pub consumers: Vec<Arc<Consumer>>,
}

impl Services {
    /// All of a bus.
    pub fn all(bus: &Bus) -> Self {
        Self {
            producers: bus.producers.values().cloned().collect(),
            consumers: bus.consumers.values().cloned().collect(),
        }
    }

    /// Those of these names.
    fn named(bus: &Bus, names: &[String]) -> Result<Self, Failure> {
        if names.is_empty() {
            return Ok(Self::all(bus));
        }
        let mut services = Self::default();
        for name in names {
            let name = name.trim_end_matches('/');
            let producer = bus.producers.get(name.strip_prefix("producers/").unwrap_or(name));
            let consumer = bus.consumers.get(name.strip_prefix("consumers/").unwrap_or(name));
            match (producer, consumer) {
                (Some(producer), None) => services.producers.push(Arc::clone(producer)),
                (None, Some(consumer)) => services.consumers.push(Arc::clone(consumer)),
                (Some(_), Some(_)) => {
                    return Err(Failure::Usage(format!(
                        "`{name}` is a producer and a consumer: write producers/{name} or consumers/{name}"
                    )));
                }
                (None, None) => return Err(Failure::Usage(unknown(bus, name))),
            }
        }
        Ok(services)
    }
}

fn unknown(bus: &Bus, name: &str) -> String {
    let producers = bus.producers.keys().map(|n| format!("producers/{n}"));
    let known: Vec<String> = producers.chain(bus.consumers.keys().map(|n| format!("consumers/{n}"))).collect();
    format!("the bus has no `{name}`; it has {}", known.join(", "))
}

/// Runs services until the process is told to stop.
///
/// # Errors
/// When the bus has problems, or a service cannot start or go on.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    log::start("info");
    let bus = load::bus(dir, &ProcessEnvironment::new())?;
    let services = Services::named(&bus, &options.services)?;
    let connection = Connection { kafka: bus.kafka.clone(), embedded: false };
    let wiring = wiring::wire(bus, connection)?;
    let stop = stop_on_signals()?;
    clock::end_when_set_back();
    let admin = listen(options.admin, "--admin").await?;
    let webhooks =
        if services.producers.is_empty() { None } else { Some(listen(options.webhooks, "--webhooks").await?) };
    serve(&wiring, services, webhooks, Some(admin), stop).await
}

/// Listens on an address.
///
/// # Errors
/// When it cannot be had.
pub async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: give another address with {flag}"))?;
    tracing::info!(address = %listener.local_addr()?, flag, "listens");
    Ok(listener)
}

/// Runs services until `stop` says so. One that cannot go on ends all: the others finish what is in flight first.
///
/// # Errors
/// When a service cannot start or go on.
pub async fn serve(
    wiring: &Arc<Wiring>,
    services: Services,
    webhook_listener: Option<TcpListener>,
    admin_listener: Option<TcpListener>,
    stop: watch::Receiver<Stop>,
) -> Result<(), Failure> {
    let (order, ordered) = watch::channel(*stop.borrow());
    let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let mut statuses = BTreeMap::new();
    for consumer in services.consumers {
        let (status, seen) = watch::channel(ConsumerStatus::default());
        statuses.insert(consumer.name.clone(), seen);
        let (wiring, stop) = (Arc::clone(wiring), ordered.clone());
        running.spawn(async move {
            let name = consumer.name.clone();
            tracing::info!(consumer = name, "starts");
            run_consumer(wiring, consumer, status, stop).await.with_context(|| format!("consumers/{name}"))
        });
    }
    if let Some(listener) = admin_listener {
        let state = admin_state(wiring, statuses);
        let until = stopped(stop.clone(), Stop::Now);
        tokio::spawn(async move { tieline_server::serve(listener, admin(state), until).await });
    }
    if let Some(listener) = webhook_listener {
        running.spawn(receive(Arc::clone(wiring), services.producers, listener, ordered.clone()));
    }
    let result = until_all_have_ended(running, stop, &order).await;
    // What this process holds of the systems' limits is for others at once, not only when it ends by itself.
    wiring.limits.stop().await;
    wiring.events.flush(std::time::Duration::from_secs(5));
    Ok(result?)
}

/// Hands on the order to stop, and gives it when a service cannot go on. What is told is why the first one could not.
async fn until_all_have_ended(
    mut running: JoinSet<anyhow::Result<()>>,
    mut stop: watch::Receiver<Stop>,
    order: &watch::Sender<Stop>,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    loop {
        let ended = tokio::select! {
            ended = running.join_next() => match ended {
                Some(ended) => ended,
                None => return result,
            },
            Ok(()) = stop.changed() => {
                let asked = *stop.borrow();
                order.send_if_modified(|order| raise(order, asked));
                continue;
            }
        };
        if let Err(error) = ended.context("a service has panicked").and_then(|ended| ended) {
            tracing::error!(error = format!("{error:#}"), "a service cannot go on; the others finish and end");
            order.send_if_modified(|order| raise(order, Stop::Drain));
            result = result.and(Err(error));
        }
    }
}

fn raise(order: &mut Stop, to: Stop) -> bool {
    let before = std::mem::replace(order, (*order).max(to));
    before != *order
}

/// Receives what producers publish.
async fn receive(
    wiring: Arc<Wiring>,
    producers: Vec<Arc<Producer>>,
    listener: TcpListener,
    stop: watch::Receiver<Stop>,
) -> anyhow::Result<()> {
    let endpoints = tokio::select! {
        endpoints = endpoints(&wiring, producers) => endpoints?,
        () = stopped(stop.clone(), Stop::Drain) => return Ok(()),
    };
    let router = webhooks(endpoints, &wiring.metrics.registry)?;
    tieline_server::serve(listener, router, stopped(stop, Stop::Drain)).await?;
    Ok(())
}

async fn endpoints(wiring: &Wiring, producers: Vec<Arc<Producer>>) -> anyhow::Result<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    for producer in producers {
        let publisher = Publisher::start(
            &wiring.bus,
            Arc::clone(&producer),
            &wiring.registry,
            wiring.events.clone(),
            wiring.metrics.clone(),
            wiring.happenings.clone(),
        )
        .await
        .with_context(|| format!("producers/{}", producer.name))?;
        tracing::info!(producer = producer.name, "starts");
        endpoints.push(Endpoint { producer, accept: Arc::new(publisher) });
    }
    Ok(endpoints)
}

fn admin_state(wiring: &Wiring, statuses: BTreeMap<String, watch::Receiver<ConsumerStatus>>) -> Admin {
    let statuses = Arc::new(statuses);
    let for_stuck = Arc::clone(&statuses);
    Admin {
        registry: wiring.metrics.registry.clone(),
        conditions: Arc::new(move || statuses.iter().map(|(name, status)| condition(name, &status.borrow())).collect()),
        stuck: Arc::new(move || for_stuck.values().flat_map(|status| stuck(&status.borrow())).collect()),
    }
}

fn condition(name: &str, status: &ConsumerStatus) -> Condition {
    let detail = if status.joined {
        let limit = status.limit.as_ref().map(|limit| format!("; {}", limit.waits)).unwrap_or_default();
        format!("{} partitions, {} calls under way{limit}", status.partitions.len(), status.in_flight)
    } else {
        "waits for the group to give it partitions".to_owned()
    };
    Condition { name: format!("consumers/{name}"), ok: status.joined, detail }
}

/// What keeps a consumer's partitions from going on: records that are out of patience, and pauses with another reason.
pub fn stuck(status: &ConsumerStatus) -> Vec<Stuck> {
    let now_ms = tieline_runtime::now_ms();
    let records = status.stuck.iter().map(|record| Stuck {
        what: format!("consumers/{}, partition {}, offset {}", status.consumer, record.partition, record.offset),
        why: format!("{} ({}), after {} attempts", record.detail, record.reason, record.attempts),
        since_ms: now_ms - i64::try_from(record.failing_for_s.saturating_mul(1_000)).unwrap_or(0),
        remedy: format!("it is tried again in {} s; see to the system, or to the mapping", record.retry_in_s),
    });
    let partitions = status.partitions.iter().filter_map(|at| {
        let why = at.paused.clone().filter(|_| status.stuck.iter().all(|r| r.partition != at.partition))?;
        let what = format!("consumers/{}, partition {}", status.consumer, at.partition);
        let remedy = "nothing of it is fetched until the reason is gone".to_owned();
        Some(Stuck { what, why, since_ms: at.paused_since_ms.unwrap_or(now_ms), remedy })
    });
    let limit = status.limit.iter().filter(|limit| limit.is_stuck).map(|limit| Stuck {
        what: format!("consumers/{}", status.consumer),
        why: limit.waits.clone(),
        since_ms: now_ms - i64::try_from(limit.lasting_s.saturating_mul(1_000)).unwrap_or(0),
        remedy: "it goes on by itself; `limits` in the system's definition says what is allowed".to_owned(),
    });
    records.chain(partitions).chain(limit).collect()
}
