//! One mistake is reported once: what may only follow from another mistake is left out.

use tieline_mapping::{Diagnostic, Severity};

use crate::folder::DefinitionFile;

/// Problems that go away, perhaps, with a mistake elsewhere in the definition: with a filter that could not be read, since
/// nobody knows what it would have proven; with a system or an event that is not there, since what is written to it
/// could not be compiled, and what it answers can be anything.
const MAY_FOLLOW: &[&str] = &["mapping/no-translation", "mapping/null-refused", "mapping/wrong-type"];

/// Warnings that something is never used. Where the definition has errors, what would use it may not have been compiled,
/// or will be what is written instead.
const UNUSED: &[&str] =
    &["bus/unused-look-up", "mapping/unused-residual", "mapping/unused-row", "mapping/unused-table"];

/// Reports what came of compiling a definition. `whole` says whether all of its parts could be compiled.
pub(crate) fn report(file: &DefinitionFile<'_>, problems: Vec<Diagnostic>, whole: bool) {
    let sound = whole && !file.has_errors() && problems.iter().all(|p| p.severity < Severity::Error);
    let certain = problems
        .into_iter()
        .filter(|p| (whole || !MAY_FOLLOW.contains(&p.code)) && (sound || !UNUSED.contains(&p.code)));
    let fresh = certain.filter(|p| !file.is_in_unfilled(p.span.start));
    fresh.for_each(|p| file.report(p));
}
