//! The stand-ins, called as a bus would call the real systems.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tieline_sandbox::systems::{Expected, Fault, Repeats, Spec, Systems};
use tieline_schema::contract::Contract;

#[tokio::test]
async fn a_call_makes_one_object_that_can_be_read_again() {
    let erp = Erp::start(Expected::None).await;
    let response = erp.create("D-1").send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["location"]),
        (StatusCode::CREATED, &"/v2/projects/prj-1".parse().unwrap())
    );
    let project: Value = response.json().await.unwrap();
    assert_eq!(project["id"], "prj-1");
    assert_eq!((&project["number"], &project["status"]), (&json!("P-2026-0815"), &json!("draft")));
    assert_eq!((&project["externalId"], &project["budget"]), (&json!("D-1"), &json!(125000.5)));
    let made: jiff::Timestamp = project["createdAt"].as_str().unwrap().parse().unwrap();
    assert!((jiff::Timestamp::now() - made).as_secs().abs() < 60);

    let second: Value = erp.create("D-2").send().await.unwrap().json().await.unwrap();
    assert_eq!((&second["id"], &second["number"]), (&json!("prj-2"), &json!("P-2026-0816")));
    assert_eq!(erp.json("/v2/projects/prj-1").await, (200, project.clone()));
    assert_eq!(erp.json("/v2/projects?externalId=D-2").await, (200, json!({ "items": [second] })));
    assert_eq!(erp.json("/v2/projects/prj-9").await.0, 404);
    let changed =
        erp.call(Method::PATCH, "/v2/projects/prj-1").json(&json!({ "status": "done" })).send().await.unwrap();
    assert_eq!(changed.json::<Value>().await.unwrap()["status"], "done");
    assert_eq!(erp.call(Method::DELETE, "/v2/projects/prj-1").send().await.unwrap().status(), 204);
    assert_eq!(erp.json("/v2/projects/prj-1").await.0, 404);
}

#[tokio::test]
async fn what_it_did_not_make_is_shown_from_its_seed_or_by_example() {
    let erp = Erp::start(Expected::None).await;
    assert_eq!(erp.json("/v2/users/user-7").await.1["name"], "Dana Weiss");
    assert_eq!(erp.json("/v2/users/user-8").await.1["name"], "Sam Okafor"); // of the spec's seed
    assert_eq!(erp.json("/v2/users/stranger").await, (200, json!({ "id": "stranger", "name": "An example" })));
    let changed = erp.call(Method::PATCH, "/v2/users/other").json(&json!({ "phone": "1" })).send().await.unwrap();
    assert_eq!(changed.json::<Value>().await.unwrap(), json!({ "id": "other", "name": "An example", "phone": "1" }));
}

#[tokio::test]
async fn a_request_that_breaks_the_contract_is_refused_with_a_pointer_and_has_no_effect() {
    let erp = Erp::start(Expected::None).await;
    let check = async |body: Value, pointer: &str| {
        let response = erp.call(Method::POST, "/v2/projects").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    };
    check(json!({ "externalId": "D-1" }), "").await;
    check(json!({ "externalId": "D-1", "budget": "much" }), "/budget").await;
    let limit = erp.json("/v2/projects?limit=1000").await;
    assert_eq!((limit.0, &limit.1["errors"][0]["pointer"]), (422, &json!("/query/limit")));
    let broken = erp.call(Method::POST, "/v2/projects").body("{").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    assert!(erp.systems.journal().iter().all(|arrival| !arrival.applied));
    assert_eq!(erp.json("/v2/projects").await.1, json!({ "items": [] }));
}

#[tokio::test]
async fn paths_and_methods_that_the_contract_does_not_have_are_refused() {
    let erp = Erp::start(Expected::None).await;
    assert_eq!(erp.json("/v2/invoices").await.0, 404);
    let response = erp.call(Method::PUT, "/v2/projects").send().await.unwrap();
    assert_eq!(
        (response.status(), response.headers()["allow"].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "POST, GET")
    );
}

