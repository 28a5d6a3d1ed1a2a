//! From several requests to one call: send the items together, and answer each record by what the system says of its item.
//!
//! | what came back | what it means for each |
//! | --- | --- |
//! | an answer that speaks of the item | what it says |
//! | an answer that does not | unknown |
//! | the whole is refused, or meets a conflict, and has several items | each goes again alone, since nobody knows for which one it was |
//! | anything else | what it means for a call |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::Value;
use tieline_bus::Batch;
use tieline_delivery::{Answer, AttemptLog, RecordId};
use tieline_schema::cloudevents::Attributes;
use uuid::Uuid;

use super::batch::{Waiting, class_of};
use super::prepare::{PreparedCall, reason};
use super::send::Sender;
use crate::fail_point::{FailPoint, pass};
use crate::limits::Ticket;
use crate::system::idempotency::key_of_batch;
use crate::system::{Attempted, Came, Reply, Request};
use crate::trace;

/// What came of a record that was sent with others.
#[derive(Debug)]
pub(super) struct Answered {
    pub id: RecordId,
    pub attempt: u32,
    pub answer: Answer,
    pub log: AttemptLog,
}

/// A record that goes out.
struct Item {
    waiting: Waiting,
    attributes: Attributes,
    prepared: Arc<PreparedCall>,
    key: Uuid,
    /// By which the answer names it.
    id: Option<String>,
}

impl Sender {
    /// Makes one attempt of all of these, and publishes what follows from each that is done.
    pub async fn send_batch(&self, batch: &Batch, records: Vec<Waiting>, ticket: Option<Ticket>) -> Vec<Answered> {
        let (items, mut answered) = self.items(batch, records);
        if items.is_empty() {
            return answered;
        }
        let (started, begun_ms) = (Instant::now(), crate::now_ms());
        let reply = self.system.call_with(&self.batch_request(batch, &items), ticket).await;
        if reply.log.status.is_some_and(|status| (200..300).contains(&status)) {
            pass(FailPoint::Answered);
        }
        let (took, times) = (started.elapsed(), (begun_ms, crate::now_ms()));
        self.metrics.call_seconds.observe(took.as_secs_f64());

        let status = reply.log.status;
        let attempts = self.attempts(batch, &items, reply);
        let ends = items.into_iter().zip(attempts).map(async |(item, attempted)| {
            let delivered = &item.waiting.delivered;
            self.system.note(&delivered.effect, &attempted.answer, status, times);
            if status.is_some() && attempted.answer != Answer::Applied {
                delivered.batched.count_answer();
            }
            let call = &self.preparer.consumer.call;
            self.tell_called((delivered, &item.attributes, call), item.waiting.attempt, &attempted, took);
            let answer = match attempted.answer {
                Answer::Applied if self.follows(delivered) => {
                    self.follow_up(delivered, &item.attributes, &item.prepared, attempted.came).await
                }
                other => other,
            };
            self.observe(&item.attributes, &answer);
            Answered { id: item.waiting.id, attempt: item.waiting.attempt, answer, log: attempted.log }
        });
        answered.extend(join_all(ends).await);
        answered
    }

    /// What goes out, and the answers of what does not.
    fn items(&self, batch: &Batch, records: Vec<Waiting>) -> (Vec<Item>, Vec<Answered>) {
        let (mut items, mut kept_back) = (Vec::with_capacity(records.len()), Vec::new());
        let mut ids = BTreeSet::new();
        for waiting in records {
            match self.item(batch, &waiting, &mut ids) {
                Ok((attributes, prepared, key, id)) => items.push(Item { waiting, attributes, prepared, key, id }),
                Err((answer, log)) => {
                    kept_back.push(Answered { id: waiting.id, attempt: waiting.attempt, answer, log });
                }
            }
        }
        (items, kept_back)
    }

