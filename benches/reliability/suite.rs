//! The tests of the workspace: which there are, where, and what comes of one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

/// What gives tests their whole figures.
const WHOLE: [(&str, &str); 2] = [("TIELINE_RELIABILITY", "whole"), ("SEEDS", "10000")];

/// What a test's line begins with that says what was seen.
const FIGURE: &str = "figure: ";

/// All tests, by the name of their function.
pub struct Suite {
    places: BTreeMap<String, Vec<Place>>,
    /// What has run: several hazards may share a test.
    done: BTreeMap<String, Ran>,
}

/// Where a test is.
struct Place {
    executable: PathBuf,
    /// Where Cargo would run it.
    dir: PathBuf,
    path: String,
}

/// What came of a test.
#[derive(Debug, Clone)]
pub struct Ran {
    pub test: String,
    /// Whether it passed; none where it is not there.
    pub passed: Option<bool>,
    pub took: Duration,
    pub figures: Vec<String>,
}

impl Suite {
    /// Builds all tests and lists them.
    pub fn build() -> anyhow::Result<Self> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root()).args(["test", "--locked", "--workspace", "--no-run", "--message-format=json"]);
        if cfg!(feature = "vendored-openssl") {
            cargo.args(["--features", "vendored-openssl"]);
        }
        let built = cargo.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
        anyhow::ensure!(built.status.success(), "cargo test --no-run: {}", built.status);
        let mut places: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for line in String::from_utf8(built.stdout)?.lines() {
            let message: Value = serde_json::from_str(line)?;
            let (Some(executable), Some(true)) = (message["executable"].as_str(), message["profile"]["test"].as_bool())
            else {
                continue;
            };
            let manifest = message["manifest_path"].as_str().context("an artifact without a manifest")?;
            let dir = Path::new(manifest).parent().context("a manifest without a folder")?;
            for path in listed(executable)? {
                let name = path.rsplit("::").next().unwrap_or(&path).to_owned();
                let place = Place { executable: executable.into(), dir: dir.to_owned(), path };
                places.entry(name).or_default().push(place);
            }
        }
        Ok(Self { places, done: BTreeMap::new() })
    }

    /// Runs a test, if it has not run yet. What it prints goes to a file in this folder.
    pub fn run(&mut self, test: &str, folder: &Path) -> anyhow::Result<Ran> {
        if let Some(ran) = self.done.get(test) {
            return Ok(ran.clone());
        }
        let begun = Instant::now();
        let printed = folder.join(format!("{test}.log"));
        let mut passed = None;
        for place in self.places.get(test).into_iter().flatten() {
            passed = Some(place.run(&printed)? && passed.unwrap_or(true));
        }
        let printed = std::fs::read_to_string(&printed).unwrap_or_default();
        let figures = printed.lines().filter_map(|line| Some(line.split_once(FIGURE)?.1.to_owned())).collect();
        let ran = Ran { test: test.to_owned(), passed, took: begun.elapsed(), figures };
        self.done.insert(test.to_owned(), ran.clone());
        Ok(ran)
    }
}

impl Place {
    fn run(&self, printed: &Path) -> anyhow::Result<bool> {
        let file = File::create(printed).with_context(|| printed.display().to_string())?;
        let mut test = Command::new(&self.executable);
        test.current_dir(&self.dir).args(["--exact", &self.path, "--nocapture"]);
        for (name, value) in WHOLE {
            // Who says otherwise is obeyed: `SEEDS=100000 make reliability`.
            if std::env::var_os(name).is_none() {
                test.env(name, value);
            }
        }
        let status = test.stdout(file.try_clone()?).stderr(file).status();
        Ok(status.with_context(|| self.executable.display().to_string())?.success())
    }
}

/// The tests of an executable.
fn listed(executable: &str) -> anyhow::Result<Vec<String>> {
    let listed = Command::new(executable).args(["--list", "--format", "terse"]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// The root of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
