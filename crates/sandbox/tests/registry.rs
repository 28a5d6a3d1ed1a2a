//! The registry in this process, called as a client of Confluent's would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tieline_sandbox::registry::{Fault, Registry};

const V1: &str = r#"{"type":"record","name":"deal","doc":"A deal.","fields":[{"name":"id","type":"string"}]}"#;
/// The same as `V1`, written otherwise.
const V1_AGAIN: &str =
    r#"{ "fields": [ {"type": "string", "name": "id"} ], "name": "deal", "doc": "A deal.", "type": "record" }"#;
const V2: &str = r#"{"type":"record","name":"deal","doc":"A deal.","fields":[{"name":"id","type":"string"},{"name":"stage","type":["null","string"],"default":null}]}"#;
/// What V2's readers need is not there.
const BROKEN: &str =
    r#"{"type":"record","name":"deal","fields":[{"name":"id","type":"string"},{"name":"amount","type":"long"}]}"#;

#[tokio::test]
async fn a_schema_is_registered_once_and_found_by_id_guid_text_and_version() {
    let client = Client::start().await;
    let (status, first) = client.post("/subjects/deal-value/versions", json!({ "schema": V1 })).await;
    assert_eq!((status, &first["version"]), (200, &json!(1)));
    let (_, again) =
        client.post("/subjects/deal-value/versions", json!({ "schema": V1_AGAIN, "schemaType": "AVRO" })).await;
    assert_eq!(again, first);
    let (_, second) = client.post("/subjects/deal-value/versions", json!({ "schema": V2 })).await;
    assert_eq!(second["version"], 2);
    assert_ne!(second["id"], first["id"]);

    let (id, guid) = (&first["id"], first["guid"].as_str().unwrap());
    let (_, by_id) = client.get(&format!("/schemas/ids/{id}")).await;
    assert_eq!(by_id["schema"].as_str().unwrap(), V1);
    assert_eq!(client.get(&format!("/schemas/guids/{guid}")).await.1["schema"], by_id["schema"]);
    assert_eq!(
        client.get(&format!("/schemas/ids/{id}/versions")).await.1,
        json!([{ "subject": "deal-value", "version": 1 }])
    );
    let (_, found) = client.post("/subjects/deal-value", json!({ "schema": V1_AGAIN })).await;
    assert_eq!((&found["id"], &found["version"], &found["subject"]), (id, &json!(1), &json!("deal-value")));
    assert_eq!(client.get("/subjects").await.1, json!(["deal-value"]));
    assert_eq!(client.get("/subjects/deal-value/versions").await.1, json!([1, 2]));
    assert_eq!(client.get("/subjects/deal-value/versions/latest").await.1["id"], second["id"]);
    assert_eq!(
        client.get("/subjects/deal-value/versions/1/schema").await.1,
        serde_json::from_str::<Value>(V1).unwrap()
    );
}

#[tokio::test]
async fn an_id_depends_on_nothing_but_the_schema() {
    let (one, other) = (Client::start().await, Client::start().await);
    other.post("/subjects/else/versions", json!({ "schema": V2 })).await;
    let (_, a) = one.post("/subjects/deal-value/versions", json!({ "schema": V1 })).await;
    let (_, b) = other.post("/subjects/another/versions", json!({ "schema": V1 })).await;
    assert_eq!((&a["id"], &a["guid"]), (&b["id"], &b["guid"]));
}

