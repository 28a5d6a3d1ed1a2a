//! `make mutations`: each rule of the machine broken, one after another in a copy of the repository, and what finds it: which
//! seed of the simulator is the first to fail, or else which rule test does. It takes some seconds for each (`ONLY=` a part of
//! its words, `SEEDS=` 10,000), and prints the rows of docs/reference/simulator-mutations.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs, unreachable_pub)]

#[path = "../tests/mutations/list.rs"]
mod list;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    // `cargo test --benches` asks whether it starts.
    if std::env::args().all(|argument| argument != "--bench") {
        return;
    }
    let copy = copy_of_the_repository();
    let krate = copy.join("crates/delivery");
    let only = std::env::var("ONLY").unwrap_or_default();
    for mutation in list::mutations().into_iter().filter(|one| one.rule.contains(&only) || one.how.contains(&only)) {
        let mut kept = Vec::new();
        for hunk in &mutation.hunks {
            let (path, mutated) = hunk.make(&krate).unwrap();
            kept.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            std::fs::write(path, mutated).unwrap();
        }
        let files: Vec<String> = mutation
            .hunks
            .iter()
            .map(|hunk| format!("`{}`", hunk.file.rsplit('/').next().unwrap_or(&hunk.file)))
            .collect();
        println!("| {} | {} | {} | {} |", mutation.rule, mutation.how, files.join(", "), found_by(&krate));
        for (path, text) in kept.into_iter().rev() {
            std::fs::write(path, text).unwrap();
        }
    }
}

/// The first seed that fails and what is said, or the rule test that fails, for the table.
fn found_by(krate: &Path) -> String {
    let (held, said) = test(krate, &["--test", "sim", "the_promises_hold_under_faults"]);
    let seed = said.lines().find_map(|line| line.strip_prefix("seed ")?.split(' ').next());
    if let (false, Some(seed)) = (held, seed) {
        let mut panic = said.lines().skip_while(|line| !line.contains("panicked at "));
        let place = panic.next().and_then(|line| line.rsplit('/').next()?.split('.').next()).unwrap_or_default();
        let what: String = panic.next().unwrap_or_default().chars().take(110).collect();
        return format!("{seed} | `{place}`: {}", what.replace('|', "/"));
    }
    if !held {
        return format!(
            "? | it does not run: {}",
            said.lines().find(|line| line.starts_with("error")).unwrap_or_default()
        );
    }
    let (_, said) = test(krate, &["--test", "rules", "--lib", "--no-fail-fast"]);
    let failed = said.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let mut names: Vec<&str> = failed.map(|name| name.rsplit("::").next().unwrap_or(name)).collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => "– | **open**: nothing finds it".to_owned(),
        names => {
            let mut cell = "– | rule:".to_owned();
            names.iter().take(2).for_each(|name| write!(cell, " `{name}`").unwrap());
            cell
        }
    }
}

fn test(krate: &Path, what: &[&str]) -> (bool, String) {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "10000".to_owned());
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--offline", "--package", "tieline-delivery"]).args(what).current_dir(krate);
    cargo.env("SEEDS", seeds).env("RUST_BACKTRACE", "0").env("CARGO_TARGET_DIR", krate.join("../../target"));
    let output = cargo.output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    (output.status.success(), said)
}

/// A copy, with what is not committed yet, so that the one at hand stays as it is.
fn copy_of_the_repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let copy = root.join("target/mutations");
    let listed =
        Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).current_dir(&root).output().unwrap();
    for file in String::from_utf8(listed.stdout).unwrap().lines() {
        let to = copy.join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(root.join(file), to).unwrap();
    }
    copy
}
