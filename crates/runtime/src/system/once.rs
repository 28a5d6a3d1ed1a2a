//! One attempt that keeps to one effect: what has to be known before the request goes out, and what its answer says of an
//! earlier attempt.

use serde_json::Value;
use tieline_bus::{EffectLookUp, Meaning, Means};
use tieline_delivery::{Answer, AttemptLog, OUTCOME_UNKNOWN, Reason};

use super::client::{Reply, Request, SystemClient};
use super::effect::{Before, Effect};
use super::find::Found;
use crate::limits::Ticket;

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempted {
    /// What it means for the record.
    pub answer: Answer,
    /// What is kept of it for people.
    pub log: AttemptLog,
    /// What the follow-up event is made of, where the answer is *applied*.
    pub came: Came,
}

/// What the system told of an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// The call's answer, where it has one.
    Answered(Option<Value>),
    /// The effect, as a look-up found it.
    Found(Value),
}

/// Ends an attempt before its time: the effect was found, or nothing can be sent now.
type Ended = Attempted;

impl SystemClient {
    /// Makes the call, where that is the right thing to do. `maybe_applied` says whether an earlier attempt may have been
    /// applied; the request's key is that of the effect's round. The request is borrowed, since a future keeps what it is
    /// given twice; the condition of an upsert is added to it.
    ///
    /// The ticket is for the first call that is made of it, where calls need one.
    pub async fn once(
        &self,
        request: &mut Request,
        effect: &Effect,
        maybe_applied: bool,
        ticket: Option<Ticket>,
    ) -> Attempted {
        match self.try_once(request, effect, maybe_applied, ticket).await {
            Ok(attempted) | Err(attempted) => attempted,
        }
    }

    async fn try_once(
        &self,
        request: &mut Request,
        effect: &Effect,
        maybe_applied: bool,
        mut ticket: Option<Ticket>,
    ) -> Result<Attempted, Ended> {
        let system = self.system();
        let look_up = system.idempotency.look_ups.get(&request.operation.id);
        let before = effect.before(system, &request.operation.id, maybe_applied, crate::now_ms());
        match (before, look_up) {
            (Before::Send, _) => {}
            // Boxed, as all that is rare: it would make the future of each call larger.
            (Before::LookUp, Some(look_up)) => Box::pin(self.look_for(look_up, request, effect, ticket.take())).await?,
            (Before::LookUp, None) | (Before::Forgotten, _) => {
                return Err(self.forgotten(&request.operation.id, effect.is_of_other_bytes()));
            }
        }
        if system.idempotency.means == (Means::Upsert { if_match: true }) {
            Box::pin(self.add_condition(request, ticket.take())).await?;
        }
        let begun_ms = crate::now_ms();
        let reply = self.call_with(request, ticket).await;
        let times = (begun_ms, crate::now_ms());
        if reply.meets == Some(Meaning::Mismatch) {
            // Another attempt was there under this key, so that it stays the key, whatever became of that one.
            effect.meets_another(times.1);
        }
        effect.answered(system, &reply.answer, reply.log.status, times);
        if let Some(look_up) = look_up.filter(|_| needs_looking_up(&reply)) {
            effect.meets_another(times.1);
            Box::pin(self.look_for(look_up, request, effect, None)).await?;
        }
        let came = Came::Answered(reply.body.map(|(body, _)| body));
        Ok(Attempted { answer: reply.answer, log: reply.log, came })
    }

    /// Looks for the effect. Returns where there is none, and ends the attempt otherwise.
    async fn look_for(
        &self,
        look_up: &EffectLookUp,
        request: &Request,
        effect: &Effect,
        ticket: Option<Ticket>,
    ) -> Result<(), Ended> {
        let (found, log) = self.find(look_up, request, ticket).await;
        match found {
            Found::There(found) => {
                self.count_look_up(look_up, "found");
                Err(Attempted { answer: Answer::Applied, log, came: Came::Found(found) })
            }
            Found::NotThere if effect.not_found(look_up, crate::now_ms()) => {
                self.count_look_up(look_up, "not-there");
                Ok(())
            }
            Found::NotThere => {
                self.count_look_up(look_up, "not-there-yet");
                let detail = format!("{} finds no effect of it, which may not be seen yet", self.label(look_up));
                Err(not_sent(Answer::NotApplied(reason("not-found-yet", detail)), log))
            }
            Found::NotKnown(answer) => {
                self.count_look_up(look_up, "not-known");
                Err(not_sent(of_a_look_up(answer), log))
            }
        }
    }

