//! Finds the effect of a call whose answer was lost: asks the system for it, by a reference of ours.
//!
//! What comes back is judged as the look-up's own answer. That it is refused, or that the system is not well, says nothing
//! of the call; only "here it is" and "there is none" do.

use serde_json::Value;
use tieline_bus::EffectLookUp;
use tieline_delivery::{Answer, AttemptLog, Reason};
use tieline_mapping::{Frame, RunError};
use tieline_schema::contract::Parameter;
use tieline_schema::types::Kind;

use super::client::{Request, SystemClient};
use super::look_up;
use crate::consumer::BOUNDS;
use crate::limits::Ticket;

/// What came of looking for an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It exists, and this is it.
    There(Value),
    /// There is none. It may come yet: see [`EffectLookUp::visible_after`].
    NotThere,
    /// The question was not answered. Never *unknown*: a question has no effect.
    NotKnown(Answer),
}

impl SystemClient {
    /// Looks for the effect of this call.
    pub async fn find(&self, look_up: &EffectLookUp, call: &Request, ticket: Option<Ticket>) -> (Found, AttemptLog) {
        let body = call.body.as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or(Value::Null);
        let given = given(call);
        let question = match question(look_up, &body, &given) {
            Ok(question) => question,
            Err(error) => {
                let log = AttemptLog { at_ms: crate::now_ms(), status: None, excerpt: "nothing was sent".to_owned() };
                return (self.unmappable(look_up, &error), log);
            }
        };
        let reply = self.call_with(&question.on_behalf_of(call.on_behalf.as_ref()), ticket).await;
        let (status, log) = (reply.log.status, reply.log.clone());
        let found = match look_up::answer_to_a_question(reply) {
            Ok((answer, _)) => {
                pick(look_up, &body, &given, &answer).unwrap_or_else(|error| self.unmappable(look_up, &error))
            }
            // Where a list is asked for, there is always one: a 404 is of the address, not of what we look for.
            Err(_) if !look_up.in_list && matches!(status, Some(404 | 410)) => Found::NotThere,
            Err(answer) => Found::NotKnown(answer),
        };
        (found, log)
    }

    fn unmappable(&self, look_up: &EffectLookUp, error: &RunError) -> Found {
        let detail = format!("{} of {} cannot be asked: {error}", look_up.operation.id, self.system().name);
        Found::NotKnown(Answer::Refused(Reason { code: "look-up".to_owned(), detail }))
    }
}

/// The call's parameters, as expressions see them: `$NAME`, null where it is left out.
fn given(call: &Request) -> Vec<(&str, Value)> {
    let value = |parameter: &Parameter| {
        let given = call.parameters.iter().find(|(name, _)| *name == parameter.name);
        let Some((_, text)) = given else { return Value::Null };
        match parameter.ty.kind {
            Kind::Integer { .. } | Kind::Decimal { .. } | Kind::Float { .. } | Kind::Boolean => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()))
            }
            Kind::Text(_)
            | Kind::Bytes
            | Kind::Date
            | Kind::Timestamp
            | Kind::List { .. }
            | Kind::Map(_)
            | Kind::Record(_)
            | Kind::Null
            | Kind::Any => Value::from(text.as_str()),
        }
    };
    call.operation.parameters.iter().map(|parameter| (parameter.name.as_str(), value(parameter))).collect()
}

fn names<'a>(given: &'a [(&'a str, Value)]) -> Vec<(&'a str, &'a Value)> {
    given.iter().map(|(name, value)| (*name, value)).collect()
}

fn question(look_up: &EffectLookUp, body: &Value, given: &[(&str, Value)]) -> Result<Request, RunError> {
    let (frame, names): (Frame<'_>, _) = (look_up.layout.read_json(body, &BOUNDS)?, names(given));
    let mut parameters = Vec::with_capacity(look_up.with.len());
    for (name, expression) in &look_up.with {
        if let Some(value) = expression.text(&frame, &names)? {
            parameters.push((name.clone(), value));
        }
    }
    Ok(Request::question(&look_up.operation, parameters))
}

/// The effect in an answer: what stands at its place, or the first in the list there that is this call's.
fn pick(look_up: &EffectLookUp, body: &Value, given: &[(&str, Value)], answer: &Value) -> Result<Found, RunError> {
    let place = answer.pointer(&look_up.found_at).filter(|place| !place.is_null());
    let candidates = match place {
        Some(Value::Array(items)) if look_up.in_list => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let frame = look_up.layout.read_json(body, &BOUNDS)?;
    for found in candidates {
        let mut names = names(given);
        names.push(("found", found));
        let is_it = match &look_up.found_when {
            Some(when) => when.holds(&frame, &names)?,
            None => true,
        };
        if is_it {
            return Ok(Found::There(found.clone()));
        }
    }
    Ok(Found::NotThere)
}
