//! What a person would forget to look at: that the crates lie as ARCHITECTURE.md draws them, that documents speak of what
//! is there, and that nothing half-done or of one machine alone gets in. It asks Cargo and Git about this directory, and
//! no network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The picture in ARCHITECTURE.md, as it stands there. Whoever changes it changes `ARROWS` with it.
const DRAWING: &str = "
tieline ──► server ──► runtime ──► bus ──► mapping ──► schema
   │                      └──────► delivery
   └──────► sandbox ─────────────────────────────────► schema
";

/// Its arrows. A crate may use whatever can be reached along them.
const ARROWS: [(&str, &[&str]); 8] = [
    ("tieline", &["tieline-server", "tieline-sandbox"]),
    ("tieline-server", &["tieline-runtime"]),
    ("tieline-runtime", &["tieline-bus", "tieline-delivery"]),
    ("tieline-bus", &["tieline-mapping"]),
    ("tieline-mapping", &["tieline-schema"]),
    ("tieline-sandbox", &["tieline-schema"]),
    ("tieline-delivery", &[]),
    ("tieline-schema", &[]),
];

/// The crates without network, clock or threads of their own, and what would bring those in.
const PURE: [&str; 4] = ["tieline-schema", "tieline-mapping", "tieline-bus", "tieline-delivery"];
const IMPURE: [&str; 7] = ["tokio", "rdkafka", "reqwest", "hyper", "axum", "rand", "futures-util"];

#[test]
fn crates_depend_only_as_architecture_md_draws() {
    assert!(read("ARCHITECTURE.md").contains(DRAWING), "ARCHITECTURE.md draws something else than this test holds");
    let packages = packages();
    let drawn: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let there: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    assert_eq!(there, drawn, "the crates of the workspace are not those of the picture");

    let mut wrong = Vec::new();
    for (name, dependencies) in &packages {
        let reachable = reachable(name);
        // The stand-ins are what the tests of every crate may stand on.
        let for_tests = |used: &Used| used.of_tests && used.name == "tieline-sandbox";
        for used in dependencies.iter().filter(|used| used.name.starts_with("tieline-") && !for_tests(used)) {
            if !reachable.contains(used.name.as_str()) {
                wrong.push(format!("{name} uses {}, and no arrow leads there", used.name));
            }
        }
        for used in dependencies.iter().filter(|used| !used.of_tests) {
            if PURE.contains(&name.as_str()) && IMPURE.contains(&used.name.as_str()) {
                wrong.push(format!("{name} uses {}, and is to do no I/O and know no clock", used.name));
            }
        }
    }
    none(&wrong);
}

fn reachable(from: &str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut todo = arrows(from).to_vec();
    while let Some(name) = todo.pop() {
        if found.insert(name) {
            todo.extend(arrows(name));
        }
    }
    found
}

fn arrows(from: &str) -> &'static [&'static str] {
    let (_, arrows) = ARROWS.iter().find(|(name, _)| *name == from).unwrap_or_else(|| panic!("{from} is not drawn"));
    arrows
}

#[test]
fn each_dependency_has_its_reason_in_architecture_md_and_its_version_in_one_place() {
    let manifest = read("Cargo.toml");
    let declared: BTreeSet<String> = between(&manifest, "[workspace.dependencies]", "[workspace.lints")
        .lines()
        .filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()))
        .filter(|name| !name.starts_with("tieline-"))
        .collect();
    assert!(declared.len() > 20, "[workspace.dependencies] was not found: {declared:?}");

    let architecture = read("ARCHITECTURE.md");
    let explained = names_in_first_column(after(&architecture, "## Dependencies"));
    assert_eq!(explained, declared, "ARCHITECTURE.md explains on the left, Cargo.toml has on the right");

    let used: BTreeSet<String> = packages().into_values().flatten().map(|used| used.name).collect();
    let mut wrong: Vec<_> = declared.difference(&used).map(|name| format!("no crate uses {name}")).collect();
    for file in files().iter().filter(|file| file.ends_with("Cargo.toml")) {
        let manifest = read(file);
        if !manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{file} does not take the lints of the workspace"));
        }
        for section in manifest.split("\n[").filter(|s| s.starts_with("dependencies]") || s.starts_with("dev-dep")) {
            let entries = section.lines().skip(1).filter(|line| line.contains('='));
            wrong.extend(
                entries
                    .filter(|line| !line.contains("workspace = true"))
                    .map(|line| format!("{file}: `{line}` says a version that the root does not know")),
            );
        }
    }
    none(&wrong);
}

