//! The command as a person uses it: exit codes, and texts that say what to do.

use std::path::Path;

use serde_json::Value;

use crate::process::tieline;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_flagship_has_no_problem_and_its_cases_hold() {
    let (code, out, error) = tieline(root(), &["check", "--strict"], &[]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.lines().any(|line| line.starts_with("0 errors, 0 warnings, ")), "{out}");
    let (code, out, error) = tieline(root(), &["test"], &[]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.ends_with("cases hold, 0 do not\n"), "{out}");
}

#[test]
fn a_new_bus_passes_check_and_test() {
    let dir = tempfile::tempdir().unwrap();
    let bus = dir.path().join("acme");
    let (code, out, error) = tieline(root(), &["init", bus.to_str().unwrap()], &[]);
    assert_eq!(code, 0, "{out}{error}");
    assert_eq!(tieline(&bus, &["check", "--strict"], &[]).0, 0);
    assert_eq!(tieline(&bus, &["test"], &[]).0, 0);
    let (code, _, error) = tieline(root(), &["init", bus.to_str().unwrap()], &[]);
    assert_eq!(code, 2);
    assert!(error.contains("is there already, and nothing was written"), "{error}");
}

#[test]
fn a_mistake_is_shown_with_its_place_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let bus = dir.path().join("acme");
    assert_eq!(tieline(root(), &["init", bus.to_str().unwrap()], &[]).0, 0);
    let file = bus.join("consumers/order-invoice/consumer.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(".customer | truncate(80)", ".custmer | truncate(80)")).unwrap();
    let (code, out, _) = tieline(&bus, &["check"], &[]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("error[mapping/unknown-field]"), "{out}");
    assert!(out.contains("consumers/order-invoice/consumer.yaml:11:"), "{out}");
    assert!(out.contains("did you mean `customer`"), "{out}");
    let (code, out, _) = tieline(&bus, &["check", "--json"], &[]);
    assert_eq!(code, 1);
    let problems: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(problems[0]["code"], "mapping/unknown-field");
    assert_eq!(problems[0]["line"], 11);
}

#[test]
fn a_directory_without_a_bus_and_an_unknown_service_are_wrong_usage() {
    let empty = tempfile::tempdir().unwrap();
    let (code, _, error) = tieline(empty.path(), &["check"], &[]);
    assert_eq!(code, 2);
    assert!(error.contains("has no tieline.yaml"), "{error}");
    let secret = |name: &str| (format!("TIELINE_SECRET_{name}"), "whsec_c2VjcmV0".to_owned());
    let bus = empty.path().join("acme");
    assert_eq!(tieline(root(), &["init", bus.to_str().unwrap()], &[]).0, 0);
    let environment = [secret("BILLING_TOKEN"), secret("SHOP_WEBHOOK_SECRET")];
    let (code, _, error) = tieline(&bus, &["run", "consumers/nobody"], &environment);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("it has producers/shop-webhooks, consumers/order-invoice"), "{error}");
}

#[test]
fn a_missing_secret_keeps_a_service_from_starting_and_says_how_to_set_it() {
    let dir = tempfile::tempdir().unwrap();
    let bus = dir.path().join("acme");
    assert_eq!(tieline(root(), &["init", bus.to_str().unwrap()], &[]).0, 0);
    let (code, _, error) = tieline(&bus, &["run"], &[]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("bus/missing-secret") && error.contains("TIELINE_SECRET_BILLING_TOKEN"), "{error}");
}
