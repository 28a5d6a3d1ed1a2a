//! An attempt to deliver a record, as people see it later.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tieline_delivery::AttemptLog;

/// One attempt. Of many, the first 3 and the last 20 are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt<'a> {
    /// When it ended, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The status of the answer, where there was one.
    pub status: Option<u16>,
    /// The beginning of the answer, or what went wrong. Without secrets, at most 512 bytes.
    pub excerpt: Cow<'a, str>,
}

impl<'a> Attempt<'a> {
    /// The same, as it is kept.
    #[must_use]
    pub fn of(log: &'a AttemptLog) -> Self {
        Self { at_ms: log.at_ms, status: log.status, excerpt: Cow::Borrowed(&log.excerpt) }
    }

    /// The same, as the core knows it.
    #[must_use]
    pub fn into_log(self) -> AttemptLog {
        AttemptLog { at_ms: self.at_ms, status: self.status, excerpt: self.excerpt.into_owned() }
    }
}
