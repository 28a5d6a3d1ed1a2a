//! Reads `batch:` of a call, as far as it can be understood without the types of both sides.

use std::collections::BTreeMap;
use std::time::Duration;

use tieline_mapping::Span;
use tieline_mapping::yaml::{Node, NodeValue};

use super::{Outcomes, Reading};
use crate::AnswerClass;
use crate::fields::Fields;
use crate::folder::{DefinitionFile, is};
use crate::values::{choice, duration, list, named, text, whole};

/// How long an item waits for others, unless declared: little beside what a call takes, enough for a busy topic.
const LINGER: Duration = Duration::from_millis(20);

/// A JSON pointer and its place in the file.
pub(super) type Pointer = (String, Span);

/// `batch:` as it is declared.
pub(in crate::consumer) struct DeclaredBatch {
    /// Where `batch` stands.
    pub at: Span,
    pub(super) items_at: Option<Pointer>,
    /// Most items, and where that is said.
    pub max: (usize, Span),
    pub linger: Duration,
    pub(super) id: Option<Pointer>,
    pub(super) outcomes: Vec<DeclaredOutcomes>,
}

/// A list of the answer, as it is declared.
pub(super) struct DeclaredOutcomes {
    /// Where its entry begins.
    pub span: Span,
    pub at: Option<Pointer>,
    pub id: Option<Pointer>,
    /// Where each field stands that says what an outcome means.
    pub means_at: Vec<Pointer>,
    pub means: Vec<Reading>,
    pub otherwise: AnswerClass,
}

impl DeclaredBatch {
    pub fn read(file: &DefinitionFile<'_>, node: &Node, at: Span) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`batch`")?;
        let items_at = fields.optional("items_at", pointer);
        let max_at = fields.key("max");
        // Salesforce takes 200, HubSpot 100, Kinesis 500; one answer has to say what became of each.
        let max = fields.required("max", whole(2..=1_000));
        let linger = fields.optional("linger", duration("0s"..="5s")).unwrap_or(LINGER);
        let id = fields.optional("id", pointer);
        let outcomes = fields.required("outcomes", list(DeclaredOutcomes::read));
        fields.finish();
        Some(Self { at, items_at, max: (max?, max_at), linger, id, outcomes: outcomes? })
    }
}

impl DeclaredOutcomes {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "an entry of `outcomes`")?;
        let at = fields.optional("at", pointer);
        let id = fields.optional("id", pointer);
        let means = fields.required_node("means");
        let is_word = matches!(means.map(|node| &node.value), Some(NodeValue::Scalar { .. }));
        let otherwise = if is_word { None } else { fields.optional("otherwise", choice(AnswerClass::WORDS)) };
        fields.finish();
        let means = means?;
        let (otherwise, means) = if is_word {
            (choice(AnswerClass::WORDS)(file, means)?, Vec::new())
        } else {
            // What nobody foresaw is for a person to see.
            (otherwise.unwrap_or(AnswerClass::Refused), named(reading)(file, means)?)
        };
        let means_at = means.iter().map(|(pointer, key, _)| (pointer.clone(), key.span)).collect();
        let means = means.into_iter().map(|(_, _, reading)| reading).collect();
        Some(Self { span: node.span, at, id, means_at, means, otherwise })
    }

    /// The same, for the one who reads answers. The id of an outcome is where the item has it, unless declared.
    pub fn outcomes(&self, id_of_items: Option<&str>) -> Outcomes {
        Outcomes {
            at: self.at.as_ref().map(|(pointer, _)| pointer.clone()).unwrap_or_default(),
            id: self.id.as_ref().map(|(pointer, _)| pointer.clone()).or_else(|| id_of_items.map(str::to_owned)),
            means: self.means.clone(),
            otherwise: self.otherwise,
        }
    }
}

fn pointer(file: &DefinitionFile<'_>, node: &Node) -> Option<Pointer> {
    Some((text(file, node)?, node.span))
}

/// What a field says: `status`, or what some of its values mean.
fn reading(file: &DefinitionFile<'_>, node: &Node, pointer: &str) -> Option<Reading> {
    if is(node, "status") {
        return Some(Reading::Status(pointer.to_owned()));
    }
    if let NodeValue::Scalar { .. } = node.value {
        let help = "say `status` where it is a status of HTTP, or what its values mean: `{ QUOTA: not_applied }`";
        file.error("bus/wrong-value", node.span, "this does not say what the field means", help);
        return None;
    }
    let values = named(|file, node, _: &str| choice(AnswerClass::WORDS)(file, node))(file, node)?;
    let values: BTreeMap<String, AnswerClass> = values.into_iter().map(|(value, _, class)| (value, class)).collect();
    Some(Reading::Values(pointer.to_owned(), values))
}
