//! docs/reference/functions.md is made from the functions themselves, whose examples run as tests.
//! `UPDATE=1 cargo test -p tieline-mapping --test reference` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

fn page() -> String {
    let mut page = "# Functions of the mapping language\n\nEach is applied to what stands before its bar, `value | function(arguments)`. \
        It is pure: the same event gives the same bytes.\nNull goes through every one untouched. How they are used is in \
        [the language's own page](mapping-language.md#functions).\n"
        .to_owned();
    for family in tieline_mapping::families() {
        page.push_str(&format!("\n## Of {}\n", family.name));
        for function in family.functions {
            let (expression, value) = function.example;
            page.push_str(&format!("\n### {}\n`{}`\n\n{}\n", function.name, function.signature, function.doc));
            page.push_str(&format!("\n```text\n{expression}\n= {value}\n```\n"));
        }
    }
    page
}

#[test]
fn the_page_of_the_functions_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/functions.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(there, page(), "it is stale: UPDATE=1 cargo test -p tieline-mapping --test reference");
}
