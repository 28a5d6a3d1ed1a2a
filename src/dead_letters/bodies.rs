//! What producers could not map: bodies, listed and shown beside the dead letters of consumers.

use serde_json::{Value, json};
use tieline_runtime::kafka::{ReadError, state_topic};
use tieline_runtime::operate::{ListedBody, OperateError, body_of, unmapped};
use tieline_runtime::state::UnmappedBody;

use crate::counted::counted;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::moment;
use crate::select::Selection;
use crate::table::{plain, table};

/// The producers that a list is about: one that is named, or all.
pub fn producers(desk: &Desk, named: Option<&str>) -> Result<Vec<String>, Failure> {
    let Some(name) = named else { return Ok(desk.bus.producers.keys().cloned().collect()) };
    if desk.bus.producers.contains_key(name) {
        return Ok(vec![name.to_owned()]);
    }
    let known: Vec<&str> = desk.bus.producers.keys().map(String::as_str).collect();
    Err(Failure::Usage(format!("the bus has no producer `{}`; it has {}", plain(name), known.join(", "))))
}

/// The bodies of a producer that a selection chooses.
pub async fn of(desk: &Desk, producer: &str, selection: &Selection) -> Result<Vec<ListedBody>, Failure> {
    let (producer, since, until) = (producer.to_owned(), selection.since, selection.until);
    let mut found = desk
        .ask(move |desk| {
            let topic = state_topic(&desk.bus.name, &producer, "dead-letters");
            match unmapped(&mut desk.reader(&producer)?, &topic, since, until) {
                Err(OperateError::Read(ReadError::NoTopic { .. })) => Ok(Vec::new()),
                other => other,
            }
        })
        .await?;
    found.truncate(selection.max.unwrap_or(usize::MAX));
    Ok(found)
}

/// Bodies as people read them.
pub fn shown(producer: &str, bodies: &[ListedBody]) -> String {
    let row = |body: &ListedBody| vec![body.delivery_id.clone(), moment::show(body.received_ms), body.reason.clone()];
    let head = format!("producers/{producer}: {} that could not be mapped\n", counted(bodies.len(), "webhook"));
    if bodies.is_empty() {
        return head;
    }
    head + &table(&["DELIVERY", "RECEIVED", "REASON"], &bodies.iter().map(row).collect::<Vec<_>>())
}

/// The bodies of this delivery, whole.
pub async fn show(desk: &Desk, delivery: &str) -> Result<Vec<UnmappedBody<'static>>, Failure> {
    let mut whole = Vec::new();
    for producer in producers(desk, None)? {
        for body in of(desk, &producer, &Selection::any()).await?.into_iter().filter(|b| b.delivery_id == delivery) {
            let producer = producer.clone();
            let read = desk.ask(move |desk| {
                let topic = state_topic(&desk.bus.name, &producer, "dead-letters");
                body_of(&mut desk.reader(&producer)?, &topic, &body)
            });
            whole.extend(read.await?);
        }
    }
    Ok(whole)
}

/// A body as JSON.
pub fn as_json(body: &UnmappedBody<'_>) -> Value {
    json!({ "producer": body.producer, "body": body })
}

/// A body as people read it.
pub fn as_text(body: &UnmappedBody<'_>) -> String {
    let (id, at, reason) = (plain(&body.delivery_id), moment::show(body.received_ms), plain(&body.reason));
    let headers: Vec<Vec<String>> =
        body.headers.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
    let text = String::from_utf8_lossy(body.body.as_deref().unwrap_or_default());
    format!(
        "delivery {id} of producers/{}, received {at}\n  reason    {reason}\n{}body\n{}\n",
        body.producer,
        table(&["HEADER", "VALUE"], &headers),
        text.lines().map(plain).collect::<Vec<_>>().join("\n")
    )
}
