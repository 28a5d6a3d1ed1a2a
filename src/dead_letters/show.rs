//! `tieline dead-letters show`: one dead letter, whole.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};
use tieline_runtime::operate::{Payload, PayloadError, letter_of};
use tieline_runtime::state::{Attempt, DeadLetter};

use super::bodies;
use crate::desk::Desk;
use crate::failure::{Failure, print};
use crate::moment;
use crate::select::{Selection, letters_topic, or_none};
use crate::table::{plain, table};

/// Show one dead letter whole.
#[derive(Debug, Args)]
pub struct Options {
    /// Its place (TOPIC-PARTITION-OFFSET), its event's id, or the id of a delivery that a producer could not map.
    letter: String,
    /// The consumer whose it is; all are looked through without one.
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// Print as a JSON array; the value as base 64 beside the payload.
    #[arg(long)]
    json: bool,
}

/// Shows the dead letters of a place or event.
///
/// # Errors
/// When there is none.
pub async fn run(dir: &Path, options: &Options) -> Result<(), Failure> {
    let desk = Desk::open(dir)?;
    let consumers = match &options.consumer {
        Some(name) => vec![desk.consumer(name)?],
        None => desk.bus.consumers.values().cloned().collect(),
    };
    let mut all = Vec::new();
    for consumer in consumers {
        let found = or_none(Selection::any().of(&desk, &consumer, std::slice::from_ref(&options.letter)).await)?;
        for listed in found.letters {
            let name = consumer.name.clone();
            let whole = desk.ask(move |desk| {
                let letter = letter_of(&mut desk.reader(&name)?, &letters_topic(desk, &name), &listed)?;
                let payload = Payload::new(desk.registry.clone());
                Ok(letter.map(|letter| (payload.show(&letter), letter)))
            });
            if let Some((payload, letter)) = whole.await? {
                all.push(if options.json {
                    as_json(&consumer.name, &letter, payload)
                } else {
                    print(&as_text(&consumer.name, &letter, payload)?);
                    Value::Null
                });
            }
        }
    }
    if options.consumer.is_none() {
        for body in bodies::show(&desk, &options.letter).await? {
            if !options.json {
                print(&bodies::as_text(&body));
            }
            all.push(bodies::as_json(&body));
        }
    }
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
    }
    if all.is_empty() {
        if !options.json {
            print(&format!("no dead letter is `{}`\n", plain(&options.letter)));
        }
        return Err(Failure::Problems);
    }
    Ok(())
}

fn as_json(consumer: &str, letter: &DeadLetter<'_>, payload: Result<Value, PayloadError>) -> Value {
    let (payload, problem) = match payload {
        Ok(payload) => (payload, None),
        Err(error) => (Value::Null, Some(error.to_string())),
    };
    json!({ "consumer": consumer, "letter": letter, "payload": payload, "payload_problem": problem })
}

fn as_text(
    consumer: &str,
    letter: &DeadLetter<'_>,
    payload: Result<Value, PayloadError>,
) -> Result<String, serde_json::Error> {
    let text = |text: Option<&str>| plain(text.unwrap_or("-"));
    let mut out = format!("{}, dead in consumers/{consumer}\n", letter.original.origin);
    let rows = [
        ("event", text(letter.original.event_id.as_deref())),
        ("key", text(letter.original.key_text().as_deref())),
        ("reason", plain(&letter.reason)),
        ("detail", plain(&letter.detail)),
        ("died", moment::show(letter.died_at_ms)),
        ("effect", letter.effect.name().to_owned()),
        ("redriven", letter.redriven.to_string()),
        ("attempts", letter.attempts_total.to_string()),
    ];
    out.extend(rows.iter().map(|(name, value)| format!("  {name:9} {value}\n")));
    if !letter.attempts.is_empty() {
        out += &attempts(&letter.attempts);
    }
    let headers = letter.original.headers.iter().map(|header| {
        let value = header.value.as_deref().map(String::from_utf8_lossy);
        vec![header.name.clone().into_owned(), text(value.as_deref())]
    });
    out += &table(&["HEADER", "VALUE"], &headers.collect::<Vec<_>>());
    out += &match payload {
        Ok(payload) => format!("payload\n{}\n", serde_json::to_string_pretty(&payload)?),
        Err(error) => {
            let value = letter.original.value.as_deref().unwrap_or_default();
            let beginning = STANDARD.encode(value.get(..1_024).unwrap_or(value));
            format!("payload cannot be shown: {error}\n  {} bytes, in base 64: {beginning}\n", value.len())
        }
    };
    Ok(out)
}

/// Attempts as people read them.
pub fn attempts(attempts: &[Attempt<'_>]) -> String {
    let row = |attempt: &Attempt<'_>| {
        let status = attempt.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        vec![moment::show(attempt.at_ms), status, attempt.excerpt.clone().into_owned()]
    };
    table(&["ATTEMPT", "STATUS", "SAID"], &attempts.iter().map(row).collect::<Vec<_>>())
}
