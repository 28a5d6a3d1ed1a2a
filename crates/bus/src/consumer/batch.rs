//! A call that takes a list: several records go out in one request, and the answer says of each what became of it.
//!
//! Systems say that in two ways. Some answer with one list in the order of the items (Salesforce's collections, Kinesis);
//! some name each item by an id, often in one list for what went well and one for what did not (HubSpot, SQS). So an item
//! is matched by its position or by an id, and what its outcome means stands in a list as such, or in its fields.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tieline_schema::types::Type;

use crate::AnswerClass;

mod compile;
mod read;

pub(super) use compile::AllOutcomes;
pub(super) use read::DeclaredBatch;

/// How the records of a consumer are sent together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Most items of a request.
    pub max: usize,
    /// How long an item waits for others.
    pub linger: Duration,
    /// The operation's parameters, which all items share.
    pub with: Vec<(String, String)>,
    /// The body before its items, and after them.
    pub around: (Vec<u8>, Vec<u8>),
    /// Where the items lie in the body, as a JSON pointer; empty where the body is the list.
    pub items_at: String,
    /// Where an item has the id by which it is found in the answer; without it, it is found by its position.
    pub id: Option<String>,
    /// The lists of the answer that say what became of items.
    pub outcomes: Vec<Outcomes>,
    /// Whether an item holds its own idempotency key, `$idempotency_key`.
    pub keyed: bool,
    /// The type of an item's part of the answer, where it is applied: what a follow-up event reads as `$response`.
    pub response: Type,
}

/// A list of an answer that says what became of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes {
    /// Where it lies, as a JSON pointer; empty where the answer is the list.
    pub at: String,
    /// Where an outcome has the id of its item.
    pub id: Option<String>,
    /// Fields that say what an outcome means; the first that does counts.
    pub means: Vec<Reading>,
    /// What it means where none of them says.
    pub otherwise: AnswerClass,
}

/// A field of an outcome, as a JSON pointer, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It is a status of HTTP, and means for the item what it would mean for a call.
    Status(String),
    /// These of its values mean something.
    Values(String, BTreeMap<String, AnswerClass>),
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemOutcome<'v> {
    /// What that means.
    pub means: ItemMeans,
    /// Its part of the answer.
    pub part: &'v Value,
}

/// What an outcome means for its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemMeans {
    /// This.
    Class(AnswerClass),
    /// What a call with this status would.
    Status(u16),
}

impl Batch {
    /// The name under which an item's mapping finds the idempotency key of its record.
    pub const KEY: &'static str = "idempotency_key";

    /// The body of a request with these items, each as JSON.
    pub fn body<'i>(&self, items: impl IntoIterator<Item = &'i [u8]>) -> Vec<u8> {
        let (before, after) = &self.around;
        let mut body = before.clone();
        for (n, item) in items.into_iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            body.extend_from_slice(item);
        }
        body.extend_from_slice(after);
        body
    }

    /// The id of an item, by which the answer names it. Nothing, where it has none.
    #[must_use]
    pub fn id_of(&self, item: &[u8]) -> Option<String> {
        let pointer = self.id.as_deref()?;
        text(serde_json::from_slice::<Value>(item).ok()?.pointer(pointer)?)
    }

    /// What an answer says of each of these items, given by their ids. Nothing of one that it does not speak of; of none,
    /// where items are found by position and the list is of another length.
    #[must_use]
    pub fn read<'v>(&self, answer: &'v Value, ids: &[Option<String>]) -> Vec<Option<ItemOutcome<'v>>> {
        let lists = self.outcomes.iter().filter_map(|o| Some((o, answer.pointer(&o.at)?.as_array()?)));
        if self.id.is_none() {
            let found = lists.filter(|(_, list)| list.len() == ids.len());
            let said = found.flat_map(|(outcomes, list)| list.iter().map(|part| Some(outcomes.of(part))));
            let mut said: Vec<_> = said.collect();
            said.resize(ids.len(), None);
            return said;
        }
        let mut by_id: BTreeMap<String, ItemOutcome<'v>> = BTreeMap::new();
        for (outcomes, list) in lists {
            for part in list {
                let id = outcomes.id.as_deref().and_then(|pointer| text(part.pointer(pointer)?));
                if let Some(id) = id {
                    by_id.entry(id).or_insert_with(|| outcomes.of(part));
                }
            }
        }
        ids.iter().map(|id| by_id.get(id.as_deref()?).copied()).collect()
    }
}

impl Outcomes {
    /// What this outcome means.
    fn of<'v>(&self, part: &'v Value) -> ItemOutcome<'v> {
        let said = self.means.iter().find_map(|reading| match reading {
            Reading::Status(pointer) => status(part.pointer(pointer)?).map(ItemMeans::Status),
            Reading::Values(pointer, values) => {
                values.get(&text(part.pointer(pointer)?)?).copied().map(ItemMeans::Class)
            }
        });
        ItemOutcome { means: said.unwrap_or(ItemMeans::Class(self.otherwise)), part }
    }

    /// Whether an item of this list can be applied.
    fn can_mean_applied(&self) -> bool {
        let says = |reading: &Reading| match reading {
            Reading::Status(_) => true,
            Reading::Values(_, values) => values.values().any(|class| *class == AnswerClass::Applied),
        };
        self.otherwise == AnswerClass::Applied || self.means.iter().any(says)
    }
}