    /// The system has forgotten the key, perhaps, and cannot be asked for the effect: a person has to.
    pub(super) fn forgotten(&self, operation: &str, other_bytes: bool) -> Ended {
        let system = &self.system().name;
        let why = if other_bytes {
            "made by another version of the mapping".to_owned()
        } else {
            format!("longer ago than {system} remembers its key")
        };
        let detail = format!(
            "an attempt of {operation} of {system} may have been applied, {why}; see there whether it was, since it is not \
             sent again"
        );
        let log = AttemptLog { at_ms: crate::now_ms(), status: None, excerpt: "nothing was sent".to_owned() };
        not_sent(Answer::Refused(reason(OUTCOME_UNKNOWN, detail)), log)
    }

    /// Makes the call conditional: on the version that the thing has now, or on there being none.
    async fn add_condition(&self, request: &mut Request, ticket: Option<Ticket>) -> Result<(), Ended> {
        let system = self.system();
        let Some(version_of) = system.version_of(&request.operation) else { return Ok(()) };
        let takes = |name: &str| version_of.parameters.iter().any(|p| p.name == name);
        let parameters = request.parameters.iter().filter(|(name, _)| takes(name)).cloned().collect();
        let reply = self.version(version_of, parameters, request.on_behalf.as_ref(), ticket).await;
        let condition = match (&reply.answer, &reply.etag) {
            (Answer::Applied, Some(tag)) if !tag.starts_with("W/") => ("If-Match", tag.clone()),
            (Answer::AbsentOrForbidden(_), _) if reply.log.status == Some(404) => ("If-None-Match", "*".to_owned()),
            (Answer::Applied, tag) => {
                let problem = if tag.is_some() { "a weak ETag, which no If-Match takes" } else { "no ETag" };
                let detail = format!("{} of {} answers with {problem}", version_of.id, system.name);
                return Err(not_sent(Answer::Misconfigured(reason("no-version", detail)), reply.log));
            }
            (Answer::Unknown(why) | Answer::AbsentOrForbidden(why), _) => {
                return Err(not_sent(Answer::NotApplied(why.clone()), reply.log));
            }
            (other, _) => return Err(not_sent(other.clone(), reply.log)),
        };
        request.headers.push((condition.0.to_owned(), condition.1));
        Ok(())
    }

    fn count_look_up(&self, look_up: &EffectLookUp, result: &str) {
        let labels = [self.system().name.as_str(), look_up.operation.id.as_str(), result];
        self.metrics.effect_look_ups.with_label_values(&labels).inc();
    }

    fn label(&self, look_up: &EffectLookUp) -> String {
        format!("{} of {}", look_up.operation.id, self.system().name)
    }
}

/// Whether only the effect itself says what this answer means.
fn needs_looking_up(reply: &Reply) -> bool {
    match reply.meets {
        Some(Meaning::Exists) => matches!(reply.answer, Answer::AppliedUnreadable(_)),
        Some(Meaning::Mismatch) => true,
        Some(Meaning::InProgress) | None => false,
    }
}

/// What it means for the record that its effect cannot be looked for. It is not the call that was refused: a right that is
/// missing, or an address that is wrong, is for somebody to see to, and what cannot be asked at all leaves the outcome open.
fn of_a_look_up(answer: Answer) -> Answer {
    match answer {
        Answer::AbsentOrForbidden(why) => Answer::Misconfigured(why),
        Answer::Refused(why) => {
            let detail =
                format!("{}; whether an attempt was applied is not known, so that it is not sent again", why.detail);
            Answer::Refused(reason(OUTCOME_UNKNOWN, detail))
        }
        other => other,
    }
}

fn reason(code: &str, detail: String) -> Reason {
    Reason { code: code.to_owned(), detail }
}

fn not_sent(answer: Answer, log: AttemptLog) -> Attempted {
    Attempted { answer, log, came: Came::Answered(None) }
}
