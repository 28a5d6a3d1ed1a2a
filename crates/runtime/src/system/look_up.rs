//! Look-ups: questions to other systems, whose answers are kept for a while and shared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tieline_delivery::limits::Flow;
use tieline_delivery::{Answer, AttemptLog, Reason};
use tieline_schema::contract::Operation;
use tokio::time::Instant;

use super::client::{Reply, Request, SystemClient};
use super::judge::RESPONSE_CUT;
use crate::fetches::Fetches;
use crate::kept::Kept;

/// Most answers that are kept.
const ANSWERS_MAX: usize = 10_000;

/// Most JSON that is kept, in bytes as it came. In memory it takes some times as much.
const ANSWERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a look-up gave nothing: to be reported as `Prepared::NotNow`, or `Prepared::Refused` where the answer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the look-up {look_up} gave nothing")]
pub struct LookUpFailed {
    /// What was asked of whom: `getUser of crm`.
    pub look_up: Box<str>,
    /// What that means for the record. Never *unknown*: a question has no effect.
    pub answer: Answer,
    /// What is kept of the attempt.
    pub log: AttemptLog,
}

/// The answers of all systems, by system, operation and parameters.
#[derive(Debug)]
pub struct LookUps {
    kept: Arc<Mutex<Kept<Asked, Arc<Value>>>>,
    fetches: Fetches<Asked, Outcome>,
    /// What was last answered, by system and operation: one for each look-up that the definitions have.
    answered: Arc<Mutex<BTreeMap<(String, String), LastAnswered>>>,
}

/// The parameters of the last question of an operation that was answered, and when.
#[derive(Debug, Clone)]
struct LastAnswered {
    parameters: Vec<(String, String)>,
    at: Instant,
}

type Outcome = Result<Arc<Value>, LookUpFailed>;

/// What was asked of whom. The parameters are in the order in which they were given, which is that of the definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    system: String,
    operation: String,
    parameters: Vec<(String, String)>,
}

impl Default for LookUps {
    fn default() -> Self {
        Self::new()
    }
}

impl LookUps {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            kept: Arc::new(Mutex::new(Kept::new(ANSWERS_MAX, ANSWERS_BYTES_MAX))),
            fetches: Fetches::default(),
            answered: Arc::default(),
        }
    }

    /// The answer that is kept, else that of a call which all share who ask the same meanwhile. An answer is kept for
    /// `keep`, a failure is not.
    ///
    /// # Errors
    /// When the system gives no answer, or none that satisfies its contract.
    pub async fn get(
        &self,
        client: &Arc<SystemClient>,
        operation: &Arc<Operation>,
        parameters: &[(String, String)],
        keep: Duration,
        on_behalf: &Arc<Flow>,
    ) -> Result<Arc<Value>, LookUpFailed> {
        let asked = Asked {
            system: client.system().name.clone(),
            operation: operation.id.clone(),
            parameters: parameters.to_vec(),
        };
        let kept = || lock(&self.kept).get(&asked, Instant::now()).map(Ok);
        let fetch = || {
            let (asked, client, operation) = (asked.clone(), Arc::clone(client), Arc::clone(operation));
            let on_behalf = Arc::clone(on_behalf);
            let (kept, answered) = (Arc::clone(&self.kept), Arc::clone(&self.answered));
            async move {
                let (value, bytes) = fetch(&client, operation, &asked, &on_behalf).await?;
                note_answered(&answered, &asked);
                lock(&kept).put(asked, Arc::clone(&value), bytes, Instant::now() + keep);
                Ok(value)
            }
        };
        self.fetches.get(&asked, kept, fetch).await.unwrap_or_else(|aborted| {
            let reason = Reason { code: "stopping".into(), detail: aborted.to_string() };
            let log = AttemptLog { at_ms: 0, status: None, excerpt: String::new() };
            Err(failed(&asked, Answer::NotApplied(reason), log))
        })
    }

    /// Whether the operation answers others, so that what it refuses to these parameters is about them: it has answered
    /// other ones since that instant, or, asked for the last that it did answer, does so again.
    ///
    /// The control question is needed since answers are kept: others may live on those for minutes, while nobody asks. It
    /// goes past what is kept. What has never answered in this process is not known to work.
    pub async fn answers_others(
        &self,
        client: &Arc<SystemClient>,
        operation: &Arc<Operation>,
        parameters: &[(String, String)],
        since: Instant,
        on_behalf: &Arc<Flow>,
    ) -> bool {
        let which = (client.system().name.clone(), operation.id.clone());
        let last = self.answered.lock().unwrap_or_else(PoisonError::into_inner).get(&which).cloned();
        let Some(last) = last.filter(|last| last.parameters != parameters) else { return false };
        if last.at > since {
            return true;
        }
        let asked = Asked { system: which.0, operation: which.1, parameters: last.parameters };
        let answers = fetch(client, Arc::clone(operation), &asked, on_behalf).await.is_ok();
        if answers {
            note_answered(&self.answered, &asked);
        }
        answers
    }
}

fn note_answered(answered: &Mutex<BTreeMap<(String, String), LastAnswered>>, asked: &Asked) {
    let last = LastAnswered { parameters: asked.parameters.clone(), at: Instant::now() };
    let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
    answered.insert((asked.system.clone(), asked.operation.clone()), last);
}

fn lock(kept: &Mutex<Kept<Asked, Arc<Value>>>) -> std::sync::MutexGuard<'_, Kept<Asked, Arc<Value>>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn fetch(
    client: &SystemClient,
    operation: Arc<Operation>,
    asked: &Asked,
    on_behalf: &Arc<Flow>,
) -> Result<(Arc<Value>, usize), LookUpFailed> {
    let question = Request::question(&operation, asked.parameters.clone()).on_behalf_of(Some(on_behalf));
    let reply = client.call(&question).await;
    let log = reply.log.clone();
    match answer_to_a_question(reply) {
        Ok((value, bytes)) => Ok((Arc::new(value), bytes)),
        Err(answer) => Err(failed(asked, answer, log)),
    }
}

/// The answer to a question and its length in bytes, else what its failure means. It is never *unknown*: a question has no
/// effect that could be there or not, and can be asked again whatever its method.
pub(super) fn answer_to_a_question(reply: Reply) -> Result<(Value, usize), Answer> {
    let broken = |reason: Reason| Answer::Refused(Reason { code: "look-up-contract".into(), ..reason });
    Err(match (reply.answer, reply.body) {
        (Answer::Applied, Some(body)) => return Ok(body),
        (Answer::Applied, None) => broken(Reason { code: String::new(), detail: "the answer has no body".into() }),
        (Answer::Unknown(reason), _) => Answer::NotApplied(reason),
        (Answer::AppliedUnreadable(reason), _) if reason.code == RESPONSE_CUT => Answer::NotApplied(reason),
        (Answer::AppliedUnreadable(reason), _) => broken(reason),
        (other, _) => other,
    })
}

fn failed(asked: &Asked, answer: Answer, log: AttemptLog) -> LookUpFailed {
    LookUpFailed { look_up: format!("{} of {}", asked.operation, asked.system).into(), answer, log }
}