#[test]
fn what_can_end_a_process_at_a_point_is_in_no_service() {
    let mut asked_for = 0;
    for file in files().iter().filter(|file| file.ends_with("Cargo.toml")) {
        let mut section = String::new();
        for line in read(file).lines() {
            if line.starts_with('[') {
                section = line.to_owned();
            } else if line.contains("\"fail-points\"") {
                assert_eq!(section, "[dev-dependencies]", "{file} has fail-points in what is shipped");
                asked_for += 1;
            }
        }
    }
    assert_eq!(asked_for, 1, "nobody tests with fail-points");
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let files = files();
    let mut wrong = Vec::new();
    let mut links_seen = 0;
    for document in files.iter().filter(|file| file.ends_with(".md")) {
        for target in links(&read(document)) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links_seen += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let there = if path.is_empty() { document.clone() } else { resolved(document, path) };
            if !root().join(&there).exists() {
                wrong.push(format!("{document}: ({target}) leads to {there}, which is not there"));
            } else if !anchor.is_empty() && !anchors(&read(&there)).contains(anchor) {
                wrong.push(format!("{document}: ({target}): {there} has no heading `{anchor}`"));
            }
        }
    }
    assert!(links_seen > 10, "{links_seen} links were found: the test looks at the wrong thing");
    none(&wrong);
}

#[test]
fn every_source_file_that_a_document_names_is_there() {
    let files = files();
    let mut wrong = Vec::new();
    for document in ["ARCHITECTURE.md", "docs/reference/simulator-mutations.md"] {
        let text = read(document);
        let names = code_spans(&text).into_iter().filter(|span| span.ends_with(".rs") && !span.contains(' '));
        let mut names_seen = 0;
        for name in names {
            names_seen += 1;
            // `server/src/serve.rs` is short for `crates/server/src/serve.rs`.
            let ending = format!("/{name}");
            if !files.iter().any(|file| *file == name || file.ends_with(&ending)) {
                wrong.push(format!("{document} names {name}, and there is no such file"));
            }
        }
        assert!(names_seen > 3, "{document} names {names_seen} files: the test looks at the wrong thing");
    }
    none(&wrong);
}

#[test]
fn every_test_that_the_table_of_hazards_names_is_there() {
    let sources: String = sources().iter().map(|file| read(file)).collect();
    let mut wrong = Vec::new();
    let mut names_seen = 0;
    let document = read("docs/reliability.md");
    let rows = document.lines().filter(|line| line.starts_with("| ")).filter_map(|row| row.split('|').nth(3));
    let is_name = |span: &String| {
        span.contains('_') && span.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '0'..='9'))
    };
    for name in rows.flat_map(code_spans).filter(is_name) {
        names_seen += 1;
        // A property's has arguments.
        if !sources.contains(&format!("fn {name}(")) {
            wrong.push(format!("docs/reliability.md names the test {name}, and there is none"));
        }
    }
    assert!(names_seen > 20, "{names_seen} tests were found: the test looks at the wrong thing");
    none(&wrong);
}

#[test]
fn every_source_file_says_first_what_it_is() {
    let mut wrong = Vec::new();
    for file in sources() {
        let text = read(&file);
        let first = text.lines().next().unwrap_or_default();
        if first.strip_prefix("//! ").is_none_or(|said| said.trim().is_empty()) {
            wrong.push(format!("{file} does not begin with `//! ` and what it is"));
        }
    }
    none(&wrong);
}

#[test]
fn nothing_is_left_out_or_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [concat!("#[ign", "ore"), concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
    let mut wrong = Vec::new();
    for file in sources() {
        for (line, mark) in occurrences(&read(&file), &marks) {
            wrong.push(format!("{file}:{line} has `{mark}`"));
        }
    }
    none(&wrong);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let home = std::env::var("HOME").unwrap_or_default();
    let mut marks = vec![concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];
    marks.extend([concat!("/tmp", "/wt"), concat!("C:", "\\Users")]);
    // A registry of somebody's own: in a manifest, a lock file, a pom, or a Cargo configuration.
    marks.extend([
        concat!("[sou", "rce."),
        concat!("[regis", "tries"),
        concat!("<mir", "ror"),
        concat!("<reposi", "tory>"),
    ]);
    let here = root().display().to_string();
    // A checkout at / or a home of / would be found everywhere.
    marks.extend([here.as_str(), home.as_str()].into_iter().filter(|path| path.matches('/').count() >= 2));

    let mut wrong = Vec::new();
    for file in files() {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue }; // not text
        for (line, mark) in occurrences(&text, &marks) {
            wrong.push(format!("{file}:{line} has `{mark}`"));
        }
    }
    let lock = read("Cargo.lock");
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let strange = lock.lines().filter(|line| line.starts_with("source = ") && *line != public);
    wrong.extend(strange.map(|line| format!("Cargo.lock has `{line}`")));
    none(&wrong);
}

