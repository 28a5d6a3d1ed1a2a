//! Look-ups: questions to other systems, whose answers are kept for a while and shared.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
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
        Self { kept: Arc::new(Mutex::new(Kept::new(ANSWERS_MAX, ANSWERS_BYTES_MAX))), fetches: Fetches::default() }
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
    ) -> Result<Arc<Value>, LookUpFailed> {
        let asked = Asked {
            system: client.system().name.clone(),
            operation: operation.id.clone(),
            parameters: parameters.to_vec(),
        };
        let kept = || lock(&self.kept).get(&asked, Instant::now()).map(Ok);
        let fetch = || {
            let (asked, client, operation) = (asked.clone(), Arc::clone(client), Arc::clone(operation));
            let kept = Arc::clone(&self.kept);
            async move {
                let (value, bytes) = fetch(&client, operation, &asked).await?;
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
}

fn lock(kept: &Mutex<Kept<Asked, Arc<Value>>>) -> std::sync::MutexGuard<'_, Kept<Asked, Arc<Value>>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn fetch(
    client: &SystemClient,
    operation: Arc<Operation>,
    asked: &Asked,
) -> Result<(Arc<Value>, usize), LookUpFailed> {
    let request = Request {
        operation,
        parameters: asked.parameters.clone(),
        body: None,
        idempotency_key: None,
        traceparent: None,
        headers: Vec::new(),
        reads_response: true,
    };
    let Reply { answer, log, body, .. } = client.call(&request).await;
    let broken = |reason: Reason| Answer::Refused(Reason { code: "look-up-contract".into(), ..reason });
    let answer = match (answer, body) {
        (Answer::Applied, Some((value, bytes))) => return Ok((Arc::new(value), bytes)),
        (Answer::Applied, None) => broken(Reason { code: String::new(), detail: "the answer has no body".into() }),
        // A question has no effect that could be there or not, and can be asked again whatever its method.
        (Answer::Unknown(reason), _) => Answer::NotApplied(reason),
        (Answer::AppliedUnreadable(reason), _) if reason.code == RESPONSE_CUT => Answer::NotApplied(reason),
        (Answer::AppliedUnreadable(reason), _) => broken(reason),
        (other, _) => other,
    };
    Err(failed(asked, answer, log))
}

fn failed(asked: &Asked, answer: Answer, log: AttemptLog) -> LookUpFailed {
    LookUpFailed { look_up: format!("{} of {}", asked.operation, asked.system).into(), answer, log }
}
