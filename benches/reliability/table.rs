//! The table of hazards: which there are, and which tests bring them about.

use anyhow::Context as _;

/// The document, from the root of the project.
const DOCUMENT: &str = "docs/reliability.md";

/// A row.
#[derive(Debug, PartialEq, Eq)]
pub struct Hazard {
    pub number: String,
    pub what: String,
    pub tests: Vec<String>,
}

/// Reads the rows of the table.
pub fn read() -> anyhow::Result<Vec<Hazard>> {
    let text = std::fs::read_to_string(crate::suite::root().join(DOCUMENT)).with_context(|| DOCUMENT.to_owned())?;
    let hazards: Vec<Hazard> = text.lines().filter_map(row).collect();
    anyhow::ensure!(!hazards.is_empty(), "{DOCUMENT} has no table of hazards");
    Ok(hazards)
}

/// `| 11 | what | tests in backticks | seen | command |`
fn row(line: &str) -> Option<Hazard> {
    let mut cells = line.strip_prefix("| ")?.split('|').map(str::trim);
    let (number, what, tests) = (cells.next()?, cells.next()?, cells.next()?);
    // A letter is a row of what is hostile.
    let is_row = number.parse::<u32>().is_ok() || matches!(number.as_bytes(), [b'A'..=b'Z']);
    is_row.then_some(())?;
    let spans = tests.split('`').skip(1).step_by(2);
    // A test is a sentence; a span with anything else in it is a path, a command or a setting.
    let is_test = |span: &&str| span.contains('_') && span.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let tests = spans.filter(is_test).map(str::to_owned).collect();
    Some(Hazard { number: number.to_owned(), what: what.to_owned(), tests })
}

impl Hazard {
    /// Whether somebody who says this means it, or one of its tests.
    pub fn is_meant(&self, which: &str) -> bool {
        self.is_meant_itself(which) || self.tests.iter().any(|test| test.contains(which))
    }

    /// The tests that are meant: all, where it is the hazard.
    pub fn tests_meant<'h>(&'h self, which: &'h str) -> impl Iterator<Item = &'h str> {
        let all = self.is_meant_itself(which);
        self.tests.iter().map(String::as_str).filter(move |test| all || test.contains(which))
    }

    fn is_meant_itself(&self, which: &str) -> bool {
        which.is_empty() || self.number == which || (which.parse::<u32>().is_err() && self.what.contains(which))
    }
}
