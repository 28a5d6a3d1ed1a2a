//! A canary in every secret: systems and token endpoints that repeat all that they were sent, wherever they can.

use std::io;
use std::sync::Mutex;

use axum::body::Bytes;
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tieline_bus::Version;
use tracing_subscriber::filter::LevelFilter;

use super::super::LookUps;
use super::*;

/// All that is logged by this thread, from `TRACE` up, while this is alive.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

fn credentials(base: &str) -> Vec<Credential> {
    let canary = || Secret::new(CANARY.into());
    vec![
        key(),
        Credential::Bearer { token: canary() },
        Credential::Basic { username: "bus".into(), password: canary() },
        oauth2(&format!("{base}/token")),
    ]
}

/// What was sent, as a text and as the name of a member.
fn echo(headers: &HeaderMap, body: &Bytes) -> Value {
    let sent: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
    let all = format!("{} {}", sent.join(" "), String::from_utf8_lossy(body));
    json!({ "error": all, "message": all, all.clone(): { all: 1 } })
}

/// Repeats all that it was sent: in the body, and in the headers that are looked at.
async fn repeats(status: u16) -> String {
    let answer = move |headers: HeaderMap, body: Bytes| async move {
        let secret = headers.get("authorization").or(headers.get("x-key")).unwrap().clone();
        let mut answer = HeaderMap::new();
        for name in ["api-version", "retry-after", "location"] {
            answer.insert(name, HeaderValue::clone(&secret));
        }
        (StatusCode::from_u16(status).unwrap(), answer, echo(&headers, &body).to_string())
    };
    let token =
        move || async move { json!({ "access_token": format!("{CANARY}-1"), "token_type": "bearer" }).to_string() };
    serve(Router::new().route("/token", post(token)).fallback(answer)).await
}

fn assert_hidden(text: &str) {
    let basic = BASE64_STANDARD.encode(format!("bus:{CANARY}"));
    for secret in [CANARY, &basic] {
        let found = text.find(secret).map(|at| text[at.saturating_sub(200)..].chars().take(300).collect::<String>());
        assert_eq!(found, None, "a secret shows");
    }
}

/// An operation whose answers must have nothing in them.
fn strict() -> Arc<Operation> {
    let nothing = json!({ "type": "object", "additionalProperties": false,
        "patternProperties": { "^error|message$": {}, "": { "additionalProperties": false } } });
    let responses = json!({ "200": { "description": "", "content": { "application/json": { "schema": nothing } } } });
    let paths = json!({ "/x": { "get": { "operationId": "op", "responses": responses } } });
    let document = json!({ "openapi": "3.1.0", "info": { "title": "", "version": "1" }, "paths": paths });
    Arc::clone(Contract::parse(document).unwrap().operation("op").unwrap())
}

#[tokio::test]
async fn a_secret_that_a_system_repeats_shows_in_no_answer_and_in_no_log() {
    let logged = Logged::default();
    let _guard = logged.capture();
    tracing::trace!("heard");
    for status in [200, 302, 401, 409, 422, 429, 503] {
        let base = repeats(status).await;
        for credential in credentials(&base) {
            let version = Some(Version { header: "API-Version".into(), expect: "2026-01".into() });
            let client =
                client_of(System { credential, version, response_bytes_max: 64 * 1024, ..system(base.clone()) });
            for reads_response in [true, false] {
                let asked = Request { operation: strict(), reads_response, ..request("/x", &[]) };
                let reply = client.call(&asked).await;
                assert!(format!("{reply:?}").contains("[secret]"), "the server did repeat it: {reply:?}");
                assert_hidden(&format!("{reply:?} {client:?} {asked:?}"));
            }
            let failed = LookUps::new().get(&client, &strict(), &[], Duration::ZERO, &flow()).await.unwrap_err();
            assert_hidden(&format!("{failed:?} {failed}"));
        }
    }
    assert!(logged.text().contains("heard"), "nothing was captured");
    assert_hidden(&logged.text());
}

#[tokio::test]
async fn a_secret_that_a_token_endpoint_repeats_shows_nowhere() {
    let logged = Logged::default();
    let _guard = logged.capture();
    for status in [200, 400, 401, 500] {
        let answer = move |headers: HeaderMap, body: Bytes| async move {
            let mut answer = echo(&headers, &body);
            answer["error"] = "canary_in_small_letters".into();
            answer["token_type"] = CANARY.into();
            answer["expires_in"] = CANARY.into();
            answer["access_token"] = CANARY.into();
            (StatusCode::from_u16(status).unwrap(), answer.to_string())
        };
        let base = serve(Router::new().fallback(answer)).await;
        let Credential::OAuth2 { token_url, client_id, client_auth, scopes, .. } = oauth2(&format!("{base}/token"))
        else {
            panic!("oauth2 makes another credential")
        };
        for secret in [CANARY, "canary_in_small_letters"] {
            let (token_url, client_id, scopes) = (token_url.clone(), client_id.clone(), scopes.clone());
            let client_secret = Secret::new(secret.into());
            let client =
                client(base.clone(), Credential::OAuth2 { token_url, client_id, client_secret, client_auth, scopes });
            let reply = client.call(&request("/x", &[])).await;
            assert_eq!(code(&reply.answer), "token");
            assert!(!format!("{reply:?}").contains(secret), "{reply:?}");
        }
    }
    assert_hidden(&logged.text());
}

#[tokio::test]
async fn an_address_that_cannot_be_called_is_told_without_what_is_in_it() {
    for base_url in [format!("http://bus:{CANARY}@127.0.0.1"), format!("http://127.0.0.1/?key={CANARY}")] {
        let error = new_client(system(base_url)).unwrap_err();
        assert_hidden(&format!("{error} {error:?}"));
    }
    let credential = Credential::Bearer { token: Secret::new(format!("{CANARY}\n")) };
    let error = new_client(System { credential, ..system("http://127.0.0.1".into()) }).unwrap_err();
    assert_hidden(&format!("{error} {error:?}"));
    assert!(error.to_string().contains("a line break at its end?"), "{error}");
}
