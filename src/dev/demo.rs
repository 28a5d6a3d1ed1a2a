//! The scenario that everything is judged by: a deal closes while billing is down. The ERP has a project and the customer
//! an e-mail within seconds, another deal's do not wait, and when billing is back it has each contract, once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tieline_bus::{Bus, Consumer};
use tieline_delivery::oracle::{Arrival, Evidence, Produced, Verdict};
use tieline_runtime::happening::{Happening, What};
use tieline_runtime::system::idempotency::Cause;
use tieline_sandbox::systems::Fault;
use tokio::sync::broadcast;

use super::{Running, senders};
use crate::counted::counted;
use crate::failure::Failure;

/// Which producer a deal comes by, and which consumers make something of it.
const PRODUCER: &str = "crm-webhooks";
const CONSUMERS: [&str; 3] = ["erp-project", "billing-contract", "welcome-email"];

/// What is down in between.
const DOWN: &str = "billing";

/// The deals that close.
const DEALS: [(&str, &str); 2] = [("D-1042", "Warehouse rollout"), ("D-1043", "Night shift licences")];

/// How often billing is tried in vain before it is healed.
const VAIN_ATTEMPTS: usize = 6;

/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The demo is the flagship's own.
///
/// # Errors
/// When the bus lacks what it needs.
pub fn check(bus: &Bus) -> Result<(), Failure> {
    let has_all = CONSUMERS.iter().all(|name| bus.consumers.contains_key(*name));
    if has_all && bus.producers.contains_key(PRODUCER) && bus.systems.contains_key(DOWN) {
        Ok(())
    } else {
        Err(Failure::Usage(format!(
            "--demo plays the flagship's scenario, and bus `{}` lacks producers/{PRODUCER} or one of its consumers: run \
             `tieline dev` without it",
            bus.name
        )))
    }
}

/// What the demo has seen.
struct Seen {
    happenings: broadcast::Receiver<Happening>,
    /// Published deals: event id, partition, offset, key.
    published: Vec<(String, i32, i64, String)>,
    /// Attempts that came to nothing.
    vain: usize,
    /// Events that follow from a call that is done.
    followed: usize,
}

/// Plays it.
///
/// # Errors
/// When the verdict does not hold, or a step takes too long.
pub async fn play(running: &Running) -> Result<(), Failure> {
    let mut seen = Seen { happenings: running.wiring.happenings.listen(), published: Vec::new(), vain: 0, followed: 0 };
    say(running, "billing goes down, and a deal closes in the CRM").await;
    running.systems.fault(DOWN, Fault { outage: true, ..Fault::default() });
    close_deal(running, DEALS[0]).await?;
    seen.until("billing is tried in vain", |s| s.vain >= VAIN_ATTEMPTS).await?;
    say(running, "meanwhile another deal closes: its project and its e-mail wait for nobody").await;
    close_deal(running, DEALS[1]).await?;
    wait(running, "ERP and e-mail", |effects| effects.get("erp") == Some(&2) && effects.get("email") == Some(&2))
        .await?;
    seen.until("both projects are told on", |s| s.followed >= DEALS.len()).await?;
    say(running, "billing is back").await;
    running.systems.fault(DOWN, Fault::default());
    wait(running, "billing", |effects| effects.get(DOWN) == Some(&2)).await?;
    // A project and a contract are told on for each deal; only then is their cause done.
    seen.until("the follow-up events are published", |s| s.followed >= 2 * DEALS.len()).await?;
    verdict(running, &seen).await
}

async fn say(running: &Running, text: &str) {
    running.timeline.say(format!("\n── {text}\n")).await;
}

async fn close_deal(running: &Running, (id, name): (&str, &str)) -> Result<(), Failure> {
    let producer = running.wiring.bus.producers.get(PRODUCER).context("the bus has no CRM producer")?;
    let body = serde_json::to_vec(&deal(id, name))?;
    let delivery_id = format!("msg_{id}");
    let client = reqwest::Client::new();
    let (status, answer) = senders::deliver(&client, &running.addresses.webhooks, producer, &delivery_id, body).await?;
    if status == 202 {
        Ok(())
    } else {
        Err(Failure::Outside(anyhow::anyhow!("the CRM's webhook was answered with {status}: {answer}")))
    }
}

/// What the CRM sends when a deal is won.
pub fn deal(id: &str, name: &str) -> Value {
    let now = jiff::Timestamp::now().to_string();
    json!({
        "type": "deal.stage_changed",
        "timestamp": now,
        "data": {
            "deal": {
                "id": id, "name": name, "stage": "closedwon", "previous_stage": "contractsent",
                "amount": 125_000.50, "currency": "EUR", "closed_at": now, "signed_at": now,
                "expected_close_date": "2026-12-31", "description": "Site visit agreed for the first week.",
                "owner": "user-7"
            },
            "account": {
                "id": "A-77", "name": "Nordwind Logistik AG", "language": "de", "country": "DE",
                "contact_name": "Lena Brandt", "contact_email": "lena.brandt@example.com"
            },
            "line_items": [
                { "sku": "WMS-CORE", "description": "Licence", "quantity": 1, "price": 80_000,
                  "recurrence": "one_off" },
                { "sku": "WMS-CARE", "description": null, "quantity": 3, "price": 15_000.17,
                  "recurrence": "per_year" }
            ]
        }
    })
}

