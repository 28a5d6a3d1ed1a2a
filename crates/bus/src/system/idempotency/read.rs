//! Reads `idempotency:` of a system, all but its look-ups, which need the system around them.

use std::collections::BTreeMap;
use std::time::Duration;

use tieline_mapping::yaml::{Node, NodeValue};

use super::{Conflict, Idempotency, KeyHeader, Meaning, Means, Stores};
use crate::fields::Fields;
use crate::folder::DefinitionFile;
use crate::values::{boolean, choice, duration, header, named, status};

/// How long a system is taken to remember an idempotency key, unless declared. Most vendors say 24 hours.
const REMEMBERS: Duration = Duration::from_secs(24 * 3600);

/// A field of the body by which a status is told apart: its pointer, the place of it, and what its values mean.
type ByField<'a> = (String, &'a Node, Vec<(String, &'a Node, Meaning)>);

impl Idempotency {
    /// `upsert`, `none`, or what makes a profile; and the node of its look-ups, where it has some.
    pub(in crate::system) fn read<'a>(
        file: &'a DefinitionFile<'a>,
        node: &'a Node,
    ) -> Option<(Self, Option<&'a Node>)> {
        if let NodeValue::Scalar { .. } = node.value {
            let means = choice(&[("upsert", true), ("none", false)])(file, node)?;
            let means = if means { Means::Upsert { if_match: false } } else { Means::None };
            return Some((Self { means, ..Self::default() }, None));
        }
        let mut fields = Fields::of(file, node, "`idempotency`")?;
        let means = Means::read(file, &mut fields);
        let conflicts = fields.node("conflict").map(|node| conflicts(file, node));
        let look_ups = fields.node("look_up");
        if means == Some(None) && conflicts.is_none() && look_ups.is_none() {
            let help = "add one of them, or write `idempotency: none`";
            let message = "`idempotency` says none of `header`, `upsert`, `look_up` and `conflict`";
            file.error("bus/missing-field", node.span, message, help);
            return None;
        }
        fields.finish();
        let conflicts = conflicts.unwrap_or_else(|| Some(BTreeMap::new()))?;
        Some((Self { means: means?.unwrap_or_default(), conflicts, look_ups: BTreeMap::new() }, look_ups))
    }
}

impl Means {
    /// `Some(None)` where none is declared, `None` where that was reported.
    fn read<'a>(file: &'a DefinitionFile<'a>, fields: &mut Fields<'a>) -> Option<Option<Self>> {
        let name = fields.node("header").map(|node| header(file, node));
        let quoted = fields.optional("quoted", boolean);
        let remembers = fields.optional("remembers", duration("1m"..="3650d"));
        let stores = fields.optional("stores", choice(Stores::WORDS));
        let upsert = fields.node("upsert").map(|node| upsert(file, node));
        if name.is_some() && upsert.is_some() {
            let message = "`idempotency` says both `header` and `upsert`";
            file.error("bus/both-fields", fields.key("upsert"), message, "keep one of them");
        }
        let Some(name) = name else {
            let of_a_key =
                [("quoted", quoted.is_some()), ("remembers", remembers.is_some()), ("stores", stores.is_some())];
            if let Some((field, _)) = of_a_key.into_iter().find(|(_, said)| *said) {
                let message = format!("`{field}` speaks of a key, and there is no `header` to send one in");
                file.error("bus/missing-field", fields.key(field), message, "add `header: Idempotency-Key`");
                return None;
            }
            return upsert.map_or(Some(None), |upsert| upsert.map(Some));
        };
        Some(Some(Self::Header(KeyHeader {
            name: name?,
            quoted: quoted.unwrap_or(false),
            remembers: remembers.unwrap_or(REMEMBERS),
            stores: stores.unwrap_or(Stores::Success),
        })))
    }
}

fn upsert(file: &DefinitionFile<'_>, node: &Node) -> Option<Means> {
    let mut fields = Fields::of(file, node, "`upsert`")?;
    let if_match = fields.optional("if_match", boolean).unwrap_or(false);
    fields.finish();
    Some(Means::Upsert { if_match })
}

impl Stores {
    const WORDS: &'static [(&'static str, Self)] = &[("success", Self::Success), ("everything", Self::Everything)];
}

impl Meaning {
    const WORDS: &'static [(&'static str, Self)] =
        &[("exists", Self::Exists), ("in_progress", Self::InProgress), ("mismatch", Self::Mismatch)];
}

/// By status: a meaning, or a pointer into the body and the meaning of each value there.
fn conflicts(file: &DefinitionFile<'_>, node: &Node) -> Option<BTreeMap<u16, Conflict>> {
    let by_status = named(conflict)(file, node)?;
    by_status.into_iter().map(|(name, key, conflict)| Some((status(file, key, &name)?, conflict))).collect()
}

fn conflict<'a>(file: &'a DefinitionFile<'a>, node: &'a Node, _status: &str) -> Option<Conflict> {
    if let NodeValue::Scalar { .. } = node.value {
        return choice(Meaning::WORDS)(file, node).map(Conflict::Always);
    }
    let meaning = named(|file, node, _: &str| choice(Meaning::WORDS)(file, node));
    let fields = named(|file, node, _: &str| meaning(file, node))(file, node)?;
    fields.into_iter().map(|field| by_value(file, field)).collect::<Option<_>>().map(Conflict::ByField)
}

fn by_value(
    file: &DefinitionFile<'_>,
    (pointer, key, meanings): ByField<'_>,
) -> Option<(String, BTreeMap<String, Meaning>)> {
    if !pointer.starts_with('/') {
        let help = "a pointer into the body begins with `/`, such as `/error/code` or `/errors/0/code`";
        file.error("bus/wrong-value", key.span, format!("`{pointer}` is no JSON pointer"), help);
        return None;
    }
    Some((pointer, meanings.into_iter().map(|(value, _, meaning)| (value, meaning)).collect()))
}
