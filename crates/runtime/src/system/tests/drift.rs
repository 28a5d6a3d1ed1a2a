//! What a system does otherwise than its definition says is counted, by all that call it.

use serde_json::json;
use tieline_bus::Version;

use super::super::LookUps;
use super::*;

/// A CRM that says another version, and answers without what its contract promises.
async fn crm(answer: &str) -> (Arc<SystemClient>, Metrics) {
    let text = format!("HTTP/1.1 200 X\r\napi-version: 2027-01\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
    let user = json!({ "type": "object", "required": ["id"] });
    let responses = json!({ "200": { "description": "", "content": { "application/json": { "schema": user } } } });
    let operation = |id: &str| json!({ "operationId": id, "responses": responses });
    let paths = json!({ "/users": { "post": operation("addUser"), "get": operation("getUser") } });
    let document = json!({ "openapi": "3.1.0", "info": { "title": "CRM", "version": "1" }, "paths": paths });
    let system = System {
        contract: Arc::new(Contract::parse(document).unwrap()),
        version: Some(Version { header: "API-Version".into(), expect: "2026-01".into() }),
        ..system(raw(text, drop).await)
    };
    let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
    (Arc::new(SystemClient::new(Arc::new(system), metrics.systems()).unwrap()), metrics)
}

/// The counted drift, as it is scraped.
fn counted(metrics: &Metrics) -> Vec<(String, u64)> {
    let families = metrics.registry.gather();
    let family = families.iter().find(|family| family.name() == "tieline_drift_total");
    let label = |m: &prometheus::proto::Metric| m.get_label().iter().map(|l| l.value().to_owned()).collect::<Vec<_>>();
    family
        .into_iter()
        .flat_map(|f| f.get_metric())
        .map(|m| (label(m).join(" "), m.get_counter().get_value() as u64))
        .collect()
}

#[tokio::test]
async fn drift_and_another_version_are_counted_by_system_operation_and_kind() {
    let (client, metrics) = crm("{}").await;
    let operation = Arc::clone(client.system().contract.operation("addUser").unwrap());
    for _ in 0..2 {
        let reply = client.call(&Request { operation: Arc::clone(&operation), ..request("/users", &[]) }).await;
        assert_eq!(reply.answer, Answer::Applied);
    }
    let expect = [("response-contract addUser erp".to_owned(), 2), ("version addUser erp".to_owned(), 2)];
    assert_eq!(counted(&metrics), expect, "labels in the order of their names: kind, operation, system");
}

#[tokio::test]
async fn a_look_ups_version_is_counted_too() {
    let (client, metrics) = crm(r#"{"id":"u-1"}"#).await;
    let operation = Arc::clone(client.system().contract.operation("getUser").unwrap());
    LookUps::new().get(&client, &operation, &[], Duration::ZERO, &flow()).await.unwrap();
    assert_eq!(counted(&metrics), [("version getUser erp".to_owned(), 1)]);
}
