//! A small good bus in `tests/bus`, copied and broken in one place.

#![allow(dead_code)] // each test binary uses a part of it

use std::path::Path;

use tempfile::TempDir;
use tieline_bus::{Bus, Environment, Loaded};

/// What a test does to a copy of the good bus.
#[derive(Clone, Copy)]
pub enum Edit<'a> {
    /// Replaces a snippet that is there once.
    Replace(&'a str, &'a str, &'a str),
    /// Writes a file.
    Write(&'a str, &'a [u8]),
    /// Removes a file or a folder.
    Remove(&'a str),
    /// Copies a file.
    Copy(&'a str, &'a str),
}

/// A contract with an operation that takes a list.
pub const BATCH_CONTRACT: Edit<'_> = Edit::Replace(
    "systems/erp/openapi.yaml",
    "  /ping:\n",
    r#"  /projects/batch:
    post:
      operationId: createProjects
      parameters: [{ name: dry, in: query, schema: { type: boolean } }]
      requestBody: { required: true, content: { application/json: { schema: {
        type: object, additionalProperties: false, required: [inputs, mode], properties: {
          mode: { type: string, enum: [all, each] },
          inputs: { type: array, maxItems: 100, items: {
            type: object, additionalProperties: false, required: [externalId, name], properties: {
              externalId: { type: string, maxLength: 64 }, name: { type: string, not: { maxLength: 6 } },
              requestId: { type: string, format: uuid }, budget: { type: integer } } } } } } } } }
      responses: { "207": { description: each, content: { application/json: { schema: {
        type: object, required: [results], properties: {
          total: { type: integer },
          results: { type: array, items: { type: object, required: [externalId, id, status], properties: {
            externalId: { type: string }, id: { type: string }, status: { type: integer } } } },
          errors: { type: array, items: { type: object, required: [ref, code], properties: {
            ref: { type: string }, code: { type: string } } } } } } } } } }
  /ping:
"#,
);

/// The good consumer, with a call of that operation.
pub const BATCH: Edit<'_> = Edit::Replace("consumers/erp-project/consumer.yaml", CALL, BATCH_CALL);

const CALL: &str = r#"  operation: createProject
  body:
    externalId: .id | truncate(64)
    name: "{.title | truncate(60)}"
    status: .stage | translate(status)
    budget: .amount
    startDate: .changed_at | date(Europe/Berlin)
    managerName: $manager.display_name
"#;

const BATCH_CALL: &str = r#"  operation: createProjects
  with: { dry: false }
  batch:
    items_at: /inputs
    max: 50
    linger: 30ms
    id: /externalId
    outcomes:
      - { at: /results, means: { /status: status } }
      - { at: /errors, id: /ref, means: { /code: { BUSY: not_applied } } }
  body: { mode: "each" }
  item:
    externalId: .id | truncate(64)
    name: "{.title | truncate(60)} of {$manager.display_name}, {.stage | translate(status)}"
    requestId: $idempotency_key
"#;

/// A copy of the good bus.
pub struct Copy(TempDir);

impl Copy {
    pub fn new(edits: &[Edit<'_>]) -> Self {
        let dir = TempDir::new().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bus"), dir.path());
        let bus = Self(dir);
        edits.iter().for_each(|edit| bus.edit(edit));
        bus
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn load(&self) -> Loaded {
        Bus::load(self.dir(), &Known)
    }

    /// The same, where the webhook's secret has another value.
    pub fn load_with_secret(&self, secret: String) -> Loaded {
        Bus::load(self.dir(), &WithSecret(secret))
    }

    fn edit(&self, edit: &Edit<'_>) {
        let at = |path: &str| self.dir().join(path);
        match edit {
            Edit::Replace(path, from, to) => {
                let text = std::fs::read_to_string(at(path)).unwrap();
                assert_eq!(text.matches(from).count(), 1, "`{from}` is in {path} once");
                std::fs::write(at(path), text.replace(from, to)).unwrap();
            }
            Edit::Write(path, text) => {
                std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
                std::fs::write(at(path), text).unwrap();
            }
            Edit::Remove(path) if at(path).is_dir() => std::fs::remove_dir_all(at(path)).unwrap(),
            Edit::Remove(path) => std::fs::remove_file(at(path)).unwrap(),
            Edit::Copy(from, to) => {
                std::fs::create_dir_all(at(to).parent().unwrap()).unwrap();
                std::fs::copy(at(from), at(to)).unwrap();
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What the good bus needs. Every secret is a canary that no output may hold.
pub struct Known;

/// The same, but for the value of the webhook's secret.
struct WithSecret(String);

pub const CANARY: &str = "canary7f3a";

impl Environment for Known {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "ERP_URL").then(|| "https://erp.example.com/api".to_owned())
    }

    fn secret(&self, name: &str) -> Option<String> {
        let known = ["kafka-password", "erp-client-secret", "crm-webhook-secret"];
        // A secret of Standard Webhooks is base 64 of 24 bytes at least.
        let value = if name == "crm-webhook-secret" {
            format!("whsec_{}", CANARY.repeat(4))
        } else {
            format!("{CANARY}-{name}")
        };
        known.contains(&name).then_some(value)
    }
}

impl Environment for WithSecret {
    fn variable(&self, name: &str) -> Option<String> {
        Known.variable(name)
    }

    fn secret(&self, name: &str) -> Option<String> {
        if name == "crm-webhook-secret" { Some(self.0.clone()) } else { Known.secret(name) }
    }
}
