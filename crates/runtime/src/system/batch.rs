//! One call with the effects of several records: which of them may go out, and what its answer means for each.

use serde_json::Value;
use tieline_bus::ItemMeans;
use tieline_delivery::{Answer, AttemptLog, Reason};
use tieline_schema::contract::Operation;

use super::client::SystemClient;
use super::effect::{Before, Effect};
use super::judge::{Class, class_by, class_of};
use super::once::Attempted;

impl SystemClient {
    /// What ends the attempt of an item before it is made: the system may have forgotten an earlier one, and cannot be
    /// asked for it. (What could be looked up is not sent in batches, as `tieline check` sees to.)
    pub(crate) fn keeps_back(&self, operation: &Operation, effect: &Effect, maybe_applied: bool) -> Option<Attempted> {
        match effect.before(self.system(), &operation.id, maybe_applied, crate::now_ms()) {
            Before::Send => None,
            Before::LookUp | Before::Forgotten => Some(self.forgotten(&operation.id, effect.is_of_other_bytes())),
        }
    }

    /// Takes down what this answer says of the effect of one record.
    pub(crate) fn note(&self, effect: &Effect, answer: &Answer, status: Option<u16>, times: (i64, i64)) {
        effect.answered(self.system(), answer, status, times);
    }

    /// What a request that was answered with this status says of one of its items.
    pub(crate) fn answer_of_item(
        &self,
        operation: &Operation,
        means: ItemMeans,
        part: &Value,
        log: &AttemptLog,
    ) -> (Answer, AttemptLog) {
        let (class, code, said) = match means {
            ItemMeans::Class(class) => (Class::from(class), "item".to_owned(), "that it is not done".to_owned()),
            ItemMeans::Status(status) => {
                let class = class_by(self.system(), &operation.id, status).unwrap_or_else(|| class_of(status, None));
                (class, format!("item-{status}"), format!("status {status}"))
            }
        };
        let detail = format!("{} of {} says of this item {said}", operation.id, self.system().name);
        let answer = class.answer(Reason { code, detail }, None);
        let excerpt = match &answer {
            Answer::Applied => String::new(),
            _failed => self.redactor.excerpt(part.to_string().as_bytes()),
        };
        (answer, AttemptLog { excerpt, ..log.clone() })
    }
}
