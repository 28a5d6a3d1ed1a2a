//! `residual:` of a definition: which checks its author leaves to run time, and what becomes of an event that fails.

use std::collections::BTreeMap;

use super::Checker;
use crate::yaml::{Node, NodeValue};
use crate::{Diagnostic, Span};

/// A `residual:`, and which of its places left something to run time. The parameters and the body of a call share one.
#[derive(Debug)]
pub(super) struct Owned {
    /// Where it stands.
    at: Span,
    places: BTreeMap<String, (Span, bool)>,
}

/// A `residual:` that was read, by number.
pub(super) type OwnedId = usize;

impl Checker {
    /// Reads it, once for all that share it.
    pub(super) fn read_residual(&mut self, node: Option<&Node>) -> Option<OwnedId> {
        let node = node.filter(|n| !n.is_null())?;
        if let Some(read) = self.residuals.iter().position(|owned| owned.at == node.span) {
            return Some(read);
        }
        let mut owned = Owned { at: node.span, places: BTreeMap::new() };
        let NodeValue::Mapping(entries) = &node.value else {
            let message = "this is written `field: dead-letter`, a field a line";
            self.report(Diagnostic::error("mapping/residual", node.span, message));
            return None;
        };
        for (path, action) in entries {
            let NodeValue::Scalar { text: path_text, .. } = &path.value else { continue };
            match &action.value {
                NodeValue::Scalar { text, .. } if text == "dead-letter" => {
                    owned.places.insert(path_text.clone(), (path.span, false));
                }
                _other => {
                    let message = "what fails a check can only become a dead letter";
                    let help = format!("write `{path_text}: dead-letter`");
                    self.report(Diagnostic::error("mapping/residual", action.span, message).help(help));
                }
            }
        }
        self.residuals.push(owned);
        Some(self.residuals.len() - 1)
    }

    /// Whether the checks of this place are left to run time; it counts as used.
    pub(super) fn owns(&mut self, owned: Option<OwnedId>, path: &str) -> bool {
        let place = owned.and_then(|id| self.residuals[id].places.get_mut(path));
        place.map(|(_, used)| *used = true).is_some()
    }

    /// Warns of places that leave nothing to run time.
    pub(crate) fn unused_residuals(&self) -> Vec<Diagnostic> {
        let unused = self.residuals.iter().flat_map(|owned| &owned.places).filter(|(_, (_, used))| !used);
        let warning = |(path, (span, _)): (&String, &(Span, bool))| {
            let message = format!("nothing of `{path}` is left to run time");
            Diagnostic::warning("mapping/unused-residual", *span, message).help("remove it".to_owned())
        };
        unused.map(warning).collect()
    }
}