impl Seen {
    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let waiting = async {
            while !holds(self) {
                let happening = self.happenings.recv().await?;
                self.note(happening);
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("waited in vain until {what}"))?
    }

    fn note(&mut self, happening: Happening) {
        match happening.what {
            What::Published { partition, offset, .. } if happening.service == PRODUCER => {
                self.published.push((happening.event_id, partition, offset, happening.key));
            }
            What::Called { answer, .. } if answer != "applied" => self.vain += 1,
            What::Followed { .. } => self.followed += 1,
            _ => {}
        }
    }
}

/// Waits until the systems have these effects of changes, by system.
async fn wait(running: &Running, what: &str, holds: impl Fn(&BTreeMap<String, usize>) -> bool) -> anyhow::Result<()> {
    let mut arrivals = running.systems.subscribe();
    let waiting = async {
        while !holds(&effects(running)) {
            arrivals.recv().await?;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .with_context(|| format!("waited in vain for the effects in {what}"))?
}

fn effects(running: &Running) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for arrival in running.systems.journal().into_iter().filter(|a| a.applied && a.method != "GET") {
        *effects.entry(arrival.system).or_default() += 1;
    }
    effects
}

/// Judges each consumer, and tells it.
async fn verdict(running: &Running, seen: &Seen) -> Result<(), Failure> {
    say(running, "the oracle's verdict").await;
    let mut all_hold = true;
    let mut told = String::new();
    for name in CONSUMERS {
        let consumer = running.wiring.bus.consumers.get(name).context("a consumer has gone")?;
        let verdict = judge(running, consumer, seen);
        let holds = verdict.holds() && verdict.effects == DEALS.len();
        all_hold &= holds;
        told.push_str(&line(name, &verdict, holds, arrivals(running, consumer, seen).len()));
    }
    told.push_str(&welcome(running));
    running.timeline.say(told).await;
    if all_hold { Ok(()) } else { Err(Failure::Problems) }
}

fn line(consumer: &str, verdict: &Verdict, holds: bool, calls: usize) -> String {
    let (deals, effects) = (counted(verdict.acknowledged, "deal"), counted(verdict.effects, "effect"));
    let calls = counted(calls, "call");
    let (lost, invented) = (verdict.lost, verdict.invented);
    let (reordered, repeated) = (verdict.reordered, verdict.repeated_effects);
    let sign = if holds { '✓' } else { '✗' };
    let line = format!(
        "  {sign} {consumer:16}  {deals}, {effects}, {calls}: {lost} lost, {invented} invented, \
         {reordered} reordered, {repeated} repeated\n"
    );
    if holds { line } else { format!("{line}{verdict}\n") }
}

fn judge(running: &Running, consumer: &Consumer, seen: &Seen) -> Verdict {
    let produced = seen.published.iter().enumerate().map(|(n, (event_id, partition, offset, key))| Produced {
        partition: *partition,
        offset: *offset,
        key: Some(key.clone()),
        sequence: n as u64,
        event_id: event_id.clone(),
        acknowledged: true,
    });
    Evidence {
        produced: produced.collect(),
        arrivals: arrivals(running, consumer, seen),
        system_remembers_keys: true,
        duplicates_max: Some(0),
        ..Evidence::default()
    }
    .judge()
}

/// The calls of one consumer. The event of each is told by its idempotency key, which is made from the event's id.
fn arrivals(running: &Running, consumer: &Consumer, seen: &Seen) -> Vec<Arrival> {
    let bus = &running.wiring.bus;
    let source = bus.producers.get(PRODUCER).map_or("", |p| p.event_source.as_str());
    let events: BTreeMap<String, &String> = seen
        .published
        .iter()
        .map(|(id, ..)| {
            let cause = Cause { bus: &bus.name, consumer: &consumer.name, call: "call", source, id, round: 0 };
            (cause.key().to_string(), id)
        })
        .collect();
    let mut attempts: BTreeMap<String, u32> = BTreeMap::new();
    let ours = running.systems.journal().into_iter().filter(|a| {
        a.system == consumer.call.system.name && a.operation.as_deref() == Some(&consumer.call.operation.id)
    });
    ours.map(|arrival| {
        let key = arrival.idempotency_key.unwrap_or_default();
        let attempt = attempts.entry(key.clone()).or_default();
        *attempt += 1;
        Arrival {
            at_ms: u64::try_from(arrival.at_ms).unwrap_or(0),
            event_id: events.get(&key).map_or_else(|| format!("of no event: {key}"), |id| (*id).clone()),
            idempotency_key: key,
            body_hash: u64::from_str_radix(arrival.body_sha256.get(..16).unwrap_or("0"), 16).unwrap_or(0),
            attempt: *attempt,
            status: (!arrival.dropped).then_some(arrival.status),
            applied: arrival.applied,
        }
    })
    .collect()
}

/// The e-mail that the customer has.
fn welcome(running: &Running) -> String {
    let sent = running.systems.journal().into_iter().find(|a| a.system == "email" && a.applied);
    let text = sent.and_then(|a| a.body.get("text").and_then(Value::as_str).map(str::to_owned)).unwrap_or_default();
    let quoted: String = text.trim_end().lines().map(|line| format!("  │ {line}\n")).collect();
    format!("\n  The customer reads:\n{quoted}")
}
