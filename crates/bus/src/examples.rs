//! Says of a mapping which generated example its target refuses, at the field that it refuses.

use tieline_mapping::Examined;
use tieline_mapping::yaml::Node;

use crate::folder::{self, DefinitionFile};

/// Runs the examples of the mapping that stands at a node.
pub(crate) fn report(file: &DefinitionFile<'_>, node: &Node, examined: &Examined<'_>) {
    if let Some(found) = examined.counter_example() {
        file.report(found.diagnostic(folder::place(node, &found.pointer)));
    }
}
