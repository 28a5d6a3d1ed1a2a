//! What a bus is once it is read: defaults, other addresses, fingerprints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::Edit::Replace;
use support::{Copy, Edit, Known};
use tieline_bus::{
    Bus, ClientAuth, Concurrency, Conflict, Credential, Deliver, Environment, KeyHeader, Meaning, Means, OnDeadLetter,
    Order, Start, Stores,
};

const CONSUMER: &str = "consumers/erp-project/consumer.yaml";

#[test]
fn what_is_not_declared_has_its_default() {
    let deliver = "\ndeliver: { order: key, in_flight: 64, patience: 30s, give_up_after: 72h }\n";
    let bus = Copy::new(&[Replace(CONSUMER, deliver, "")]).load().bus.unwrap();
    let expect = Deliver {
        order: Order::Key,
        in_flight: 64,
        concurrency: Concurrency::Adaptive,
        patience: Duration::from_secs(30),
        park_schedule: [60, 300, 1_800, 7_200, 21_600].map(Duration::from_secs).to_vec(),
        give_up_after: Duration::from_secs(72 * 3600),
        on_dead_letter: OnDeadLetter::Hold,
        start: Start::Now,
    };
    assert_eq!(bus.consumers["erp-project"].deliver, expect);
    assert_eq!(bus.producers["crm-webhooks"].event_source, "/shop/crm-webhooks");
    let crm = &bus.systems["crm"];
    assert_eq!((crm.deadline, crm.response_bytes_max), (Duration::from_secs(10), 64 * 1024));
    assert_eq!((&crm.idempotency.means, crm.idempotency.look_ups.len()), (&Means::None, 0));
    let event = &bus.events["crm.deal_stage_changed"];
    assert_eq!(
        (event.topic.as_str(), event.subject.as_str()),
        ("crm.deal_stage_changed", "crm.deal_stage_changed-value")
    );
}

#[test]
fn events_that_share_a_topic_have_subjects_of_their_own() {
    let topics = "language: 1\ntopics: { deals: [crm.deal_stage_changed, erp.project_created] }";
    let bus = Copy::new(&[Replace("tieline.yaml", "language: 1", topics)]).load().bus.unwrap();
    let of = |name: &str| (bus.events[name].topic.clone(), bus.events[name].subject.clone());
    assert_eq!(of("crm.deal_stage_changed"), ("deals".to_owned(), "deals-crm.deal_stage_changed".to_owned()));
    assert_eq!(of("erp.project_created"), ("deals".to_owned(), "deals-erp.project_created".to_owned()));
}

#[test]
fn another_address_takes_the_token_endpoint_along() {
    struct Moved;
    impl Environment for Moved {
        fn variable(&self, name: &str) -> Option<String> {
            Known.variable(name)
        }
        fn secret(&self, name: &str) -> Option<String> {
            Known.secret(name)
        }
        fn base_url(&self, system: &str) -> Option<String> {
            (system == "erp").then(|| "http://127.0.0.1:7101/".to_owned())
        }
    }
    let copy = Copy::new(&[]);
    let bus = Bus::load(copy.dir(), &Moved).bus.unwrap();
    assert_eq!(bus.systems["erp"].base_url, "http://127.0.0.1:7101");
    let Credential::OAuth2 { token_url, .. } = &bus.systems["erp"].credential else { panic!() };
    assert_eq!(token_url, "http://127.0.0.1:7101/oauth/token");
    assert_eq!(bus.systems["crm"].base_url, "https://crm.example.com");
}

#[test]
fn a_required_header_that_the_systems_definition_sets_is_nobodys_to_map() {
    let required = |name: &str| {
        let header = format!("{{ name: {name}, in: header, required: true, schema: {{ type: string }} }}");
        let parameters = format!("operationId: createProject\n      parameters: [{header}]");
        Copy::new(&[Replace("systems/erp/openapi.yaml", "operationId: createProject", &parameters)]).load()
    };
    let codes = |name: &str| required(name).problems.iter().map(|p| p.diagnostic.code.to_owned()).collect::<Vec<_>>();
    assert_eq!(codes("idempotency-key"), [""; 0]);
    assert_eq!(codes("X-Tenant"), ["bus/missing-parameter"]);
}

