//! Mistakes that people make in definitions, each in a copy of a good bus, and the text that they see.
//!
//! The golden files are in `golden/`; `INSTA_UPDATE=always cargo test -p tieline-bus` writes them anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::Edit::{Copy as CopyFile, Remove, Replace, Write};
use support::{BATCH, BATCH_CONTRACT, CANARY, Copy, Edit};
use tieline_bus::Loaded;

const TIELINE: &str = "tieline.yaml";
const ERP: &str = "systems/erp/system.yaml";
const ERP_CONTRACT: &str = "systems/erp/openapi.yaml";
const EVENT: &str = "schemas/crm.deal_stage_changed.avsc";
const PRODUCER: &str = "producers/crm-webhooks/producer.yaml";
const CONSUMER: &str = "consumers/erp-project/consumer.yaml";

/// Every problem of the broken bus, as a person sees it.
#[track_caller]
fn check(name: &str, edits: &[Edit<'_>]) {
    let bus = Copy::new(edits);
    shows(name, &bus, bus.load());
}

#[track_caller]
fn shows(name: &str, bus: &Copy, loaded: Loaded) {
    let text = tieline_bus::render::human(bus.dir(), &loaded.problems);
    let json = tieline_bus::render::json(bus.dir(), &loaded.problems);
    assert!(!text.is_empty(), "{name}: nothing is reported");
    assert!(!text.contains(CANARY) && !json.contains(CANARY), "{name}: a secret is shown");
    assert!(
        text.contains("error[") != loaded.bus.is_some(),
        "{name}: a bus with errors cannot run, one with warnings can"
    );
    golden(name, &text);
}

#[track_caller]
fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_good_bus_has_no_problem() {
    let bus = Copy::new(&[]);
    let loaded = bus.load();
    assert_eq!(tieline_bus::render::human(bus.dir(), &loaded.problems), "");
    assert_eq!(tieline_bus::render::json(bus.dir(), &loaded.problems), "[]");
    let bus = loaded.bus.unwrap();
    assert_eq!(bus.systems["erp"].base_url, "https://erp.example.com/api");
    assert!(!format!("{bus:?}").contains(CANARY));
}

#[test]
fn files_and_yaml() {
    check("no-bus", &[Remove(TIELINE)]);
    check("yaml-tab", &[Replace(TIELINE, "language: 1", "language: 1\nkafka:\n\tbrokers: x")]);
    check("yaml-unclosed-quote", &[Replace(CONSUMER, "truncate(60)}\"", "truncate(60)}")]);
    check("yaml-second-colon", &[Replace(CONSUMER, "purpose: A won deal", "purpose: A won deal: it")]);
    check("yaml-duplicate-key", &[Replace(CONSUMER, "    budget: .amount", "    budget: .amount\n    budget: 1")]);
    check("yaml-flow-comma", &[Replace(CONSUMER, "{ id: .owner_id }", "{ id: .owner_id | replace(a, b) }")]);
    check("yaml-variable-in-flow", &[Replace(ERP, "limits: { per_second: 20", "limits: { per_second: ${RATE}")]);
    check("json-syntax", &[Replace(EVENT, "\"doc\": \"A deal moved.\",", "\"doc\": \"A deal moved.\"")]);
    check("missing-contract-file", &[Replace(ERP, "contract: openapi.yaml", "contract: openapi.yml")]);
    check("file-outside", &[Replace(ERP, "contract: openapi.yaml", "contract: ../crm/openapi.yaml")]);
    check("missing-definition", &[Write("systems/billing/openapi.yaml", b"openapi: 3.1.0\n")]);
    check("not-utf8", &[Write(ERP, b"purpose: K\xfcche\n")]);
}

#[test]
fn fields() {
    check("unknown-field", &[Replace(CONSUMER, "subscribe:", "subscribes:")]);
    check("missing-field", &[Replace(CONSUMER, "owner: revenue@example.com\n", "")]);
    check("empty-field", &[Replace(CONSUMER, "owner: revenue@example.com", "owner:")]);
    check(
        "wrong-type",
        &[Replace(
            CONSUMER,
            "deliver: { order: key, in_flight: 64, patience: 30s, give_up_after: 72h }",
            "deliver: fast",
        )],
    );
    check("wrong-duration", &[Replace(CONSUMER, "patience: 30s", "patience: 30")]);
    check("wrong-number", &[Replace(CONSUMER, "in_flight: 64", "in_flight: many")]);
    check("wrong-word", &[Replace(CONSUMER, "order: key", "order: keys")]);
    check("wrong-address", &[Replace(TIELINE, "\"http://127.0.0.1:8081\"", "127.0.0.1:8081")]);
    check("wrong-size", &[Replace(ERP, "deadline: 10s", "response_bytes_max: 64k")]);
    let size = "contract: webhook.schema.json\n    body_bytes_max:";
    check("webhook-body-too-large", &[Replace(PRODUCER, "contract: webhook.schema.json", &format!("{size} 3MiB"))]);
    assert!(
        Copy::new(&[Replace(PRODUCER, "contract: webhook.schema.json", &format!("{size} 2MiB"))]).load().bus.is_some()
    );
    check("wrong-start", &[Replace(CONSUMER, "order: key", "start: yesterday")]);
    check("both-fields", &[Replace(ERP, "  oauth2:", "  basic: { username: a, password: secret:b }\n  oauth2:")]);
    check("language", &[Replace(TIELINE, "language: 1", "language: 2")]);
    check("reserved-setting", &[Replace(TIELINE, "settings: {", "settings: { enable.auto.offset.store: true,")]);
}

#[test]
fn variables_and_secrets() {
    check("missing-variable", &[Replace(ERP, "base_url: ${ERP_URL}", "base_url: https://${ERP_HOST}/api")]);
    check("bad-variable", &[Replace(ERP, "base_url: ${ERP_URL}", "base_url: \"${ERP URL}\"")]);
    check("missing-secret", &[Replace(ERP, "secret:erp-client-secret", "secret:erp-client-sekret")]);
    check("secret-in-file", &[Replace(ERP, "secret:erp-client-secret", CANARY)]);
    check("secret-here", &[Replace(ERP, "client_id: tieline", "client_id: secret:erp-client-secret")]);
    check("variable-in-mapping", &[Replace(CONSUMER, "budget: .amount", "budget: ${BUDGET}")]);
}

#[test]
fn secrets_of_webhooks() {
    let bus = Copy::new(&[]);
    let value = |secret: &str| bus.load_with_secret(secret.to_owned());
    shows("webhook-secret-short", &bus, value("whsec_canary7f3acanary7f3a"));
    shows("webhook-secret-long", &bus, value(&format!("whsec_{}", CANARY.repeat(9))));
    shows("webhook-secret-form", &bus, value(&CANARY.repeat(4)));
    for right in ["whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5", &format!("whsec_{}ca=", CANARY.repeat(8))] {
        assert!(value(right).problems.is_empty(), "{right}");
    }
    // One that stands in the open is reported for that alone, and not shown.
    check("webhook-secret-in-file", &[Replace(PRODUCER, "secret:crm-webhook-secret", CANARY)]);
}

#[test]
fn tombstones() {
    let contract = Replace(
        ERP_CONTRACT,
        "  /ping:\n",
        "  /projects/{ref}:
    delete:
      operationId: deleteProject
      parameters:
        - { name: ref, in: path, required: true, schema: { type: string } }
        - { name: hard, in: query, schema: { type: boolean } }
      responses: { \"204\": { description: gone } }
    get:
      operationId: getProject
      parameters: [{ name: ref, in: path, required: true, schema: { type: string } }]
      responses: { \"204\": { description: there } }
  /ping:\n",
    );
    let says = |name: &str, on_tombstone: &str| {
        check(name, &[contract, Replace(CONSUMER, "deliver:", &format!("on_tombstone: {on_tombstone}\n\ndeliver:"))]);
    };
    let right = "{ operation: deleteProject, with: { ref: $key } }";
    let good = format!("on_tombstone: {right}\n\ndeliver:");
    let bus = Copy::new(&[contract, Replace(CONSUMER, "deliver:", &good)]);
    let loaded = bus.load();
    assert_eq!(tieline_bus::render::human(bus.dir(), &loaded.problems), "");
    let with = loaded.bus.unwrap().consumers["erp-project"].fingerprint;
    assert_ne!(with, Copy::new(&[contract]).load().bus.unwrap().consumers["erp-project"].fingerprint);

    says("tombstone-unknown-operation", "{ operation: deleteProjects, with: { ref: $key } }");
    says("tombstone-missing-parameter", "{ operation: deleteProject }");
    says("tombstone-wrong-type", "{ operation: deleteProject, with: { ref: $key, hard: $key } }");
    says("tombstone-reads-the-event", "{ operation: deleteProject, with: { ref: .id } }");
    says(
        "tombstone-reads-a-look-up",
        "{ operation: deleteProject, with: { ref: \"{$key}-{$manager.display_name}\" } }",
    );
    says("tombstone-without-key", "{ operation: deleteProject, with: { ref: \"all\" } }");
    says("tombstone-asks", "{ operation: getProject, with: { ref: $key } }");
    says("tombstone-other-system", "{ system: crm, operation: deleteProject, with: { ref: $key } }");
}

#[test]
fn batches() {
    let bus = Copy::new(&[BATCH_CONTRACT, BATCH]);
    let loaded = bus.load();
    assert_eq!(tieline_bus::render::human(bus.dir(), &loaded.problems), "");
    let bus = loaded.bus.unwrap();
    let batch = bus.consumers["erp-project"].call.batch.as_ref().unwrap();
    let body = batch.body([&b"1"[..], b"2"]);
    assert_eq!(std::str::from_utf8(&body).unwrap(), r#"{"mode":"each","inputs":[1,2]}"#);
    assert_eq!(batch.with, [("dry".to_owned(), "false".to_owned())]);
    assert!(batch.keyed);

    let says = |name: &str, old: &str, new: &str| check(name, &[BATCH_CONTRACT, BATCH, Replace(CONSUMER, old, new)]);
    says("batch-no-list", "items_at: /inputs", "items_at: /mode");
    says("batch-unknown-place", "items_at: /inputs", "items_at: /input");
    says("batch-too-many", "max: 50", "max: 200");
    says("batch-more-than-in-flight", "in_flight: 64", "in_flight: 16");
    says("batch-item", "requestId: $idempotency_key", "requestId: .title\n    budget: .amount");
    says(
        "batch-item-example",
        "name: \"{.title | truncate(60)} of {$manager.display_name}, {.stage | translate(status)}\"",
        "name: .title",
    );
    says("batch-without-item", "  item:\n    externalId: .id | truncate(64)", "  body_of_item:\n    externalId: .id");
    says("batch-shared-reads-the-event", "mode: \"each\"", "mode: .stage");
    says("batch-shared-missing", "  body: { mode: \"each\" }\n", "");
    says("batch-outcomes-no-list", "at: /results", "at: /total");
    says("batch-outcomes-unknown-place", "means: { /code:", "means: { /category:");
    says("batch-never-applied", "/status: status", "/status: { \"201\": refused }");
    says("batch-applied-twice", "BUSY: not_applied", "DONE: applied");
    says("batch-by-position-of-two", "    id: /externalId\n", "");
    says("batch-not-a-meaning", "/status: status", "/status: http");
    says("batch-at-least-once", "    requestId: $idempotency_key\n", "");
    says("batch-emit", "project_id: $response.id", "project_id: $response.results");
    let look_up = "idempotency: { look_up: { createProjects: { operation: findProjects } } }";
    let find = "  /found:
    get:
      operationId: findProjects
      responses: { \"200\": { description: it, content: { application/json: { schema: { type: object, properties: {} } } } } }
  /projects:\n";
    let found = Replace(ERP_CONTRACT, "  /projects:\n", find);
    let asks = Replace(ERP, "idempotency: { header: Idempotency-Key, remembers: 72h }", look_up);
    check("batch-look-up", &[BATCH_CONTRACT, BATCH, found, asks]);
}

#[test]
fn names_and_topics() {
    check(
        "folder-name",
        &[
            CopyFile("systems/crm/system.yaml", "systems/Crm_2/system.yaml"),
            CopyFile("systems/crm/openapi.yaml", "systems/Crm_2/openapi.yaml"),
        ],
    );
    check(
        "topic-collision",
        &[
            CopyFile("schemas/erp.project_created.avsc", "schemas/erp_project.created.avsc"),
            Replace("schemas/erp_project.created.avsc", "\"namespace\": \"erp\"", "\"namespace\": \"erp_project\""),
            Replace("schemas/erp_project.created.avsc", "\"project_created\"", "\"created\""),
        ],
    );
    check(
        "two-topics",
        &[Replace(
            TIELINE,
            "language: 1",
            "language: 1\ntopics:\n  deals: [crm.deal_stage_changed]\n  sales: [crm.deal_stage_changed, crm.deal_lost]",
        )],
    );
    check(
        "duplicate-path",
        &[
            CopyFile(PRODUCER, "producers/crm-two/producer.yaml"),
            CopyFile("producers/crm-webhooks/webhook.schema.json", "producers/crm-two/webhook.schema.json"),
        ],
    );
}

#[test]
fn schemas_and_contracts() {
    check("schema-name-of-copy", &[CopyFile(EVENT, "schemas/a.b.avsc")]);
    check("schema-event-name", &[CopyFile(EVENT, "schemas/Deals.avsc")]);
    check("schema-name", &[Replace(EVENT, "\"namespace\": \"crm\"", "\"namespace\": \"sales\"")]);
    check("schema-undocumented", &[Replace(EVENT, ", \"doc\": \"Its title.\"", "")]);
    check(
        "schema-not-avro",
        &[Replace(
            EVENT,
            "\"type\": \"string\", \"doc\": \"Its title.\"",
            "\"type\": \"text\", \"doc\": \"Its title.\"",
        )],
    );
    check("schema-unsupported", &[Replace(EVENT, "[\"null\", \"string\"]", "[\"null\", \"string\", \"long\"]")]);
    check(
        "contract-invalid",
        &[Replace(ERP_CONTRACT, "enum: [planned, cancelled]", "$ref: \"#/components/schemas/Status\"")],
    );
}

#[test]
fn what_refers_to_what() {
    check(
        "unknown-event",
        &[Replace(CONSUMER, "subscribe: crm.deal_stage_changed", "subscribe: crm.deal_stage_change")],
    );
    check("unknown-event-published", &[Replace(PRODUCER, "event: crm.deal_stage_changed", "event: crm.deal_moved")]);
    check("unknown-system", &[Replace(CONSUMER, "  system: erp", "  system: epr")]);
    let limits =
        "limits: { per_second: 20, time_zone: Europe/Berlim, weights: { erp-projects: 3 }, cost: { at: tokens } }";
    check("unknown-consumer", &[Replace(ERP, "limits: { per_second: 20, in_flight: 16 }", limits)]);
    check("unknown-operation", &[Replace(CONSUMER, "operation: createProject", "operation: createProjekt")]);
    check("unknown-operation-in-answers", &[Replace(ERP, "createProject:", "makeProject:")]);
    check("missing-parameter", &[Replace(CONSUMER, "with: { id: .owner_id }, ", "")]);
    check("unknown-parameter", &[Replace(CONSUMER, "{ id: .owner_id }", "{ id: .owner_id, idd: .id }")]);
    check("unused-look-up", &[Replace(CONSUMER, "\n    managerName: $manager.display_name", "")]);
    check(
        "unsafe-look-up",
        &[Replace(
            CONSUMER,
            "system: crm, operation: getUser, with: { id: .owner_id }",
            "system: erp, operation: createProject",
        )],
    );
    check(
        "no-answer",
        &[
            Replace(
                "systems/crm/openapi.yaml",
                "      responses: { \"201\": { description: made } }",
                "      responses: { \"201\": { description: made } }\n    get:\n      operationId: countNotes\n      responses: { \"204\": { description: none } }",
            ),
            Replace(CONSUMER, "operation: getUser, with: { id: .owner_id }", "operation: countNotes"),
            Replace(CONSUMER, "\n    managerName: $manager.display_name", ""),
        ],
    );
    check(
        "missing-body",
        &[Replace(
            CONSUMER,
            "  body:\n    externalId: .id | truncate(64)\n    name: \"{.title | truncate(60)}\"\n    status: .stage | translate(status)\n    budget: .amount\n    startDate: .changed_at | date(Europe/Berlin)\n    managerName: $manager.display_name\n",
            "",
        )],
    );
    check("unexpected-body", &[Replace(CONSUMER, "operation: createProject", "operation: ping")]);
    check(
        "at-least-once",
        &[Replace(ERP, "idempotency: { header: Idempotency-Key, remembers: 72h }", "idempotency: none")],
    );
    check("forgotten-key", &[Replace(ERP, "remembers: 72h", "remembers: 24h")]);
    check("park-schedule", &[Replace(CONSUMER, "give_up_after: 72h", "park_schedule: []")]);
    check("patience", &[Replace(CONSUMER, "give_up_after: 72h", "give_up_after: 10s")]);
    check("order-none", &[Replace(CONSUMER, "order: key", "order: none, on_dead_letter: hold")]);
    check(
        "look-up-name",
        &[Replace(CONSUMER, "  manager: {", "  response: {"), Replace(CONSUMER, "$manager", "$response")],
    );
}

#[test]
fn mappings() {
    check("mapping-unknown-field", &[Replace(CONSUMER, "budget: .amount", "budget: .ammount")]);
    check("mapping-missing-required", &[Replace(CONSUMER, "    budget: .amount\n", "")]);
    check("mapping-unknown-target", &[Replace(CONSUMER, "    budget: .amount", "    budgget: 1\n    budget: .amount")]);
    check("mapping-no-translation", &[Replace(CONSUMER, "when: .stage == 'CLOSED_WON' and", "when:")]);
    check("mapping-impossible", &[Replace(CONSUMER, "'CLOSED_WON'", "'CLOSEDWON'")]);
    check("mapping-not-accepted", &[Replace(CONSUMER, "CLOSED_WON: planned", "CLOSED_WON: running")]);
    check(
        "mapping-wrong-type",
        &[Replace(CONSUMER, "    budget: .amount", "    budget: .amount\n    quantity: .amount")],
    );
    check("mapping-null", &[Replace(CONSUMER, " and .owner_id != null", "")]);
    check(
        "mapping-unused",
        &[
            Replace(CONSUMER, "CLOSED_WON: planned }", "CLOSED_WON: planned, OPEN: cancelled }"),
            Replace(CONSUMER, "$manager.display_name\n", "$manager.display_name\n  residual: { name: dead-letter }\n"),
        ],
    );
    check(
        "mapping-parameter-too-long",
        &[Replace("systems/crm/openapi.yaml", "schema: { type: string }", "schema: { type: string, maxLength: 64 }")],
    );
    check("mapping-zone", &[Replace(CONSUMER, ".changed_at | date(Europe/Berlin)", ".changed_at")]);
    check("mapping-too-long", &[Replace(CONSUMER, ".id | truncate(64)", ".id")]);
    check("mapping-plain-text", &[Replace(CONSUMER, ".stage | translate(status)", "planned")]);
    check(
        "mapping-example-refused",
        &[Replace(ERP_CONTRACT, "budget: { type: number }", "budget: { type: number, not: { const: 0 } }")],
    );
    check("mapping-no-example", &[Replace(CONSUMER, "when: .stage", "when: (.id | hash) == 'ab' and .stage")]);
    check("mapping-response-in-call", &[Replace(CONSUMER, "budget: .amount", "budget: $response.total")]);
    check("mapping-emit", &[Replace(CONSUMER, "project_id: $response.id", "project_id: $response.number")]);
    check(
        "mapping-narrowing-does-not-leak",
        &[Replace(
            PRODUCER,
            "      changed_at: .at\n",
            "      changed_at: .at\n  - event: erp.project_created\n    id: $header.webhook-id\n    key: .deal.id\n    payload: { project_id: .type, deal_id: .type }\n",
        )],
    );
    check("mapping-header-may-be-missing", &[Replace(PRODUCER, "key: .deal.id", "key: $header.x-key")]);
}

#[test]
fn expressions() {
    let field = |name: &str, line: &str| check(name, &[Replace(CONSUMER, "budget: .amount", line)]);
    field("mapping-division-by-zero", "budget: .amount / 0");
    field("mapping-empty", "budget:");
    field("mapping-never-null", "budget: if .amount != null then .amount else 0");
    field("mapping-unused-default", "budget: .amount ?? 0");
    field("mapping-unknown-function", "budget: .amount | rond(2)");
    check(
        "mapping-unlike-types",
        &[Replace(CONSUMER, "$manager.display_name", "if .amount > 5 then $manager.display_name else .amount")],
    );
    check("mapping-wrong-argument", &[Replace(CONSUMER, "date(Europe/Berlin)", "date(Europe/Berln)")]);
    check("mapping-unknown-table", &[Replace(CONSUMER, "translate(status)", "translate(statsu)")]);
    check("mapping-not-an-expression", &[Replace(CONSUMER, "key: .id", "key: [.id]")]);
    check(
        "mapping-null-in-text",
        &[
            Replace(CONSUMER, " and .owner_id != null", ""),
            Replace(CONSUMER, "id: .owner_id }", "id: .owner_id ?? 'u-1' }"),
            Replace(
                CONSUMER,
                "managerName: $manager.display_name",
                "managerName: \"{$manager.display_name} ({.owner_id})\"",
            ),
        ],
    );
}

#[test]
fn tables_residuals_and_what_the_contract_demands() {
    let name = "name: { type: string, maxLength: 80 }";
    check("mapping-table", &[Replace(CONSUMER, "status: { CLOSED_WON: planned }", "status: planned")]);
    check("mapping-unused-table", &[Replace(CONSUMER, "tables:", "tables:\n  cycle: { ONCE: one_time }")]);
    check("mapping-residual", &[Replace(CONSUMER, "\nemit:", "\n  residual: { name: ignore }\nemit:")]);
    check(
        "mapping-not-proven",
        &[Replace(ERP_CONTRACT, name, "name: { type: string, maxLength: 80, pattern: \"^[A-Z]\" }")],
    );
    check("mapping-too-short", &[Replace(ERP_CONTRACT, name, "name: { type: string, maxLength: 80, minLength: 1 }")]);
    check(
        "mapping-out-of-range",
        &[Replace(ERP_CONTRACT, "budget: { type: number }", "budget: { type: number, minimum: 0 }")],
    );
    check(
        "mapping-unlisted-field",
        &[
            Replace(ERP_CONTRACT, "additionalProperties: false", "additionalProperties: true"),
            Replace(CONSUMER, "    budget: .amount", "    budget: .amount\n    colour: \"red\""),
        ],
    );
    let quantity = "quantity: { type: integer }";
    let tags =
        "quantity: { type: integer }\n                tags: { type: array, minItems: 1, items: { type: string } }";
    check(
        "mapping-items",
        &[
            Replace(ERP_CONTRACT, quantity, tags),
            Replace(CONSUMER, "    budget: .amount", "    budget: .amount\n    tags: []"),
        ],
    );
    let looped = "    budget: .amount\n    tags:\n      - for: $manager in .title | split(',')\n        item: $manager";
    check(
        "mapping-name-taken",
        &[Replace(ERP_CONTRACT, quantity, tags), Replace(CONSUMER, "    budget: .amount", looped)],
    );
}

#[test]
fn what_yaml_has_and_definitions_do_not() {
    check("yaml-anchor", &[Replace(CONSUMER, "owner: revenue@example.com", "owner: &us revenue@example.com")]);
    check(
        "yaml-alias",
        &[
            Replace(CONSUMER, "purpose: A won", "purpose: &us A won"),
            Replace(CONSUMER, "owner: revenue@example.com", "owner: *us"),
        ],
    );
    check("yaml-tag", &[Replace(CONSUMER, "owner: revenue@example.com", "owner: !!str revenue@example.com")]);
    check("yaml-key", &[Replace(CONSUMER, "owner: revenue@example.com", "[owner]: revenue@example.com")]);
    check("yaml-documents", &[Replace(TIELINE, "language: 1", "language: 1\n---\nlanguage: 1")]);
}

#[test]
fn all_problems_of_all_files_are_reported_in_one_run() {
    check(
        "many",
        &[
            Replace(TIELINE, "language: 1", "language: one"),
            Replace(ERP, "owner: erp-team@example.com\n", ""),
            Replace(EVENT, ", \"doc\": \"Its title.\"", ""),
            Replace(PRODUCER, "path: /hooks/crm", "path: hooks/crm"),
            Replace(CONSUMER, "patience: 30s", "patience: long"),
        ],
    );
}

/// Each code is shown by a golden file, but for two that would fill pages.
#[test]
fn every_code_has_a_golden_file() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_dir(root.join("tests/golden")).unwrap().map(|f| f.unwrap().path());
    let golden: String = golden.filter(|f| f.is_file()).map(|f| std::fs::read_to_string(f).unwrap()).collect();
    let mut sources = vec![root.join("src"), root.join("../mapping/src")];
    let mut missing = Vec::new();
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(std::fs::read_dir(path).unwrap().map(|f| f.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let families = ["bus/", "schema/", "contract/", "json/", "mapping/", "yaml/"];
        let bulky = ["yaml/too-deep", "yaml/too-large"];
        let codes = text.split('"').filter(|q| families.iter().any(|f| q.starts_with(f)) && !bulky.contains(q));
        for quoted in codes {
            let is_code = quoted.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '/' | '-'));
            if is_code && !golden.contains(&format!("[{quoted}]")) {
                missing.push(quoted.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "no golden file shows {missing:?}");
}

/// The ERP without a key, whose projects can be found by our own reference.
const FOUND: &str = "idempotency:
  look_up:
    createProject:
      operation: findProjects
      with: { externalId: .externalId }
      found_at: /projects
      found_when: $found.externalId == .externalId";

/// Its contract with that question.
fn with_question(item: &str) -> String {
    let question = format!(
        "paths:
  /projects/search:
    get:
      operationId: findProjects
      parameters: [{{ name: externalId, in: query, required: true, schema: {{ type: string }} }}]
      responses:
        \"200\":
          description: those that are there
          content:
            application/json:
              schema:
                type: object
                required: [projects]
                properties:
                  projects: {{ type: array, items: {{ type: object, required: [externalId, {item}], properties: {{ externalId: {{ type: string }}, {item}: {{ type: string }} }} }} }}
"
    );
    question
}

#[test]
fn one_effect() {
    const KEY: &str = "idempotency: { header: Idempotency-Key, remembers: 72h }";
    let (good, poor) = (with_question("id"), with_question("number"));
    let found = |from: &'static str, to: &'static str| FOUND.replace(from, to);

    let sound = Copy::new(&[Replace(ERP, KEY, FOUND), Replace(ERP_CONTRACT, "paths:\n", &good)]).load();
    assert_eq!(sound.problems.iter().map(|p| p.diagnostic.message.as_str()).collect::<Vec<_>>(), [""; 0]);

    let check_found = |name: &str, definition: &str, contract: &str| {
        check(name, &[Replace(ERP, KEY, definition), Replace(ERP_CONTRACT, "paths:\n", contract)]);
    };
    check_found("effect-not-readable", FOUND, &poor);
    check_found("effect-unknown-place", &found("/projects", "/project"), &good);
    check_found("effect-no-pointer", &found("/projects", "projects"), &good);
    check_found("effect-when", &found(".externalId\"", "").replace("== .externalId", "== .external_id"), &good);
    check_found("effect-unsafe", &found("operation: findProjects", "operation: ping"), &good);
    check_found("effect-of-nothing", &found("createProject:", "createProjects:"), &good);
    check_found("effect-parameter", &found("with: { externalId: .externalId }", "with: {}"), &good);

    check("effect-nothing-said", &[Replace(ERP, KEY, "idempotency: {}")]);
    check(
        "effect-key-without-header",
        &[Replace(ERP, "{ header: Idempotency-Key, remembers: 72h }", "{ upsert: {}, remembers: 24h }")],
    );
    check("effect-both", &[Replace(ERP, "remembers: 72h }", "upsert: { if_match: true } }")]);
    check("effect-no-version", &[Replace(ERP, KEY, "idempotency: { upsert: { if_match: true } }")]);
    let conflict = |what: &'static str| format!("idempotency: {{ header: Idempotency-Key, conflict: {what} }}");
    check("conflict-word", &[Replace(ERP, KEY, &conflict("{ 409: in_progres }"))]);
    check("conflict-status", &[Replace(ERP, KEY, &conflict("{ conflict: exists }"))]);
    check(
        "conflict-pointer",
        &[Replace(ERP, KEY, &conflict("{ 400: { error.type: { idempotency_error: mismatch } } }"))],
    );
    check("client-auth", &[Replace(ERP, "client_id: tieline", "client_id: tieline\n    client_auth: post")]);
}
