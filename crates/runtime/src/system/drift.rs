//! Counts what a system does otherwise than its definition says, where that stops nothing: an answer that breaks the
//! contract and is not read, another version than the one that we were written for.
//!
//! It is the first sign of a change that will stop something later. It is logged once for each operation and kind in the
//! life of a process: at full rate it would bury all else, and the metric says how often.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounterVec;

use super::client::Reply;

/// The kind of another version. The other kinds are the codes of reasons: `response-contract`, `response-too-long`,
/// `response-cut`.
const VERSION: &str = "version";

/// The drift of all systems of a process.
#[derive(Debug, Clone)]
pub struct Drift {
    counted: IntCounterVec,
    /// System, operation and kind of what was logged: as many as the contracts have operations, four times.
    logged: Arc<Mutex<BTreeSet<(String, String, String)>>>,
}

impl Drift {
    /// Counts in this counter, whose labels are `system`, `operation` and `kind`.
    #[must_use]
    pub fn new(counted: IntCounterVec) -> Self {
        Self { counted, logged: Arc::default() }
    }

    /// Counts what a reply shows of it.
    pub(super) fn count(&self, system: &str, operation: &str, reply: &Reply) {
        if let Some(reason) = &reply.drift {
            self.count_one(system, operation, &reason.code, &reason.detail);
        }
        if let Some(version) = &reply.other_version {
            self.count_one(system, operation, VERSION, &format!("it says that its version is {version}"));
        }
    }

    fn count_one(&self, system: &str, operation: &str, kind: &str, detail: &str) {
        self.counted.with_label_values(&[system, operation, kind]).inc();
        if self.is_first(system, operation, kind) {
            tracing::warn!(
                system,
                operation,
                kind,
                detail,
                "the system is not as its definition says; said once, counted by tieline_drift_total"
            );
        }
    }

    fn is_first(&self, system: &str, operation: &str, kind: &str) -> bool {
        let which = (system.to_owned(), operation.to_owned(), kind.to_owned());
        self.logged.lock().unwrap_or_else(PoisonError::into_inner).insert(which)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn each_kind_of_each_operation_is_the_first_once_for_all_who_call() {
        let drift = Drift::new(IntCounterVec::new(prometheus::Opts::new("d", "d"), &["a", "b", "c"]).unwrap());
        let of_another_system = drift.clone();
        assert!(drift.is_first("erp", "createProject", VERSION));
        assert!(!of_another_system.is_first("erp", "createProject", VERSION));
        assert!(drift.is_first("erp", "createProject", "response-contract"));
        assert!(drift.is_first("erp", "findProjects", VERSION));
        assert!(drift.is_first("crm", "createProject", VERSION));
    }
}