#[test]
fn a_fingerprint_changes_with_what_decides_a_request_and_with_nothing_else() {
    let of = |edits: &[Edit<'_>]| Copy::new(edits).load().bus.unwrap().consumers["erp-project"].fingerprint;
    let contract = "systems/erp/openapi.yaml";
    let base = of(&[]);
    assert_eq!(of(&[]), base);
    assert_eq!(of(&[Replace(CONSUMER, "owner: revenue", "owner: sales")]), base);
    assert_eq!(of(&[Replace(CONSUMER, "patience: 30s", "patience: 40s")]), base);
    assert_eq!(of(&[Replace(CONSUMER, "project_id: $response.id", "project_id: .id")]), base);
    assert_ne!(of(&[Replace(CONSUMER, "truncate(60)", "truncate(50)")]), base);
    assert_ne!(of(&[Replace(CONSUMER, "CLOSED_WON: planned", "CLOSED_WON: cancelled")]), base);
    assert_ne!(of(&[Replace(CONSUMER, "keep: 10m", "keep: 5m")]), base);
    assert_ne!(of(&[Replace(contract, "maxLength: 80", "maxLength: 90")]), base);
    assert_ne!(of(&[Replace("schemas/crm.deal_stage_changed.avsc", "\"Its title.\"", "\"A title.\"")]), base);
}

#[test]
fn a_parameter_that_owns_its_residual_is_checked_on_each_event() {
    let owned = "with: { id: .owner_id }, residual: { with.id: dead-letter }";
    let loaded = Copy::new(&[
        Replace("systems/crm/openapi.yaml", "schema: { type: string }", "schema: { type: string, maxLength: 5 }"),
        Replace(CONSUMER, "with: { id: .owner_id }", owned),
    ])
    .load();
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let bus = loaded.bus.unwrap();
    let consumer = &bus.consumers["erp-project"];
    let with = |owner: &str| {
        let event = serde_json::json!({ "id": "d", "title": "t", "stage": "CLOSED_WON", "amount": "1", "owner_id": owner,
            "changed_at": "2026-01-31T00:00:00Z" });
        let schema = &consumer.event.schema;
        let datum = schema.datum_from_json(&event).unwrap();
        let reader = consumer.layout.reader(&schema.avro, &schema.avro).unwrap();
        let frame = reader.read(&datum, &tieline_mapping::Bounds::default()).unwrap();
        consumer.look_ups[0].with["id"].text(&frame, &[]).map_err(|e| e.to_string())
    };
    assert_eq!(with("u-123"), Ok(Some("u-123".to_owned())));
    assert_eq!(with("u-1234"), Err("`with.id` has 6 characters, and 5 are the most".to_owned()));
}

#[test]
fn a_profile_says_how_a_system_makes_one_effect_of_several_attempts() {
    const KEY: &str = "idempotency: { header: Idempotency-Key, remembers: 72h }";
    let profile = |text: &str| {
        let loaded = Copy::new(&[Replace("systems/erp/system.yaml", KEY, text)]).load();
        let bus = loaded.bus.unwrap_or_else(|| panic!("{text}: {:?}", loaded.problems));
        bus.systems["erp"].idempotency.clone()
    };
    let stripe = profile(
        "idempotency:
  header: Idempotency-Key
  stores: everything
  conflict:
    409: in_progress
    400: { /error/type: { idempotency_error: mismatch } }",
    );
    let header = KeyHeader {
        name: "Idempotency-Key".to_owned(),
        quoted: false,
        remembers: Duration::from_secs(24 * 3_600),
        stores: Stores::Everything,
    };
    assert_eq!(stripe.means, Means::Header(header));
    assert_eq!(stripe.conflicts[&409], Conflict::Always(Meaning::InProgress));
    assert_eq!(stripe.meaning(400, br#"{"error":{"type":"idempotency_error"}}"#), Some(Meaning::Mismatch));
    assert_eq!(profile("idempotency: upsert").means, Means::Upsert { if_match: false });
    assert_eq!(profile("idempotency: { upsert: {} }").means, Means::Upsert { if_match: false });
    assert_eq!(profile("idempotency: { conflict: { 409: exists } }").means, Means::None);
}

#[test]
fn a_client_shows_its_secret_in_the_way_that_is_declared() {
    let auth = |edits: &[Edit<'_>]| {
        let bus = Copy::new(edits).load().bus.unwrap();
        let Credential::OAuth2 { client_auth, .. } = bus.systems["erp"].credential else { panic!() };
        client_auth
    };
    assert_eq!(auth(&[]), ClientAuth::Basic);
    let post = "client_id: tieline\n    client_auth: client_secret_post";
    assert_eq!(auth(&[Replace("systems/erp/system.yaml", "client_id: tieline", post)]), ClientAuth::Post);
}