#[tokio::test]
async fn what_a_schema_refers_to_counts_as_a_part_of_it() {
    let client = Client::start().await;
    let money =
        |more: &str| format!(r#"{{"type":"record","name":"x.Money","fields":[{{"name":"n","type":"int"}}{more}]}}"#);
    let deal = r#"{"type":"record","name":"x.Deal","fields":[{"name":"total","type":"x.Money"}]}"#;
    client.call(Method::PUT, "/config/money", Some(json!({ "compatibility": "NONE" }))).await;
    client.post("/subjects/money/versions", json!({ "schema": money("") })).await;
    client.post("/subjects/money/versions", json!({ "schema": money(r#",{"name":"unit","type":"string"}"#) })).await;
    let using = |version: u32| json!({ "schema": deal, "references": [{ "name": "x.Money", "subject": "money", "version": version }] });
    assert_eq!(client.post("/subjects/deal/versions", using(1)).await.0, 200);
    let (status, refusal) = client.post("/subjects/deal/versions", using(2)).await;
    assert_eq!(status, 409);
    assert!(refusal["message"].as_str().unwrap().contains("`/fields/0/type/fields/1`"), "{refusal}");
}

#[tokio::test]
async fn a_version_that_breaks_readers_is_refused_with_the_reason() {
    let client = Client::start().await;
    client.post("/subjects/deal-value/versions", json!({ "schema": V1 })).await;
    let (status, refusal) = client.post("/subjects/deal-value/versions", json!({ "schema": BROKEN })).await;
    assert_eq!((status, &refusal["error_code"]), (409, &json!(409)));
    assert!(refusal["message"].as_str().unwrap().contains("`amount`"), "{refusal}");

    let path = "/compatibility/subjects/deal-value/versions/latest?verbose=true";
    let (_, verdict) = client.post(path, json!({ "schema": BROKEN })).await;
    assert_eq!(verdict["is_compatible"], false);
    assert_eq!(verdict["messages"].as_array().unwrap().len(), 1);
    let (_, verdict) = client.post(path, json!({ "schema": V2 })).await;
    assert_eq!(verdict, json!({ "is_compatible": true, "messages": [] }));
}

#[tokio::test]
async fn a_subject_has_the_mode_of_all_until_it_has_its_own() {
    let client = Client::start().await;
    client.post("/subjects/deal-value/versions", json!({ "schema": V1 })).await;
    assert_eq!(client.get("/config").await.1, json!({ "compatibilityLevel": "BACKWARD" }));
    assert_eq!(client.get("/config/deal-value").await.1["error_code"], 40408);
    let (_, answer) = client.call(Method::PUT, "/config/deal-value", Some(json!({ "compatibility": "NONE" }))).await;
    assert_eq!(answer, json!({ "compatibility": "NONE" }));
    assert_eq!(client.get("/config/deal-value").await.1, json!({ "compatibilityLevel": "NONE" }));
    assert_eq!(client.get("/config/other?defaultToGlobal=true").await.1, json!({ "compatibilityLevel": "BACKWARD" }));
    assert_eq!(client.post("/subjects/deal-value/versions", json!({ "schema": BROKEN })).await.0, 200);
}

#[tokio::test]
async fn a_schema_can_use_another_that_is_registered() {
    let client = Client::start().await;
    let money = r#"{"type":"record","name":"x.Money","fields":[{"name":"cents","type":"long"}]}"#;
    client.post("/subjects/money/versions", json!({ "schema": money })).await;
    let deal = r#"{"type":"record","name":"x.Deal","fields":[{"name":"amount","type":"x.Money"}]}"#;
    assert_eq!(client.post("/subjects/deal/versions", json!({ "schema": deal })).await.1["error_code"], 42201);
    let references = json!([{ "name": "x.Money", "subject": "money", "version": 1 }]);
    let (status, answer) =
        client.post("/subjects/deal/versions", json!({ "schema": deal, "references": references })).await;
    assert_eq!(status, 200, "{answer}");
    let (_, read) = client.get(&format!("/schemas/ids/{}", answer["id"])).await;
    assert_eq!(read["references"], references);
}

#[tokio::test]
async fn refusals_have_confluents_codes() {
    let client = Client::start().await;
    client.post("/subjects/deal-value/versions", json!({ "schema": V1 })).await;
    let check = async |method: Method, path: &str, body: Option<Value>, status: u16, code: u32| {
        let (answered, refusal) = client.call(method, path, body).await;
        assert_eq!((answered, &refusal["error_code"]), (status, &json!(code)), "{path}");
        assert!(refusal["message"].is_string());
    };
    check(Method::GET, "/subjects/none/versions", None, 404, 40401).await;
    check(Method::GET, "/subjects/deal-value/versions/9", None, 404, 40402).await;
    check(Method::GET, "/subjects/deal-value/versions/0", None, 422, 42202).await;
    check(Method::GET, "/subjects/deal-value/versions/x", None, 422, 42202).await;
    check(Method::GET, "/schemas/ids/1", None, 404, 40403).await;
    check(Method::GET, "/schemas/guids/8a3f5b1e-0000-4000-8000-000000000000", None, 404, 40403).await;
    check(Method::POST, "/subjects/none", Some(json!({ "schema": V1 })), 404, 40401).await;
    check(Method::POST, "/subjects/deal-value", Some(json!({ "schema": V2 })), 404, 40403).await;
    check(Method::POST, "/subjects/deal-value/versions", Some(json!({ "schema": "{" })), 422, 42201).await;
    check(
        Method::POST,
        "/subjects/deal-value/versions",
        Some(json!({ "schema": V1, "schemaType": "PROTOBUF" })),
        422,
        42201,
    )
    .await;
    check(Method::POST, "/subjects/deal-value/versions", Some(json!({ "text": V1 })), 400, 400).await;
    check(Method::PUT, "/config", Some(json!({ "compatibility": "SOMETIMES" })), 422, 42203).await;
    check(Method::GET, "/nothing", None, 404, 404).await;
    check(Method::DELETE, "/config", None, 405, 405).await;
}

#[tokio::test]
async fn a_password_is_asked_for_where_one_is_set() {
    let registry = Registry::start_with_password("127.0.0.1:0".parse().unwrap(), "bus", "secret").await.unwrap();
    let http = http();
    let url = format!("{}/subjects", registry.url());
    assert_eq!(http.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(http.get(&url).basic_auth("bus", Some("wrong")).send().await.unwrap().status(), 401);
    assert_eq!(http.get(&url).basic_auth("bus", Some("secret")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn it_can_be_down_or_slow_or_failing_and_well_again() {
    let client = Client::start().await;
    client.registry.fault(Fault::Down);
    assert!(client.http.get(format!("{}/subjects", client.registry.url())).send().await.is_err());
    client.registry.fault(Fault::Failing(503));
    assert_eq!(client.get("/subjects").await.0, 503);
    client.registry.fault(Fault::Slow(Duration::from_millis(300)));
    let asked = Instant::now();
    assert_eq!(client.get("/subjects").await.0, 200);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    client.registry.fault(Fault::None);
    assert_eq!(client.get("/subjects").await.0, 200);
    assert_eq!(client.registry.requests(), ["GET /subjects"; 4]);
}

#[tokio::test]
async fn nothing_listens_once_it_is_dropped() {
    let client = Client::start().await;
    let url = client.registry.url();
    client.get("/subjects").await; // leaves a connection open
    drop(client.registry);
    tokio::time::timeout(Duration::from_secs(10), async { while client.http.get(&url).send().await.is_ok() {} })
        .await
        .expect("still served");
}

struct Client {
    registry: Registry,
    http: reqwest::Client,
}

impl Client {
    async fn start() -> Self {
        Self { registry: Registry::start("127.0.0.1:0".parse().unwrap()).await.unwrap(), http: http() }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.registry.url()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/vnd.schemaregistry.v1+json");
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default(); // reqwest asks for one even without TLS
    reqwest::Client::new()
}