#[test]
fn each_metric_is_explained_and_each_explained_metric_is_there() {
    let in_service = sources().into_iter().filter(|file| format!("/{file}").contains("/src/"));
    let measured: BTreeSet<String> = in_service
        .flat_map(|file| quoted(&read(&file)))
        .filter(|text| text.starts_with("tieline_") && text.chars().all(|c| c == '_' || c.is_ascii_lowercase()))
        .collect();
    assert!(measured.len() > 10, "the metrics were not found: {measured:?}");

    let page = read("docs/reference/metrics.md");
    let first_column = names_in_first_column(&page);
    let explained: BTreeSet<String> = first_column.into_iter().filter(|name| !name.contains([' ', '('])).collect();
    assert_eq!(explained, measured, "docs/reference/metrics.md explains on the left, the code measures on the right");
    for word in page.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).filter(|w| w.starts_with("tieline_")) {
        assert!(measured.contains(word), "docs/reference/metrics.md speaks of {word}, which is not measured");
    }
}

#[test]
fn the_reference_of_the_language_names_exactly_its_functions() {
    let reference = read("docs/reference/mapping-language.md");
    let named = names_in_first_column(between(&reference, "## Functions", "\n## "));
    let named: BTreeSet<&str> = named.iter().map(|use_| use_.split('(').next().unwrap()).collect();
    let there: BTreeSet<&str> = tieline_mapping::functions().iter().map(|function| function.name).collect();
    assert_eq!(named, there, "docs/reference/mapping-language.md names on the left, the language has on the right");
}

// Cargo and Git.

/// A direct dependency.
struct Used {
    name: String,
    of_tests: bool,
}

/// The crates of the workspace, and what each uses.
fn packages() -> BTreeMap<String, Vec<Used>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let text = output(&cargo, &["metadata", "--offline", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let used = package["dependencies"].as_array().unwrap().iter().map(|dependency| Used {
            name: dependency["name"].as_str().unwrap().to_owned(),
            of_tests: dependency["kind"] == "dev",
        });
        (package["name"].as_str().unwrap().to_owned(), used.collect())
    });
    packages.collect()
}

/// The files of the project, from its root: what Git has or would take, so not `target` and not what somebody keeps to
/// themselves.
fn files() -> Vec<String> {
    let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let there = listed.split_terminator('\0').filter(|file| root().join(file).is_file());
    let files: Vec<String> = there.map(str::to_owned).collect();
    assert!(files.len() > 100, "Git lists {} files", files.len());
    files
}

fn sources() -> Vec<String> {
    files().into_iter().filter(|file| file.ends_with(".rs")).collect()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).current_dir(root()).output();
    let ran = ran.unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

// Text.

fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split_once(mark).unwrap_or_else(|| panic!("there is no `{mark}`")).1
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = after(text, from);
    rest.split_once(to).map_or(rest, |(between, _)| between)
}

/// The lines with one of the marks, from 1.
fn occurrences<'a>(text: &str, marks: &[&'a str]) -> Vec<(usize, &'a str)> {
    let lines = text.lines().enumerate();
    lines.flat_map(|(n, line)| marks.iter().filter(move |m| line.contains(**m)).map(move |m| (n + 1, *m))).collect()
}

/// What stands in double quotes on one line.
fn quoted(text: &str) -> Vec<String> {
    text.lines().flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned)).collect()
}

/// A document without its blocks of code.
fn prose(document: &str) -> String {
    let mut in_code = false;
    let lines = document.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The `code` in a document's prose.
fn code_spans(document: &str) -> Vec<String> {
    prose(document).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The `names` in the first column of a document's tables.
fn names_in_first_column(document: &str) -> BTreeSet<String> {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    // `\|` is a bar inside of a cell.
    let cells = rows.filter_map(|row| Some(row.replace("\\|", "¦").split('|').nth(1)?.to_owned()));
    cells.flat_map(|cell| code_spans(&cell)).collect()
}

/// The targets of `[text](target)`.
fn links(document: &str) -> Vec<String> {
    let prose = prose(document);
    let without_code: String = prose.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let targets = without_code.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.collect()
}

/// A path that stands in a document, from the root.
fn resolved(document: &str, path: &str) -> String {
    let mut resolved = PathBuf::from(document);
    resolved.pop();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => assert!(resolved.pop(), "{document}: {path} leads out of the project"),
            Component::Normal(name) => resolved.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    resolved.display().to_string()
}

/// What a heading can be linked by, as code hosts make it: small letters, dashes for spaces, no punctuation.
fn anchors(document: &str) -> BTreeSet<String> {
    let prose = prose(document);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let anchors = headings.map(|heading| {
        let kept = heading.to_lowercase().replace(' ', "-");
        let anchor: String = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        let times = seen.entry(anchor.clone()).or_default();
        *times += 1;
        // The second of a name has a number.
        if *times == 1 { anchor } else { format!("{anchor}-{}", *times - 1) }
    });
    anchors.collect()
}
