//! What an answer means, over real sockets: bodies beside their contract, statuses with another meaning, waits.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tieline_bus::{AnswerClass, KeyHeader, Means, Stores, Version};

use super::super::Reply;
use super::*;

/// An ERP whose answers have all shapes that contracts have.
fn contract() -> Contract {
    let project = json!({ "application/json": { "schema": {
        "type": "object", "required": ["id"], "additionalProperties": false,
        "properties": { "id": { "type": "string", "maxLength": 8 }, "size": { "type": "integer" } } } } });
    let problem = json!({ "application/json": { "schema": { "type": "object", "required": ["title"] } } });
    Contract::parse(json!({ "openapi": "3.1.0", "info": { "title": "ERP", "version": "1" }, "paths": {
        "/projects": {
            "post": { "operationId": "createProject", "responses": {
                "201": { "description": "Made.", "content": project },
                "202": { "description": "Later." },
                "default": { "description": "A problem.", "content": problem } } },
            "get": { "operationId": "findProject", "responses": {
                "200": { "description": "It.", "content": project } } },
            "delete": { "operationId": "deleteProjects", "responses": { "204": { "description": "Gone." } } } } } }))
    .unwrap()
}

/// Calls an operation of a system that answers `text`, and may be changed before.
async fn reply(operation: &str, reads_response: bool, text: &str, change: impl FnOnce(&mut System)) -> Reply {
    let contract = contract();
    let mut system = System { contract: Arc::new(contract), ..system(raw(text.to_owned(), drop).await) };
    change(&mut system);
    let operation = Arc::clone(system.contract.operation(operation).unwrap());
    let asked = Request { operation, reads_response, ..request("/projects", &[]) };
    client_of(system).call(&asked).await
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The body of an applied call.
fn body(reply: &Reply) -> Option<&Value> {
    assert_eq!(reply.answer, Answer::Applied, "{reply:?}");
    reply.body.as_ref().map(|(value, _)| value)
}

#[tokio::test]
async fn a_body_that_keeps_its_contract_is_handed_on_and_leaves_no_excerpt() {
    for reads in [true, false] {
        let text = r#"{"id":"P-1","size":3}"#;
        let reply = reply("createProject", reads, &answer(201, text), |_| {}).await;
        assert_eq!(reply.body, Some((json!({ "id": "P-1", "size": 3 }), text.len())));
        assert_eq!((reply.answer, reply.drift), (Answer::Applied, None));
        assert_eq!((reply.log.status, reply.log.excerpt.as_str()), (Some(201), ""));
    }
}

#[tokio::test]
async fn a_body_that_breaks_its_contract_is_unreadable_where_it_is_read_and_else_drift() {
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(2_000));
    for (text, code, says) in [
        (r#"{"size":3}"#, "response-contract", "must have `id`"),
        (r#"{"id":"P-1","size":"3"}"#, "response-contract", "`/size`"),
        (r#"{"id":"P-1","extra":1}"#, "response-contract", "`extra`"),
        (r#"{"id":"P-1""#, "response-contract", "not JSON"),
        ("<html>", "response-contract", "not JSON"),
        ("", "response-contract", "is empty"),
        (&long, "response-too-long", "1000 bytes"),
    ] {
        let read = reply("createProject", true, &answer(201, text), |_| {}).await;
        let Answer::AppliedUnreadable(reason) = read.answer else { panic!("{text}: {read:?}") };
        assert_eq!(reason.code, code, "{text}");
        assert!(reason.detail.contains(says), "{text}: {}", reason.detail);
        assert_eq!((read.body, read.drift), (None, None));
        assert_eq!(read.log.excerpt.is_empty(), text.is_empty(), "what came is what a person needs");

        let unread = reply("createProject", false, &answer(201, text), |_| {}).await;
        assert_eq!((unread.answer, unread.drift), (Answer::Applied, Some(reason)), "{text}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_applied_where_the_contract_promises_none() {
    for reads in [true, false] {
        for (operation, status, text) in
            [("createProject", 202, ""), ("createProject", 202, "Accepted"), ("deleteProjects", 204, "")]
        {
            let reply = reply(operation, reads, &answer(status, text), |_| {}).await;
            assert_eq!(body(&reply), None);
            assert_eq!(reply.drift, None, "{status} {text:?}");
        }
    }
}

#[tokio::test]
async fn a_success_that_the_contract_does_not_name_is_read_as_its_first_success() {
    let reply_to = |text: &str| {
        let text = answer(200, text);
        async move { reply("createProject", true, &text, |_| {}).await }
    };
    assert_eq!(body(&reply_to(r#"{"id":"P-1"}"#).await), Some(&json!({ "id": "P-1" })));
    let problem = reply_to(r#"{"title":"what `default` promises"}"#).await;
    assert!(matches!(problem.answer, Answer::AppliedUnreadable(_)), "{problem:?}");
    assert!(matches!(reply_to("").await.answer, Answer::AppliedUnreadable(_)));
}

/// A key in a header, an upsert, and nothing.
fn profiles() -> (Idempotency, Idempotency, Idempotency) {
    let header = KeyHeader {
        name: "Idempotency-Key".into(),
        quoted: false,
        remembers: Duration::from_secs(60),
        stores: Stores::Success,
    };
    let of = |means| Idempotency { means, ..Idempotency::default() };
    (of(Means::Header(header)), of(Means::Upsert { if_match: false }), of(Means::None))
}

#[tokio::test]
async fn a_body_that_was_cut_is_asked_for_again_where_that_has_no_second_effect() {
    let (remembers, upsert, none) = profiles();
    for text in ["content-length: 100\r\n\r\n{\"id\"", "transfer-encoding: chunked\r\n\r\n5\r\n{\"id\""] {
        let cut = format!("HTTP/1.1 201 X\r\n{text}");
        let answered = |operation, reads, idempotency: &Idempotency| {
            let (cut, idempotency) = (cut.clone(), idempotency.clone());
            async move { reply(operation, reads, &cut, |system| system.idempotency = idempotency).await }
        };
        for (operation, idempotency) in
            [("createProject", &remembers), ("createProject", &upsert), ("findProject", &none)]
        {
            let reply = answered(operation, true, idempotency).await;
            assert!(matches!(reply.answer, Answer::Unknown(_)), "{operation} {idempotency:?}: {reply:?}");
            assert_eq!((code(&reply.answer), reply.log.excerpt.as_str()), ("response-cut", "{\"id\""));
        }
        let once = answered("createProject", true, &none).await;
        assert!(matches!(once.answer, Answer::AppliedUnreadable(_)), "a second call could have a second effect");
        let unread = answered("createProject", false, &none).await;
        assert_eq!((unread.answer, unread.drift.unwrap().code.as_str()), (Answer::Applied, "response-cut"));
    }
}

#[tokio::test]
async fn a_conflict_is_one_under_every_profile_that_says_nothing_of_it() {
    for idempotency in <[_; 3]>::from(profiles()) {
        let reply = reply("createProject", true, &answer(409, ""), |system| system.idempotency = idempotency).await;
        assert!(matches!(reply.answer, Answer::Conflict(_)), "{reply:?}");
    }
}

/// A definition's `answers:`: 4xx and 5xx of one operation, and of all.
fn says_otherwise(system: &mut System) {
    let of = |statuses: &[(u16, AnswerClass)]| BTreeMap::from_iter(statuses.iter().copied());
    system.answers.insert(
        "createProject".into(),
        of(&[
            (409, AnswerClass::Applied),
            (400, AnswerClass::NotApplied),
            (404, AnswerClass::Refused),
            (500, AnswerClass::Throttled),
        ]),
    );
    system.answers.insert(
        "*".into(),
        of(&[
            (409, AnswerClass::Refused),
            (200, AnswerClass::Unknown),
            (418, AnswerClass::Credential),
            (422, AnswerClass::AbsentOrForbidden),
            (599, AnswerClass::Misconfigured),
        ]),
    );
}

#[tokio::test]
async fn a_definition_gives_statuses_another_meaning_for_one_operation_or_for_all() {
    let class = |operation: &'static str, status| async move {
        let reply = reply(operation, false, &answer(status, ""), says_otherwise).await;
        match reply.answer {
            Answer::Applied => "applied",
            Answer::AppliedUnreadable(_) => "unreadable",
            Answer::Refused(_) => "refused",
            Answer::Conflict(_) => "conflict",
            Answer::AbsentOrForbidden(_) => "absent or forbidden",
            Answer::NotApplied(_) => "not applied",
            Answer::Unknown(_) => "unknown",
            Answer::Throttled { .. } => "throttled",
            Answer::Credential(_) => "credential",
            Answer::Misconfigured(_) => "misconfigured",
        }
    };
    for (status, of_create, of_find) in [
        (409, "applied", "refused"),
        (400, "not applied", "refused"),
        (404, "refused", "absent or forbidden"),
        (500, "throttled", "unknown"),
        (200, "unknown", "unknown"),
        (418, "credential", "credential"),
        (422, "absent or forbidden", "absent or forbidden"),
        (599, "misconfigured", "misconfigured"),
        (412, "conflict", "conflict"),
    ] {
        assert_eq!(class("createProject", status).await, of_create, "{status} of createProject");
        assert_eq!(class("findProject", status).await, of_find, "{status} of findProject");
    }
}

#[tokio::test]
async fn what_is_read_of_a_status_that_means_applied_here_is_what_a_success_promises() {
    let there = reply("createProject", true, &answer(409, r#"{"id":"P-1"}"#), says_otherwise).await;
    assert_eq!(body(&there), Some(&json!({ "id": "P-1" })));
    let problem = reply("createProject", true, &answer(409, r#"{"title":"there already"}"#), says_otherwise).await;
    assert!(matches!(problem.answer, Answer::AppliedUnreadable(_)), "{problem:?}");
}

#[tokio::test]
async fn a_wait_is_taken_from_the_answer_and_never_shorter_than_it_says() {
    let wait = |status: u16, headers: &str| {
        let text = format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n");
        async move { reply("createProject", false, &text, |_| {}).await.answer }
    };
    let seconds = |s| Answer::Throttled { retry_after: Duration::from_secs(s) };
    let date = "date: Sun, 06 Nov 1994 08:49:07 GMT\r\n";
    let at = |time: &str| format!("{date}retry-after: {time}\r\n");
    for status in [429, 503] {
        assert_eq!(wait(status, "retry-after: 120\r\n").await, seconds(120));
        assert_eq!(wait(status, &at("Sun, 06 Nov 1994 08:49:37 GMT")).await, seconds(30));
        assert_eq!(wait(status, &at("Sunday, 06-Nov-94 08:49:37 GMT")).await, seconds(30));
        assert_eq!(wait(status, &at("Sun Nov  6 08:49:37 1994")).await, seconds(30));
        assert_eq!(wait(status, &at("Sun, 06 Nov 1994 08:00:00 GMT")).await, seconds(1), "it is over");
        assert_eq!(wait(status, "retry-after: 0\r\n").await, seconds(1));
        assert_eq!(wait(status, "retry-after: 5\r\nretry-after: 60\r\n").await, seconds(60));
    }
    assert_eq!(wait(429, "retry-after: soon\r\n").await, seconds(2));
    assert!(matches!(wait(503, "retry-after: soon\r\n").await, Answer::NotApplied(_)), "it names no time");
    assert!(matches!(wait(500, "retry-after: 5\r\n").await, Answer::Unknown(_)), "it may have been applied");
}

#[tokio::test]
async fn another_version_than_ours_is_told_and_changes_nothing_else() {
    let ours = Version { header: "API-Version".into(), expect: "2026-01".into() };
    for (header, told) in
        [("api-version: 2026-01\r\n", None), ("api-version: 2027-01\r\n", Some("2027-01".to_owned())), ("", None)]
    {
        let text = format!("HTTP/1.1 201 X\r\n{header}content-length: 12\r\n\r\n{{\"id\":\"P-1\"}}");
        let reply = reply("createProject", true, &text, |system| system.version = Some(ours.clone())).await;
        assert_eq!(body(&reply), Some(&json!({ "id": "P-1" })));
        assert_eq!(reply.other_version, told);
    }
}