    #[allow(clippy::type_complexity, reason = "the parts of an item, said once")]
    fn item(
        &self,
        batch: &Batch,
        waiting: &Waiting,
        ids: &mut BTreeSet<String>,
    ) -> Result<(Attributes, Arc<PreparedCall>, Uuid, Option<String>), (Answer, AttemptLog)> {
        let delivered = &waiting.delivered;
        let nothing_sent = |answer| {
            (answer, AttemptLog { at_ms: crate::now_ms(), status: None, excerpt: "nothing was sent".to_owned() })
        };
        let (Some(attributes), Some(prepared)) = (delivered.attributes(), delivered.request()) else {
            let lost = reason("internal", "the prepared request is gone; it is made again".to_owned());
            return Err(nothing_sent(Answer::NotApplied(lost)));
        };
        let operation = &self.preparer.consumer.call.operation;
        if let Some(ended) = self.system.keeps_back(operation, &delivered.effect, waiting.maybe_applied) {
            return Err((ended.answer, ended.log));
        }
        let id = batch.id_of(prepared.body.as_deref().unwrap_or_default());
        if let (Some(pointer), None) = (&batch.id, &id) {
            let detail = format!("its item has no `{pointer}`, by which the answer would name it");
            return Err(nothing_sent(Answer::Refused(reason("item-id", detail))));
        }
        if let Some(id) = &id
            && !ids.insert(id.clone())
        {
            delivered.batched.leave_alone();
            let detail = "another item of the batch has the same id; it goes alone".to_owned();
            return Err(nothing_sent(Answer::NotApplied(reason("item-id", detail))));
        }
        let key = self.cause("call", attributes, delivered.effect.round()).key();
        Ok((attributes.clone(), prepared, key, id))
    }

    fn batch_request(&self, batch: &Batch, items: &[Item]) -> Request {
        let bodies = items.iter().map(|item| item.prepared.body.as_deref().unwrap_or(b"null"));
        let keys = items.iter().map(|item| (item.key, item.waiting.delivered.batched.answered()));
        // The trace of the first stands for all: a request has one parent.
        let parent = items.first().and_then(|item| item.attributes.traceparent.as_deref());
        Request {
            operation: Arc::clone(&self.preparer.consumer.call.operation),
            parameters: batch.with.clone(),
            body: Some(batch.body(bodies).into()),
            idempotency_key: Some(key_of_batch(keys)),
            traceparent: Some(trace::child_of(parent)),
            headers: super::send::replay_header(items.iter().find_map(|item| item.waiting.delivered.replay.as_deref())),
            on_behalf: self.on_behalf(class_of(items.iter().map(|item| &item.waiting))),
            reads_response: true,
        }
    }

    /// What the answer means for each item.
    fn attempts(&self, batch: &Batch, items: &[Item], reply: Reply) -> Vec<Attempted> {
        let Reply { answer, log, body, .. } = reply;
        let for_all = |answer: Answer| {
            let each = || Attempted { answer: answer.clone(), log: log.clone(), came: Came::Answered(None) };
            items.iter().map(|_| each()).collect()
        };
        match answer {
            Answer::Applied => {}
            Answer::Refused(why) if items.len() > 1 => {
                items.iter().for_each(|item| item.waiting.delivered.batched.leave_alone());
                let detail = format!("{}; it was in a batch of {}, and goes again alone", why.detail, items.len());
                return for_all(Answer::NotApplied(reason("batch-refused", detail)));
            }
            Answer::Conflict(why) => {
                items.iter().for_each(|item| item.waiting.delivered.batched.leave_alone());
                return for_all(Answer::Conflict(why));
            }
            other => return for_all(other),
        }
        let answer = body.map_or(Value::Null, |(body, _)| body);
        let ids: Vec<Option<String>> = items.iter().map(|item| item.id.clone()).collect();
        let operation = &self.preparer.consumer.call.operation;
        let outcomes = batch.read(&answer, &ids).into_iter().map(|outcome| match outcome {
            Some(outcome) => {
                let (answer, log) = self.system.answer_of_item(operation, outcome.means, outcome.part, &log);
                Attempted { answer, log, came: Came::Answered(Some(outcome.part.clone())) }
            }
            None => {
                let detail = format!("the answer of {} does not say what became of this item", operation.id);
                let answer = Answer::Unknown(reason("item-missing", detail));
                Attempted { answer, log: log.clone(), came: Came::Answered(None) }
            }
        });
        outcomes.collect()
    }
}