/// A value as it stands in a definition.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn status(value: &Value) -> Option<u16> {
    text(value)?.parse().ok().filter(|status| (100..=599).contains(status))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;
    use tieline_schema::types::Kind;

    use super::*;

    fn batch(id: Option<&str>, outcomes: Vec<Outcomes>) -> Batch {
        Batch {
            max: 100,
            linger: Duration::ZERO,
            with: Vec::new(),
            around: (b"{\"inputs\":[".to_vec(), b"],\"atomic\":false}".to_vec()),
            items_at: "/inputs".to_owned(),
            id: id.map(str::to_owned),
            outcomes,
            keyed: false,
            response: Type::of(Kind::Any),
        }
    }

    fn list(at: &str, id: Option<&str>, means: Vec<Reading>, otherwise: AnswerClass) -> Outcomes {
        Outcomes { at: at.to_owned(), id: id.map(str::to_owned), means, otherwise }
    }

    fn values(pointer: &str, values: &[(&str, AnswerClass)]) -> Reading {
        let values = values.iter().map(|(value, class)| ((*value).to_owned(), *class)).collect();
        Reading::Values(pointer.to_owned(), values)
    }

    fn means(batch: &Batch, answer: &Value, ids: &[Option<&str>]) -> Vec<Option<ItemMeans>> {
        let ids: Vec<Option<String>> = ids.iter().map(|id| id.map(str::to_owned)).collect();
        batch.read(answer, &ids).into_iter().map(|outcome| outcome.map(|outcome| outcome.means)).collect()
    }

    const APPLIED: Option<ItemMeans> = Some(ItemMeans::Class(AnswerClass::Applied));
    const REFUSED: Option<ItemMeans> = Some(ItemMeans::Class(AnswerClass::Refused));
    const NOT_APPLIED: Option<ItemMeans> = Some(ItemMeans::Class(AnswerClass::NotApplied));

    /// Salesforce's sObject Collections: a list in the order of the request, `success`, and codes of what went wrong.
    #[test]
    fn a_list_in_the_order_of_the_items_is_read_by_position() {
        let says = vec![
            values("/success", &[("true", AnswerClass::Applied)]),
            values("/errors/0/statusCode", &[("UNABLE_TO_LOCK_ROW", AnswerClass::NotApplied)]),
        ];
        let salesforce = batch(None, vec![list("", None, says, AnswerClass::Refused)]);
        let answer = json!([
            { "id": "003D", "success": true, "errors": [] },
            { "success": false, "errors": [{ "statusCode": "UNABLE_TO_LOCK_ROW" }] },
            { "success": false, "errors": [{ "statusCode": "REQUIRED_FIELD_MISSING" }] },
        ]);
        assert_eq!(means(&salesforce, &answer, &[None; 3]), [APPLIED, NOT_APPLIED, REFUSED]);
        assert_eq!(means(&salesforce, &answer, &[None; 2]), [None, None], "nobody knows which is which");
        assert_eq!(means(&salesforce, &json!({ "message": "?" }), &[None; 2]), [None, None]);
    }

    /// HubSpot's batches: what went well in one list, what did not in another, each named by an id of ours.
    #[test]
    fn two_lists_are_read_by_ids_whatever_their_order() {
        let id = "/objectWriteTraceId";
        let categories = vec![values("/category", &[("RATE_LIMITS", AnswerClass::NotApplied)])];
        let lists = vec![
            list("/results", Some(id), Vec::new(), AnswerClass::Applied),
            list("/errors", Some("/context/objectWriteTraceId/0"), categories, AnswerClass::Refused),
        ];
        let hubspot = batch(Some(id), lists);
        let answer = json!({
            "results": [{ "objectWriteTraceId": "c", "id": "3" }, { "objectWriteTraceId": "a", "id": "1" }],
            "errors": [
                { "category": "RATE_LIMITS", "context": { "objectWriteTraceId": ["d"] } },
                { "category": "VALIDATION_ERROR", "context": { "objectWriteTraceId": ["b"] } },
            ],
        });
        let ids = [Some("a"), Some("b"), Some("c"), Some("d"), Some("e"), None];
        assert_eq!(means(&hubspot, &answer, &ids), [APPLIED, REFUSED, APPLIED, NOT_APPLIED, None, None]);
        let read = hubspot.read(&answer, &[Some("c".to_owned())]);
        assert_eq!(read[0].unwrap().part["id"], "3", "its part is what a follow-up event reads");
        assert_eq!(hubspot.id_of(br#"{"objectWriteTraceId": 7}"#).as_deref(), Some("7"));
        assert_eq!(hubspot.id_of(br#"{"objectWriteTraceId": null}"#), None);
    }

    #[test]
    fn a_status_of_an_item_is_taken_as_one() {
        let says = vec![Reading::Status("/status".to_owned())];
        let bulk = batch(None, vec![list("/items", None, says, AnswerClass::Unknown)]);
        let answer = json!({ "items": [{ "status": 201 }, { "status": "429" }, { "status": 7 }] });
        let unknown = Some(ItemMeans::Class(AnswerClass::Unknown));
        let status = |status| Some(ItemMeans::Status(status));
        assert_eq!(means(&bulk, &answer, &[None; 3]), [status(201), status(429), unknown]);
    }

    #[test]
    fn the_items_go_where_the_contract_has_them() {
        let body = batch(None, Vec::new()).body([&b"{\"a\":1}"[..], b"{\"a\":2}"]);
        assert_eq!(body, br#"{"inputs":[{"a":1},{"a":2}],"atomic":false}"#);
    }
}
