//! Says of a mapping which generated example its target refuses, at the field that it refuses, or that there was none.

use tieline_mapping::yaml::Node;
use tieline_mapping::{Examined, Verdict};

use crate::folder::{self, DefinitionFile};

/// Runs the examples of the mapping that stands at a node, behind the filter at another. Whether there were any.
pub(crate) fn report(file: &DefinitionFile<'_>, node: &Node, filter: Option<&Node>, examined: &Examined<'_>) -> bool {
    let verdict = examined.verdict();
    let problem = verdict.diagnostic(|pointer| folder::place(node, pointer), filter.map(|filter| filter.span));
    problem.into_iter().for_each(|p| file.report(p));
    verdict != Verdict::Untried
}
