//! Says what an answer means: DESIGN.md, "What an answer means". Pure: what came back, and the time, are arguments.
//!
//! | came back | class | reason's code |
//! | --- | --- | --- |
//! | 2xx that satisfies the contract, or for which it promises no body | applied | |
//! | 2xx that breaks it, and the response is read | applied, unreadable | `response-contract`, `response-too-long`, `response-cut` |
//! | 2xx that breaks it, and nobody reads it | applied; the same reason is handed on as *drift* | |
//! | 2xx whose body was cut on the way, is read, and can be asked for again under the same key | unknown | `response-cut` |
//! | a status of the table | its class | `http-STATUS` |
//! | a request that cannot be made | refused | `request` |
//! | no connection | not applied | `connect` |
//! | no token: the endpoint is away / refuses us / asks to wait | not applied / credential / throttled | `token` |
//! | the system's limits have no room | throttled; no attempt is counted | |
//! | the deadline passed before the call was sent / after | not applied / unknown | `timeout` |
//! | a lost connection, or an answer that is not HTTP | unknown | `lost` |
//!
//! A system's `answers:` can give a status another class, for an operation or for all (`*`). Before both comes what its
//! idempotency profile says of a call that meets an earlier attempt: `exists` is applied, `in_progress` unknown (code
//! `in-progress`), `mismatch` refused (`idempotency-mismatch`).

use std::time::{Duration, SystemTime};

use reqwest::header::ETAG;
use serde_json::Value;
use tieline_bus::{AnswerClass, Meaning, Means, System};
use tieline_delivery::{Answer, AttemptLog, Reason};
use tieline_schema::contract::{Operation, Payload};

use super::client::Reply;
use super::credential::TokenError;
use super::retry_after::{RETRY_AFTER_DEFAULT, retry_after};
use super::target::TargetError;
use crate::http::{Body, Failure, Redactor, Response};

/// The code of an answer that ended before its end.
pub(crate) const RESPONSE_CUT: &str = "response-cut";

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// Of whom.
    pub system: &'a System,
    /// What.
    pub operation: &'a Operation,
    /// Whether anything reads the response.
    pub reads_response: bool,
    /// Knows the secrets that an answer may repeat.
    pub redactor: &'a Redactor,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A response.
    Answered(Response),
    /// No response, after the call had been begun.
    Failed(Failure),
    /// Nothing was sent.
    NotSent(NotSent),
}

/// Why nothing was sent.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// There is no request for these values.
    NoRequest(TargetError),
    /// There is no token.
    NoToken(TokenError),
    /// The deadline passed while waiting for one.
    Deadline,
    /// The limits of the system have no room for so long.
    Limited(Duration),
}

/// Judges an answer that came at this time.
pub(crate) fn judge(question: Question<'_>, outcome: Outcome, now: SystemTime) -> Reply {
    let at_ms =
        now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    match outcome {
        Outcome::Answered(response) => question.answered(response, now, at_ms),
        Outcome::Failed(failure) => question.failed(&failure, at_ms),
        Outcome::NotSent(why) => question.not_sent(&why, at_ms),
    }
}

/// The classes of the table, without what goes with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Applied,
    Refused,
    Conflict,
    AbsentOrForbidden,
    NotApplied,
    Unknown,
    Throttled,
    Credential,
    Misconfigured,
}

/// The rule, where a system does not say otherwise.
pub(super) fn class_of(status: u16, retry_after: Option<Duration>) -> Class {
    match status {
        200..=299 => Class::Applied,
        300..=399 | 501 => Class::Misconfigured,
        401 => Class::Credential,
        403..=405 => Class::AbsentOrForbidden,
        408 => Class::Unknown,
        409 | 412 | 423 => Class::Conflict,
        425 => Class::NotApplied,
        429 => Class::Throttled,
        400..=499 => Class::Refused,
        503 if retry_after.is_some() => Class::Throttled,
        503 => Class::NotApplied,
        // All other 5xx, and what no RFC knows.
        _ => Class::Unknown,
    }
}

/// What the system says otherwise: of this operation, else of all.
pub(super) fn class_by(system: &System, operation: &str, status: u16) -> Option<Class> {
    let said = [operation, "*"].into_iter().find_map(|name| system.answers.get(name)?.get(&status))?;
    Some(Class::from(*said))
}

