//! A place in a JSON value of a known type, by a JSON pointer (RFC 6901).

use tieline_mapping::{Span, suggest};
use tieline_schema::types::{Kind, Type};

use crate::folder::DefinitionFile;

/// The type of what lies there; reports where nothing does. `whose` says in what, with an article: "the answer of
/// helpdesk.findTickets".
pub(crate) fn pointed_at(
    file: &DefinitionFile<'_>,
    ty: &Type,
    (pointer, at): (&str, Span),
    whose: &str,
) -> Option<Type> {
    if !pointer.starts_with('/') {
        let help = "it begins with `/`, such as `/tickets`";
        file.error("bus/wrong-value", at, format!("this has to be a JSON pointer into {whose}"), help);
        return None;
    }
    steps(pointer).try_fold(Type { nullable: false, ..ty.clone() }, |ty, step| step_into(file, &ty, &step, at, whose))
}

/// The steps of a pointer, unescaped.
pub(crate) fn steps(pointer: &str) -> impl Iterator<Item = String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"))
}

fn step_into(file: &DefinitionFile<'_>, ty: &Type, step: &str, at: Span, whose: &str) -> Option<Type> {
    let record = match &ty.kind {
        Kind::Any => return Some(ty.clone()),
        Kind::Map(value) => return Some((**value).clone()),
        Kind::List { item, .. } if step.parse::<usize>().is_ok() => return Some((**item).clone()),
        Kind::Record(record) => Some(record),
        _other => None,
    };
    let field = record.and_then(|record| record.field(step));
    if field.is_none() {
        let names = record.iter().flat_map(|record| record.fields.iter().map(|f| f.name.as_str()));
        let help = suggest::help(step, names).unwrap_or_default();
        file.error("bus/unknown-place", at, format!("{whose} has no `{step}` there"), help);
    }
    field.map(|field| field.ty.clone())
}
