//! What a definition may say already and nothing enforces yet. It is said as a note, also under `check --strict`: the
//! definition is right, and will mean more with a later version. A row goes when its feature lands.

use tieline_mapping::yaml::Node;
use tieline_mapping::{Diagnostic, Severity};

use crate::folder::{self, DefinitionFile};

/// A setting that is read and not enforced.
struct Setting {
    /// The folder of the definitions that have it.
    below: &'static str,
    /// Where it stands there, as a JSON pointer.
    pointer: &'static str,
    /// What happens instead, after "not enforced yet: ".
    instead: &'static str,
}

const SETTINGS: &[Setting] = &[Setting {
    below: "systems",
    pointer: "/limits",
    instead: "each replica calls as often as `in_flight` of its consumers lets it, and waits where the system says so (429)",
}];

/// Notes each such setting of a definition.
pub(crate) fn note(file: &DefinitionFile<'_>, node: &Node, below: &str) {
    for setting in SETTINGS.iter().filter(|setting| setting.below == below) {
        let steps = setting.pointer.split('/').skip(1);
        if steps.clone().try_fold(node, |at, step| at.get(step)).is_some() {
            let name = steps.last().unwrap_or_default();
            let message = format!("`{name}` is not enforced yet: {}", setting.instead);
            let span = folder::place(node, setting.pointer);
            file.report(Diagnostic {
                severity: Severity::Note,
                ..Diagnostic::warning("bus/not-enforced-yet", span, message)
            });
        }
    }
}