impl From<AnswerClass> for Class {
    fn from(said: AnswerClass) -> Self {
        match said {
            AnswerClass::Applied => Self::Applied,
            AnswerClass::Refused => Self::Refused,
            AnswerClass::NotApplied => Self::NotApplied,
            AnswerClass::Unknown => Self::Unknown,
            AnswerClass::Throttled => Self::Throttled,
            AnswerClass::AbsentOrForbidden => Self::AbsentOrForbidden,
            AnswerClass::Credential => Self::Credential,
            AnswerClass::Misconfigured => Self::Misconfigured,
        }
    }
}

impl Class {
    /// An answer of this class, for this reason, with the wait that was asked for.
    pub(super) fn answer(self, reason: Reason, wait: Option<Duration>) -> Answer {
        match self {
            Self::Applied => Answer::Applied,
            Self::Refused => Answer::Refused(reason),
            Self::Conflict => Answer::Conflict(reason),
            Self::AbsentOrForbidden => Answer::AbsentOrForbidden(reason),
            Self::NotApplied => Answer::NotApplied(reason),
            Self::Unknown => Answer::Unknown(reason),
            Self::Throttled => Answer::Throttled { retry_after: wait.unwrap_or(RETRY_AFTER_DEFAULT) },
            Self::Credential => Answer::Credential(reason),
            Self::Misconfigured => Answer::Misconfigured(reason),
        }
    }
}

