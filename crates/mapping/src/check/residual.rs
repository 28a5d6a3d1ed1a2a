//! `residual:` of a definition: which checks its author leaves to run time, and what becomes of an event that fails.

use std::collections::BTreeMap;

use super::Checker;
use crate::yaml::{Node, NodeValue};
use crate::{Diagnostic, Span};

/// The places whose checks are left to run time.
#[derive(Debug, Default)]
pub(super) struct Owned(BTreeMap<String, (Span, bool)>);

impl Owned {
    /// Whether the checks of this place are left to run time; it counts as used.
    pub(super) fn take(&mut self, path: &str) -> bool {
        self.0.get_mut(path).map(|(_, used)| *used = true).is_some()
    }
}

impl Checker {
    pub(super) fn read_residual(&mut self, node: Option<&Node>) -> Owned {
        let mut owned = Owned::default();
        let Some(node) = node.filter(|n| !n.is_null()) else { return owned };
        let NodeValue::Mapping(entries) = &node.value else {
            let message = "this is written `field: dead-letter`, a field a line";
            self.report(Diagnostic::error("mapping/residual", node.span, message));
            return owned;
        };
        for (path, action) in entries {
            let NodeValue::Scalar { text: path_text, .. } = &path.value else { continue };
            match &action.value {
                NodeValue::Scalar { text, .. } if text == "dead-letter" => {
                    owned.0.insert(path_text.clone(), (path.span, false));
                }
                _other => {
                    let message = "what fails a check can only become a dead letter";
                    let help = format!("write `{path_text}: dead-letter`");
                    self.report(Diagnostic::error("mapping/residual", action.span, message).help(help));
                }
            }
        }
        owned
    }

    /// Warns of places that leave nothing to run time.
    pub(super) fn unused_residual(&mut self, owned: &Owned) {
        for (path, (span, used)) in &owned.0 {
            if !used {
                let message = format!("nothing of `{path}` is left to run time");
                self.report(Diagnostic::warning("mapping/unused-residual", *span, message));
            }
        }
    }
}
