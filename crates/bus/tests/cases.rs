//! Cases run as their authors wrote them, and say at the right line what differs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::Edit::{self, Replace, Write};
use support::{BATCH, BATCH_CONTRACT, Copy};
use tieline_bus::run_cases;

const WON: &str = "consumers/erp-project/cases/won.yaml";
const MOVED: &str = "producers/crm-webhooks/cases/moved.yaml";

#[track_caller]
fn check(name: &str, edits: &[Edit<'_>]) {
    let copy = Copy::new(edits);
    let loaded = copy.load();
    let bus = loaded.bus.unwrap_or_else(|| panic!("{}", tieline_bus::render::human(copy.dir(), &loaded.problems)));
    let report = run_cases(&bus, None);
    assert_eq!(report.failed().count(), 1, "{report:?}");
    let text = tieline_bus::render::human(copy.dir(), &report.problems());
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("golden/cases");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_cases_of_the_good_bus_hold_and_are_chosen_by_name() {
    let copy = Copy::new(&[]);
    let bus = copy.load().bus.unwrap();
    let report = run_cases(&bus, None);
    assert_eq!(tieline_bus::render::human(copy.dir(), &report.problems()), "");
    assert_eq!(report.cases.len(), 4);
    let chosen = |only| run_cases(&bus, Some(only)).cases.len();
    assert_eq!(
        ["erp-project", "consumers/erp-project/", WON, "producers/crm-webhooks", "erp"].map(chosen),
        [2, 2, 1, 2, 0]
    );
}

#[test]
fn a_consumers_case_says_what_differs() {
    check("value", &[Replace(WON, "startDate: \"2026-11-25\"", "startDate: \"2026-11-24\"")]);
    check("not-there", &[Replace(WON, "      name: Rollout\n", "      name: Rollout\n      note: x\n")]);
    check("there", &[Replace(WON, "      name: Rollout\n", "")]);
    check(
        "taken-not-skipped",
        &[Replace(
            "consumers/erp-project/cases/lost.yaml",
            "stage: OPEN, amount: \"1.00\", owner_id: null",
            "stage: CLOSED_WON, amount: \"1.00\", owner_id: u",
        )],
    );
    check("skipped-not-taken", &[Replace(WON, "stage: CLOSED_WON", "stage: OPEN")]);
    check("not-refused", &[Replace("consumers/erp-project/cases/lost.yaml", "skipped: true", "refused: budget")]);
    check("event-does-not-fit", &[Replace(WON, "stage: CLOSED_WON", "stage: WON")]);
    check("look-up-missing", &[Replace(WON, "look_up:\n  manager: { display_name: Dana Weiss }\n", "")]);
    check("look-up-breaks-contract", &[Replace(WON, "{ display_name: Dana Weiss }", "{ display_name: 7 }")]);
    check("emitted-key", &[Replace(WON, "  key: D-1", "  key: D-2")]);
    check("unknown-field", &[Replace(WON, "response:", "responds:")]);
}

const DELETES: &str = "on_tombstone: { operation: deleteProject, with: { ref: $key } }\n\ndeliver:";

/// A contract with an operation that ends a project.
const DELETE: &str = "  /projects/{ref}:
    delete:
      operationId: deleteProject
      parameters: [{ name: ref, in: path, required: true, schema: { type: string } }]
      responses: { \"204\": { description: gone } }
  /ping:\n";

#[test]
fn a_case_can_be_a_tombstone() {
    let contract = Replace("systems/erp/openapi.yaml", "  /ping:\n", DELETE);
    let deletes = Replace("consumers/erp-project/consumer.yaml", "deliver:", DELETES);
    let gone = |expect: &str| {
        format!("purpose: A deal that is gone takes its project along.\ntombstone: D-1\nexpect: {expect}\n")
            .into_bytes()
    };
    let case = "consumers/erp-project/cases/gone.yaml";
    let holds = |edits: &[Edit<'_>]| {
        let copy = Copy::new(edits);
        let report = run_cases(&copy.load().bus.unwrap(), None);
        assert_eq!(tieline_bus::render::human(copy.dir(), &report.problems()), "");
        assert_eq!(report.cases.len(), 5);
    };
    let deleted = gone("{ request: { with: { ref: D-1 } } }");
    holds(&[contract, deletes, Write(case, &deleted)]);
    holds(&[Write(case, &gone("{ skipped: true }"))]);

    check("tombstone-skipped", &[Write(case, &deleted)]);
    check("tombstone-other-key", &[contract, deletes, Write(case, &gone("{ request: { with: { ref: D-2 } } }"))]);
    check("tombstone-taken", &[contract, deletes, Write(case, &gone("{ skipped: true }"))]);
}

#[test]
fn a_case_of_a_batch_is_a_request_with_its_item_alone() {
    let expect = "    body:
      mode: each
      inputs:
        - { externalId: D-1, name: \"Rollout of Dana Weiss, planned\", requestId: 00000000-0000-0000-0000-000000000000 }
response: { externalId: D-1, id: prj_1, status: 201 }";
    let body = "    body:
      externalId: D-1
      name: Rollout
      status: planned
      budget: 123.50
      startDate: \"2026-11-25\"
      managerName: Dana Weiss
response: { id: prj_1 }";
    let with = Replace(WON, "  request:\n", "  request:\n    with: { dry: false }\n");
    let copy = Copy::new(&[BATCH_CONTRACT, BATCH, Replace(WON, body, expect), with]);
    let report = run_cases(&copy.load().bus.unwrap(), None);
    assert_eq!(tieline_bus::render::human(copy.dir(), &report.problems()), "");
}

#[test]
fn a_producers_case_says_what_differs() {
    check("published-value", &[Replace(MOVED, "amount: \"123.45\"", "amount: \"123.40\"")]);
    check("published-id", &[Replace(MOVED, "  id: msg_1", "  id: msg_2")]);
    check("published-time", &[Replace(MOVED, "  key: D-1\n", "  key: D-1\n  time: \"2026-11-24T23:15:02Z\"\n")]);
    check(
        "not-ignored",
        &[Write(
            "producers/crm-webhooks/cases/x.yaml",
            b"purpose: x\nheaders: { webhook-id: m }\nbody: { type: deal.moved, at: \"2026-11-25T00:15:02Z\", deal: { id: a, title: b, stage: won, cents: 1 } }\nexpect: { ignored: true }\n",
        )],
    );
    check("body-breaks-contract", &[Replace(MOVED, "cents: 12345", "cents: -1")]);
}