impl Question<'_> {
    fn answered(self, response: Response, now: SystemTime, at_ms: i64) -> Reply {
        let status = response.status;
        let wait = retry_after(&response.headers, now);
        let meets = self.meets(status, response.body.bytes());
        let mut reply = match meets {
            Some(Meaning::Exists) => self.applied(status, &response.body, at_ms),
            Some(Meaning::InProgress) => {
                let reason = self.reason("in-progress", &format!("answered {status}: an earlier attempt is under way"));
                Reply::without_body(Answer::Unknown(reason), self.log(at_ms, Some(status), response.body.bytes()))
            }
            Some(Meaning::Mismatch) => {
                let problem = format!("answered {status}: the key came with another request before");
                let reason = self.reason("idempotency-mismatch", &problem);
                Reply::without_body(Answer::Refused(reason), self.log(at_ms, Some(status), response.body.bytes()))
            }
            None => self.by_status(&response, wait, at_ms),
        };
        reply.meets = meets;
        reply.other_version = self.other_version(&response);
        reply.etag = response.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        reply
    }

    /// What the profile says of an attempt that meets an earlier one. A question meets none.
    fn meets(self, status: u16, body: &[u8]) -> Option<Meaning> {
        if self.is_safe() { None } else { self.system.idempotency.meaning(status, body) }
    }

    fn by_status(self, response: &Response, wait: Option<Duration>, at_ms: i64) -> Reply {
        let status = response.status;
        let class = class_by(self.system, &self.operation.id, status).unwrap_or_else(|| class_of(status, wait));
        if class == Class::Applied {
            return self.applied(status, &response.body, at_ms);
        }
        let reason = self.reason(&format!("http-{status}"), &format!("answered {status}"));
        let answer = class.answer(reason, wait);
        Reply::without_body(answer, self.log(at_ms, Some(status), response.body.bytes()))
    }

    /// The effect exists. What remains is whether the answer can be read, and whether anybody has to.
    fn applied(self, status: u16, body: &Body, at_ms: i64) -> Reply {
        let well = AttemptLog { at_ms, status: Some(status), excerpt: String::new() };
        // Where the contract promises no body, nothing rests on what is there: for who reads it, the response is null.
        let Some(payload) = self.payload(status) else { return Reply::without_body(Answer::Applied, well) };
        let (fault, again) = match body {
            Body::Whole(bytes) => match self.read(payload, bytes) {
                Ok(value) => {
                    let body = value.map(|value| (value, bytes.len()));
                    return Reply { body, ..Reply::without_body(Answer::Applied, well) };
                }
                Err(problem) => (self.reason("response-contract", &format!("answered {status}, but {problem}")), false),
            },
            Body::TooLong(bytes) => {
                let problem = format!("answered {status} with more than the {} bytes that are kept", bytes.len());
                (self.reason("response-too-long", &problem), false)
            }
            Body::Cut(_, failure) => {
                let problem = format!("answered {status}, but the body was cut: {}", said(failure));
                (self.reason(RESPONSE_CUT, &problem), self.can_be_asked_again())
            }
        };
        let log = self.log(at_ms, Some(status), body.bytes());
        if !self.reads_response {
            return Reply { drift: Some(fault), ..Reply::without_body(Answer::Applied, log) };
        }
        let answer = if again { Answer::Unknown(fault) } else { Answer::AppliedUnreadable(fault) };
        Reply::without_body(answer, log)
    }

    /// Whether the same call a second time has no second effect and gets the same answer, or its effect can be looked up.
    fn can_be_asked_again(self) -> bool {
        let profile = &self.system.idempotency;
        self.is_safe() || profile.means != Means::None || profile.look_ups.contains_key(&self.operation.id)
    }

    /// RFC 9110, section 9.2.1.
    fn is_safe(self) -> bool {
        matches!(self.operation.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE")
    }

    /// The body of an answer that means *applied*, where it satisfies the contract; else what is wrong with it.
    fn read(self, payload: &Payload, bytes: &[u8]) -> Result<Option<Value>, String> {
        if bytes.is_empty() {
            let missed = self.reads_response || payload.required;
            return if missed { Err("the body is empty".into()) } else { Ok(None) };
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|_| "the body is not JSON".to_owned())?;
        match payload.validator.violations(&value).first() {
            None => Ok(Some(value)),
            Some(violation) => Err(format!("the contract is broken at `{}`: {}", violation.pointer, violation.message)),
        }
    }

    /// What the contract promises for this status. Where it means *applied* only since the system says so, or is not in
    /// the contract, what it promises for its first 2xx with a body: that is what would be read.
    ///
    /// As in [`Operation::success_type`], `default` speaks for a success only where no 2xx is named: else it is what the
    /// system says of its failures.
    fn payload(&self, status: u16) -> Option<&Payload> {
        let of_success = |name: &str| name.starts_with('2');
        let named = self.operation.responses.iter().any(|r| of_success(&r.status));
        let speaks = |name: &str| of_success(name) || (name == "default" && !named);
        match self.operation.response(status).filter(|response| speaks(&response.status)) {
            Some(response) => response.payload.as_ref(),
            None => self.operation.responses.iter().filter(|r| speaks(&r.status)).find_map(|r| r.payload.as_ref()),
        }
    }

    fn other_version(self, response: &Response) -> Option<String> {
        let expected = self.system.version.as_ref()?;
        let said = response.headers.get(expected.header.as_str())?;
        (said.as_bytes() != expected.expect.as_bytes()).then(|| self.redactor.excerpt(said.as_bytes()))
    }

    fn failed(self, failure: &Failure, at_ms: i64) -> Reply {
        let (code, text) = match failure {
            Failure::NotConnected(detail) => ("connect", format!("cannot be reached: {detail}")),
            Failure::Lost(detail) => ("lost", format!("gave no answer that we could read: {detail}")),
            Failure::Deadline => ("timeout", "did not answer in time".to_owned()),
        };
        let reason = self.reason(code, &text);
        let answer = match failure {
            Failure::NotConnected(_) => Answer::NotApplied(reason),
            Failure::Lost(_) | Failure::Deadline => Answer::Unknown(reason),
        };
        Reply::without_body(answer, self.log(at_ms, None, said(failure).as_bytes()))
    }

    fn not_sent(self, why: &NotSent, at_ms: i64) -> Reply {
        let reason = |code, text: String| self.reason(code, &format!("was not called: {text}"));
        let answer = match why {
            NotSent::NoRequest(error) => Answer::Refused(reason("request", error.to_string())),
            NotSent::NoToken(error @ TokenError::Unavailable(_)) => {
                Answer::NotApplied(reason("token", error.to_string()))
            }
            NotSent::NoToken(error @ TokenError::Refused(_)) => Answer::Credential(reason("token", error.to_string())),
            // Without a token nobody can call: what the endpoint asks for holds for the system.
            NotSent::NoToken(TokenError::Throttled { retry_after }) => Answer::Throttled { retry_after: *retry_after },
            NotSent::Limited(wait) => Answer::Throttled { retry_after: *wait },
            NotSent::Deadline => Answer::NotApplied(reason("timeout", "no token came in time".into())),
        };
        Reply::without_body(answer, self.log(at_ms, None, b"nothing was sent"))
    }

    /// The text can hold what the system said: the names of members that its answer should not have, for one.
    fn reason(self, code: &str, text: &str) -> Reason {
        let text = self.redactor.excerpt(text.as_bytes());
        Reason { code: code.to_owned(), detail: format!("{} of {} {text}", self.operation.id, self.system.name) }
    }

    fn log(self, at_ms: i64, status: Option<u16>, bytes: &[u8]) -> AttemptLog {
        AttemptLog { at_ms, status, excerpt: self.redactor.excerpt(bytes) }
    }
}

fn said(failure: &Failure) -> &str {
    match failure {
        Failure::NotConnected(detail) | Failure::Lost(detail) => detail,
        Failure::Deadline => "the deadline passed",
    }
}