#[tokio::test]
async fn an_idempotency_key_makes_one_effect_of_many_attempts() {
    let erp = Erp::start(Expected::None).await;
    let first: Value = erp.create("D-1").header("idempotency-key", "k1").send().await.unwrap().json().await.unwrap();
    let again = erp.create("D-1").header("idempotency-key", "\"k1\"").send().await.unwrap(); // quoted, as RFC 8941 has it
    assert_eq!(
        (again.status(), &again.headers()["idempotent-replay"]),
        (StatusCode::CREATED, &"true".parse().unwrap())
    );
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    assert_eq!(erp.create("D-2").header("idempotency-key", "k1").send().await.unwrap().status(), 422);
    let journal = erp.systems.journal();
    assert_eq!(journal.iter().map(|a| a.applied).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(journal.iter().map(|a| a.replayed).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(journal[1].idempotency_key.as_deref(), Some("k1"));
    assert_eq!(journal[0].body_sha256, journal[1].body_sha256);
}

#[tokio::test]
async fn an_effect_can_be_made_whose_answer_never_comes() {
    let erp = Erp::start(Expected::None).await;
    erp.systems.fault("erp", Fault { drop_after_effect_share: 1.0, ..Fault::default() });
    assert!(erp.create("D-1").header("idempotency-key", "k1").send().await.is_err());
    let again = erp.create("D-1").header("idempotency-key", "k1").send().await.unwrap(); // a replay makes no effect
    assert_eq!(again.status(), 201);
    let journal = erp.systems.journal();
    assert_eq!((journal.len(), journal[0].applied, journal[0].dropped, journal[1].applied), (2, true, true, false));
}

#[tokio::test]
async fn it_fails_as_it_is_told_and_is_well_again() {
    let erp = Erp::start(Expected::None).await;
    let faults = async |body: Value| {
        let response = erp.call(Method::PUT, "/_sandbox/faults").json(&body).send().await.unwrap();
        response.status().as_u16()
    };
    assert_eq!(faults(json!({ "outage": true, "retry_after": 3 })).await, 200);
    let response = erp.create("D-1").send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"3".parse().unwrap()));
    assert_eq!(faults(json!({ "status": 500, "share": 0.5 })).await, 200);
    let mut failed = 0;
    for n in 0..100 {
        failed += usize::from(erp.create(&format!("E-{n}")).send().await.unwrap().status() == 500);
    }
    assert!((25..=75).contains(&failed), "{failed}");
    assert_eq!(faults(json!({ "latency_ms": 300 })).await, 200);
    let asked = Instant::now();
    assert_eq!(erp.create("D-3").send().await.unwrap().status(), 201);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(faults(json!({ "share": 2 })).await, 422);
    assert_eq!(faults(json!({ "outtage": true })).await, 400);
    assert_eq!(faults(json!({})).await, 200);
    assert_eq!(erp.create("D-4").send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn what_arrives_is_in_the_journal_and_told_to_those_who_listen() {
    let erp = Erp::start(Expected::None).await;
    let mut arrivals = erp.systems.subscribe();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    erp.create("D-1").header("traceparent", trace).send().await.unwrap();
    let arrival = arrivals.recv().await.unwrap();
    assert_eq!(
        (arrival.system.as_str(), arrival.operation.as_deref(), arrival.status),
        ("erp", Some("createProject"), 201)
    );
    assert_eq!((arrival.keys["externalId"].as_str(), arrival.traceparent.as_deref()), ("D-1", Some(trace)));
    let (_, journal) = erp.json("/_sandbox/journal").await;
    assert_eq!(journal, json!([arrival]));
    let (_, objects) = erp.json("/_sandbox/objects").await;
    assert_eq!(objects["/v2/projects"]["prj-1"]["externalId"], "D-1");
    let page = erp.call(Method::GET, "/").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("POST   /v2/projects  (createProject)"), "{page}");
}

#[tokio::test]
async fn the_api_version_is_answered_with() {
    let erp = Erp::start(Expected::None).await;
    let response = erp.create("D-1").send().await.unwrap();
    assert_eq!(response.headers()["api-version"], "2026-01");
    let response = erp.create("D-1").header("api-version", "2025-06").send().await.unwrap();
    assert_eq!(response.headers()["api-version"], "2025-06");
}

#[tokio::test]
async fn each_kind_of_credential_is_demanded() {
    let text = str::to_owned;
    let key = Expected::ApiKey { header: text("X-Api-Key"), key: text("k") };
    let basic = Expected::Basic { username: text("u"), password: text("p") };
    let bearer = Expected::Bearer { token: text("t") };
    type Show = fn(RequestBuilder) -> RequestBuilder;
    let cases: [(Expected, Show); 3] = [
        (key, |request| request.header("x-api-key", "k")),
        (basic, |request| request.basic_auth("u", Some("p"))),
        (bearer, |request| request.bearer_auth("t")),
    ];
    for (expected, show) in cases {
        let erp = Erp::start(expected.clone()).await;
        let refused = erp.create("D-1").bearer_auth("wrong").send().await.unwrap();
        assert_eq!(refused.status(), 401, "{expected:?}");
        assert!(refused.headers().contains_key("www-authenticate"));
        assert_eq!(show(erp.create("D-1")).send().await.unwrap().status(), 201, "{expected:?}");
    }
}

#[tokio::test]
async fn a_token_is_given_for_the_clients_secret_and_ends_when_it_is_told_to() {
    let erp = Erp::start(Expected::OAuth2 { client_id: "bus".to_owned(), client_secret: "secret".to_owned() }).await;
    let ask = async |secret: &str, grant: &str| {
        let form = format!("grant_type={grant}&scope=projects.write");
        let request = erp.call(Method::POST, "/oauth/token").basic_auth("bus", Some(secret)).body(form);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    assert_eq!(ask("wrong", "client_credentials").await, (401, json!({ "error": "invalid_client" })));
    assert_eq!(ask("secret", "password").await, (400, json!({ "error": "unsupported_grant_type" })));
    let (status, given) = ask("secret", "client_credentials").await;
    assert_eq!((status, &given["token_type"], &given["scope"]), (200, &json!("Bearer"), &json!("projects.write")));
    let token = given["access_token"].as_str().unwrap();
    assert_eq!(erp.create("D-1").send().await.unwrap().status(), 401);
    assert_eq!(erp.create("D-1").bearer_auth(token).send().await.unwrap().status(), 201);
    erp.systems.fault("erp", Fault { expire_tokens: true, ..Fault::default() });
    assert_eq!(erp.create("D-2").bearer_auth(token).send().await.unwrap().status(), 401);
    assert_eq!(erp.systems.token_requests("erp"), 3);
}

#[tokio::test]
async fn a_giant_body_is_not_read() {
    let erp = Erp::start(Expected::None).await;
    let sent = erp.call(Method::POST, "/v2/projects").body(vec![b' '; 2 * 1024 * 1024]).send().await;
    assert!(sent.is_err() || sent.unwrap().status() == 413);
    assert!(erp.systems.journal().is_empty());
}

struct Erp {
    systems: Systems,
    http: reqwest::Client,
}

impl Erp {
    async fn start(credential: Expected) -> Self {
        let spec = Spec {
            name: "erp".to_owned(),
            contract: Arc::new(Contract::parse(document()).unwrap()),
            credential,
            repeats: Repeats { header: Some("Idempotency-Key".to_owned()), ..Repeats::default() },
            version: Some(("API-Version".to_owned(), "2026-01".to_owned())),
            seed: BTreeMap::from([("/v2/users".to_owned(), vec![json!({ "id": "user-8", "name": "Sam Okafor" })])]),
        };
        let _ = rustls::crypto::ring::default_provider().install_default(); // reqwest asks for one even without TLS
        Self { systems: Systems::start(vec![spec]).await.unwrap(), http: reqwest::Client::new() }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.systems.base_url("erp").unwrap()))
    }

    fn create(&self, external_id: &str) -> RequestBuilder {
        self.call(Method::POST, "/v2/projects")
            .json(&json!({ "externalId": external_id, "budget": 125000.5, "status": "planned?" }))
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let response = self.call(Method::GET, path).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

/// Projects that are made, and users that were always there. A new project's `status` is any text, but not the answer's.
fn document() -> Value {
    let id = json!([{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }]);
    let answer = |schema: &str| json!({ "description": "", "content": { "application/json": { "schema": { "$ref": schema } } } });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "ERP", "version": "1" },
        "x-sandbox-seed": { "users": [{ "id": "user-7", "name": "Dana Weiss" }] },
        "paths": {
            "/v2/projects": {
                "post": {
                    "operationId": "createProject",
                    "requestBody": { "required": true, "content": { "application/json": { "schema": {
                        "type": "object", "required": ["externalId", "budget"],
                        "properties": { "externalId": { "type": "string" }, "budget": { "type": "number" }, "status": { "type": "string" } }
                    } } } },
                    "responses": { "201": answer("#/components/schemas/Project") }
                },
                "get": {
                    "operationId": "listProjects",
                    "parameters": [
                        { "name": "externalId", "in": "query", "schema": { "type": "string" } },
                        { "name": "limit", "in": "query", "schema": { "type": "integer", "maximum": 100 } }
                    ],
                    "responses": { "200": answer("#/components/schemas/Projects") }
                }
            },
            "/v2/projects/{id}": {
                "get": { "operationId": "getProject", "parameters": id, "responses": { "200": answer("#/components/schemas/Project") } },
                "patch": {
                    "operationId": "changeProject", "parameters": id,
                    "requestBody": { "content": { "application/json": { "schema": { "type": "object" } } } },
                    "responses": { "200": answer("#/components/schemas/Project") }
                },
                "delete": { "operationId": "deleteProject", "parameters": id, "responses": { "204": { "description": "" } } }
            },
            "/v2/users/{id}": {
                "patch": {
                    "operationId": "changeUser", "parameters": id,
                    "requestBody": { "content": { "application/json": { "schema": { "type": "object" } } } },
                    "responses": { "200": answer("#/components/schemas/User") }
                },
                "get": {
                    "operationId": "getUser", "parameters": id,
                    "responses": { "200": { "description": "", "content": { "application/json": {
                        "schema": { "type": "object", "required": ["id", "name"], "properties": { "id": { "type": "string" }, "name": { "type": "string" } } },
                        "examples": { "one": { "value": { "id": "user-1", "name": "An example" } } }
                    } } } }
                }
            }
        },
        "components": { "schemas": {
            "Project": {
                "type": "object", "required": ["id", "number", "externalId", "status", "createdAt"],
                "properties": {
                    "id": { "type": "string", "readOnly": true },
                    "number": { "type": "string", "pattern": "^P-[0-9]{4}-[0-9]+$", "examples": ["P-2026-0815"] },
                    "externalId": { "type": "string" },
                    "status": { "type": "string", "enum": ["draft", "planned", "done"] },
                    "budget": { "type": "number" },
                    "createdAt": { "type": "string", "format": "date-time", "readOnly": true }
                }
            },
            "User": {
                "type": "object", "required": ["id", "name"],
                "properties": { "id": { "type": "string" }, "name": { "type": "string" }, "phone": { "type": "string" } }
            },
            "Projects": {
                "type": "object", "required": ["items"],
                "properties": { "items": { "type": "array", "items": { "$ref": "#/components/schemas/Project" } } }
            }
        } }
    })
}
