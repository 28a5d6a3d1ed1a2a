//! A look-up that is answered with 403, 404 or 405: whose fault is it?
//!
//! The thing may not be there yet, so that it is asked for again for the consumer's `patience`. After that it is the
//! record's fault only where the *same operation* answers others (DESIGN.md, "absent or forbidden"); else the look-up fails
//! for everybody, and nothing is buried by it. The core judges the calls in the same way, and knows nothing of look-ups: it
//! is told what remains to be done.

use std::sync::Arc;

use tieline_delivery::{Answer, Reason};
use tieline_schema::contract::Operation;
use tokio::time::Instant;

use super::prepare::{Delivered, Preparer};
use crate::system::SystemClient;

/// A look-up that is refused to a record.
#[derive(Debug)]
pub(super) struct Absent {
    /// Its name.
    pub look_up: String,
    since: Instant,
}

/// What was asked.
pub(super) struct Asked<'a> {
    pub name: &'a str,
    pub system: &'a Arc<SystemClient>,
    pub operation: &'a Arc<Operation>,
    pub parameters: Vec<(String, String)>,
}

impl Preparer {
    /// What this means for the record.
    pub(super) async fn judge_absent(&self, delivered: &Delivered, asked: Asked<'_>, why: Reason) -> Answer {
        let since = delivered.absent(|absent| {
            let same = absent.take().filter(|a| a.look_up == asked.name);
            let first = || Absent { look_up: asked.name.to_owned(), since: Instant::now() };
            absent.insert(same.unwrap_or_else(first)).since
        });
        if since.elapsed() < self.consumer.deliver.patience {
            return Answer::NotApplied(why);
        }
        let look_ups = &self.wiring.look_ups;
        if look_ups.answers_others(asked.system, asked.operation, &asked.parameters, since, self.flow(delivered)).await
        {
            return Answer::Refused(why);
        }
        let detail = format!("{}; nor is it known to answer anybody else", why.detail);
        Answer::Misconfigured(Reason { code: why.code, detail })
    }
}
