//! What was seen, for people and for programs, written as it comes: a run takes hours, and may be ended.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use crate::suite::{Ran, root};
use crate::table::Hazard;

/// Where it lies, from the root of the project.
const FOLDER: &str = "target/reliability";

/// What is to be said of a hazard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    Broken,
    /// The table names no test.
    NotTried,
}

/// The report that is being written.
pub struct Report {
    folder: PathBuf,
    lines: File,
    page: File,
    verdicts: Vec<Verdict>,
}

impl Report {
    pub fn start() -> anyhow::Result<Self> {
        let folder = root().join(FOLDER);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut page = File::create(folder.join("report.md"))?;
        writeln!(page, "# Hazards at their whole figures\n\n| # | hazard | verdict | test | took | seen |")?;
        writeln!(page, "| --- | --- | --- | --- | --- | --- |")?;
        Ok(Self { lines: File::create(folder.join("report.jsonl"))?, folder, page, verdicts: Vec::new() })
    }

    /// Where what the tests print goes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a hazard, with what came of its tests.
    pub fn add(&mut self, hazard: &Hazard, results: &[Ran]) -> anyhow::Result<()> {
        let verdict = verdict(results);
        self.verdicts.push(verdict);
        let (number, what) = (&hazard.number, &hazard.what);
        say(&format!("{:<9} {number:>2}  {what}", verdict.word()))?;
        if results.is_empty() {
            writeln!(self.page, "| {number} | {what} | {} | | | |", verdict.word())?;
        }
        for ran in results {
            let (word, seconds) = (word(ran), ran.took.as_secs());
            say(&format!("    {word}: {} ({seconds} s)", ran.test))?;
            ran.figures.iter().try_for_each(|figure| say(&format!("        {figure}")))?;
            let figures = ran.figures.join("<br>").replace('|', "\\|");
            writeln!(self.page, "| {number} | {what} | {word} | `{}` | {seconds} s | {figures} |", ran.test)?;
        }
        let tests = results.iter().map(|ran| {
            json!({ "test": ran.test, "verdict": word(ran), "seconds": ran.took.as_secs_f64(), "figures": ran.figures })
        });
        let line = json!({
            "hazard": number, "what": what, "verdict": verdict.word(), "tests": tests.collect::<Vec<_>>(),
        });
        writeln!(self.lines, "{line}")?;
        Ok(())
    }

    /// Says how it went as a whole.
    pub fn end(&mut self) -> anyhow::Result<()> {
        let count = |wanted| self.verdicts.iter().filter(|verdict| **verdict == wanted).count();
        let (holds, broken, not_tried) = (count(Verdict::Holds), count(Verdict::Broken), count(Verdict::NotTried));
        say(&format!("{holds} hold, {broken} are broken, {not_tried} have no test; see {FOLDER}/report.md"))
    }

    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        self.verdicts.iter().copied()
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Broken => "BROKEN",
            Self::NotTried => "not tried",
        }
    }
}

fn verdict(results: &[Ran]) -> Verdict {
    if results.is_empty() {
        return Verdict::NotTried;
    }
    if results.iter().all(|ran| ran.passed == Some(true)) { Verdict::Holds } else { Verdict::Broken }
}

fn word(ran: &Ran) -> &'static str {
    match ran.passed {
        Some(true) => "passed",
        Some(false) => "FAILED",
        None => "IS NOT THERE",
    }
}

/// Says why there is no report.
pub fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "reliability: {error:#}");
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
