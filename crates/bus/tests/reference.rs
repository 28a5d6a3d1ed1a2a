//! The pages of docs/reference/diagnostics: each code has one, with what a person sees, and none speaks of what is not
//! there. `UPDATE=1 cargo test -p tieline-bus --test reference` writes the examples and the list anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The families of codes, and what they speak of.
const FAMILIES: [(&str, &str); 7] = [
    ("bus", "definitions and what they refer to"),
    ("mapping", "expressions, and what the contract demands of them"),
    ("schema", "events"),
    ("contract", "what systems promise"),
    ("case", "`tieline test`"),
    ("yaml", "the form of the files"),
    ("json", "the form of the files"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page_of(code: &str) -> PathBuf {
    root().join(format!("docs/reference/diagnostics/{code}.md"))
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// The codes that the crates' sources hold as literals.
fn codes() -> BTreeSet<String> {
    let crates = ["crates/bus/src", "crates/mapping/src"];
    let texts = crates.iter().flat_map(|c| files(&root().join(c))).map(|file| std::fs::read_to_string(file).unwrap());
    let is_code = |quoted: &str| {
        let family = quoted.split_once('/').map(|(family, _)| family);
        family.is_some_and(|f| FAMILIES.iter().any(|(name, _)| *name == f))
            && quoted.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '/' | '-'))
    };
    let literals = texts.flat_map(|text| text.split('"').map(str::to_owned).collect::<Vec<_>>());
    literals.filter(|quoted| is_code(quoted)).collect()
}

/// What a person sees of each code: what the golden file of its name shows, or else the first that any does.
fn examples() -> BTreeMap<String, String> {
    let (mut examples, mut of_name) = (BTreeMap::new(), BTreeSet::new());
    for file in files(&root().join("crates/bus/tests/golden")) {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let shown = text.splitn(3, "---\n").nth(2).unwrap();
        for problem in shown.trim_end().split("\n\n") {
            let code = problem.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(code, _)| code);
            let code = code.unwrap();
            let named = code.replace('/', "-") == stem || code.split('/').nth(1) == Some(&stem);
            if named && of_name.insert(code.to_owned()) {
                examples.insert(code.to_owned(), problem.to_owned());
            }
            examples.entry(code.to_owned()).or_insert_with(|| problem.to_owned());
        }
    }
    examples
}

/// The page with this example, in the place of the one that it has.
fn with_example(page: &str, example: Option<&String>) -> String {
    let block = example.map_or_else(String::new, |example| format!("```text\n{example}\n```\n\n"));
    let (before, rest) = match page.split_once("```text\n") {
        Some((before, rest)) => (before, rest.split_once("```\n\n").unwrap().1),
        None => page.split_at(page.find("**What to do.**").unwrap()),
    };
    format!("{before}{block}{rest}")
}

/// The list of all codes with the first sentence of each page.
fn list(codes: &BTreeSet<String>) -> String {
    let mut list = "# What `tieline check` and `tieline test` say\n\nEach problem has a code, and each code a page: what it means, what one \
        sees, what to do.\n"
        .to_owned();
    for (family, about) in FAMILIES {
        list.push_str(&format!("\n## {family}: {about}\n\n| code | what it means |\n| --- | --- |\n"));
        for code in codes.iter().filter(|c| c.split('/').next() == Some(family)) {
            let page = std::fs::read_to_string(page_of(code)).unwrap();
            let means = page.lines().nth(2).unwrap().replace('|', "\\|");
            list.push_str(&format!("| [{code}]({code}.md) | {means} |\n"));
        }
    }
    list
}

/// Compares a file with what it should be, or writes it.
fn fresh(path: &Path, expect: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, expect).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    let path = path.strip_prefix(root()).unwrap().display();
    assert_eq!(there, expect, "{path} is stale: UPDATE=1 cargo test -p tieline-bus --test reference");
}

#[test]
fn each_code_has_a_page_and_each_page_a_code() {
    let pages = files(&root().join("docs/reference/diagnostics"));
    let of_page = |file: &PathBuf| {
        let below = file.strip_prefix(root().join("docs/reference/diagnostics")).unwrap();
        below.to_str().unwrap().strip_suffix(".md").unwrap().to_owned()
    };
    let pages: BTreeSet<String> = pages.iter().map(of_page).filter(|page| page != "README").collect();
    let codes = codes();
    assert!(codes.len() > 70, "the codes were not found: {codes:?}");
    assert_eq!(pages, codes, "pages on the left, codes on the right");
    for code in &codes {
        let page = std::fs::read_to_string(page_of(code)).unwrap();
        assert!(page.starts_with(&format!("# {code}\n\n")), "{code}: the page has another title");
        assert!(page.contains("**What to do.** "), "{code}: the page does not say what to do");
    }
}

#[test]
fn each_page_shows_what_a_person_sees() {
    let examples = examples();
    let codes = codes();
    assert_eq!(examples.keys().find(|code| !codes.contains(*code)), None, "a golden file has an old code");
    for code in &codes {
        let page = std::fs::read_to_string(page_of(code)).unwrap();
        fresh(&page_of(code), &with_example(&page, examples.get(code)));
    }
    fresh(&root().join("docs/reference/diagnostics/README.md"), &list(&codes));
}
