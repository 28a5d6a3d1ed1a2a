//! What a definition may say already and nothing enforces yet. It is said as a note, also under `check --strict`: the
//! definition is right, and will mean more with a later version. A row goes when its feature lands.

use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Diagnostic, Severity};

use crate::folder::{self, DefinitionFile};

/// A setting that is read and not enforced.
struct Setting {
    /// The folder of the definitions that have it.
    below: &'static str,
    /// Where it stands there, as a JSON pointer.
    pointer: &'static str,
    /// The only value that is not enforced; each, without one.
    value: Option<&'static str>,
    /// What happens instead, after "not enforced yet: ".
    instead: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting {
        below: "systems",
        pointer: "/limits",
        value: None,
        instead: "each replica calls as often as `in_flight` of its consumers lets it, and waits where the system says so (429)",
    },
    Setting {
        below: "consumers",
        pointer: "/deliver/on_dead_letter",
        value: Some("supersede"),
        instead: "as with `continue`, later records of the key go on beside the dead letter",
    },
];

/// Notes each such setting of a definition.
pub(crate) fn note(file: &DefinitionFile<'_>, node: &Node, below: &str) {
    for setting in SETTINGS.iter().filter(|setting| setting.below == below) {
        let steps = setting.pointer.split('/').skip(1);
        let Some(found) = steps.clone().try_fold(node, |at, step| at.get(step)) else { continue };
        let said = match (setting.value, &found.value) {
            (None, _) => true,
            (Some(value), NodeValue::Scalar { text, .. }) => text == value,
            (Some(_), NodeValue::Sequence(_) | NodeValue::Mapping(_)) => false,
        };
        if said {
            let name = steps.last().unwrap_or_default();
            let name = setting.value.map_or_else(|| name.to_owned(), |value| format!("{name}: {value}"));
            let message = format!("`{name}` is not enforced yet: {}", setting.instead);
            let span = folder::place(node, setting.pointer);
            file.report(Diagnostic {
                severity: Severity::Note,
                ..Diagnostic::warning("bus/not-enforced-yet", span, message)
            });
        }
    }
}
