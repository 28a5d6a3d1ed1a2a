//! The registry's client over HTTP: whose fault a failure is, how often it asks, what `tieline apply` asks for.
//!
//! The tests of what every registry does run against the sandbox's, and against a real one too where
//! `TIELINE_TEST_REGISTRY_URL` names it: subjects have names of their own in each run, and nothing is deleted.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tieline_bus::{Credential, Registry as Definition, Secret};
use tieline_runtime::registry::{Reference, RegistryClient, RegistryError};
use tieline_sandbox::registry::{Fault, Registry};
use tieline_schema::compatibility::Mode;
use tieline_schema::wire::SchemaRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const CANARY: &str = "canary-7f3a9c";

fn client(url: String) -> RegistryClient {
    with(url, Credential::None)
}

fn with(url: String, credential: Credential) -> RegistryClient {
    RegistryClient::new(&Definition { url, credential }).unwrap()
}

fn basic(password: &str) -> Credential {
    Credential::Basic { username: "bus".into(), password: Secret::new(password.into()) }
}

async fn sandbox() -> Registry {
    Registry::start("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// A record with these fields, each a type in JSON.
fn record(name: &str, fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, ty)| format!(r#"{{"name":"{name}","type":{ty}}}"#)).collect();
    format!(r#"{{"type":"record","name":"{name}","fields":[{}]}}"#, fields.join(","))
}

/// The same with a default of null, so that readers of both can read it.
fn with_null(text: &str, field: &str) -> String {
    let rest = text.strip_suffix("]}").unwrap();
    format!(r#"{rest},{{"name":"{field}","type":["null","string"],"default":null}}]}}"#)
}

/// A registry to ask, and names in it that nobody else uses.
struct Asked {
    client: RegistryClient,
    /// Lives as long as the test.
    _registry: Option<Registry>,
    run: String,
}

impl Asked {
    /// The sandbox's registry, and the real one that the environment names.
    async fn all() -> Vec<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = || {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
            format!("t{now}x{}", RUNS.fetch_add(1, Ordering::SeqCst))
        };
        let registry = sandbox().await;
        let mut all = vec![Self { client: client(registry.url()), _registry: Some(registry), run: run() }];
        if let Ok(url) = std::env::var("TIELINE_TEST_REGISTRY_URL") {
            all.push(Self { client: client(url), _registry: None, run: run() });
        }
        all
    }

    /// A subject of this test alone.
    fn subject(&self, name: &str) -> String {
        format!("{}.{name}-value", self.run)
    }

    /// The name of a record of this test alone: real registries give one id to one text, in whatever subject.
    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.run)
    }
}

#[tokio::test]
async fn what_is_registered_is_found_by_id_and_text_and_as_the_latest() {
    for Asked { client, run, .. } in &Asked::all().await {
        let (subject, name) = (format!("{run}-value"), format!("{run}.deal"));
        let v1 = record(&name, &[("id", "\"string\"")]);
        assert_eq!(client.latest(&subject).await.unwrap(), None);
        assert_eq!(client.lookup(&subject, &v1).await.unwrap(), None, "the subject is not there");

        let id = client.register(&subject, &v1, &[]).await.unwrap();
        assert_eq!(client.register(&subject, &v1, &[]).await.unwrap(), id, "registering again changes nothing");
        assert_eq!(client.lookup(&subject, &v1).await.unwrap(), Some(id));
        let writer = client.schema(SchemaRef::Id(id)).await.unwrap();
        assert_eq!(writer.avro, apache_avro::Schema::parse_str(&v1).unwrap());

        let v2 = with_null(&v1, "stage");
        assert_eq!(client.lookup(&subject, &v2).await.unwrap(), None, "the schema is not there");
        let second = client.register(&subject, &v2, &[]).await.unwrap();
        let latest = client.latest(&subject).await.unwrap().unwrap();
        assert_eq!((latest.id, latest.version), (second, 2));
        assert_eq!(apache_avro::Schema::parse_str(&latest.text).unwrap(), apache_avro::Schema::parse_str(&v2).unwrap());
    }
}

#[tokio::test]
async fn a_subject_with_odd_characters_is_one_subject() {
    for asked in &Asked::all().await {
        let subject = asked.subject("a/b ?c=%2e&d");
        let text = record(&asked.name("odd"), &[("id", "\"string\"")]);
        let id = asked.client.register(&subject, &text, &[]).await.unwrap();
        assert_eq!(asked.client.latest(&subject).await.unwrap().unwrap().id, id);
    }
}

#[tokio::test]
async fn what_would_break_readers_is_told_before_and_refused_after() {
    for asked in &Asked::all().await {
        let (client, subject) = (&asked.client, asked.subject("deal"));
        let v1 = record(&asked.name("deal"), &[("id", "\"string\"")]);
        let breaking = record(&asked.name("deal"), &[("id", "\"string\""), ("amount", "\"long\"")]);
        assert_eq!(client.compatible(&subject, &v1).await.unwrap(), [""; 0], "it would be the first");
        client.register(&subject, &v1, &[]).await.unwrap();
        client.set_compatibility(&subject, Mode::Backward).await.unwrap();

        assert_eq!(client.compatible(&subject, &with_null(&v1, "stage")).await.unwrap(), [""; 0]);
        let reasons = client.compatible(&subject, &breaking).await.unwrap();
        // Apicurio says only that it is not compatible.
        let says_why = reasons.iter().any(|reason| reason.contains("amount"));
        assert!(says_why || (asked._registry.is_none() && !reasons.is_empty()), "{reasons:?}");
        let refused = client.register(&subject, &breaking, &[]).await.unwrap_err();
        assert!(matches!(&refused, RegistryError::Refused { status: 409, .. }), "{refused:?}");

        client.set_compatibility(&subject, Mode::None).await.unwrap();
        client.register(&subject, &breaking, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_transitive_mode_is_asked_of_all_versions_and_not_only_the_newest() {
    for asked in &Asked::all().await {
        let (client, subject) = (&asked.client, asked.subject("deal"));
        let v1 = record(&asked.name("deal"), &[("id", "\"string\"")]);
        let v2 = with_null(&v1, "stage");
        // Reads what v2 wrote, and not what v1 wrote: that has no `stage`.
        let v3 = record(&asked.name("deal"), &[("id", "\"string\""), ("stage", r#"["null","string"]"#)]);
        client.register(&subject, &v1, &[]).await.unwrap();
        client.register(&subject, &v2, &[]).await.unwrap();
        client.set_compatibility(&subject, Mode::Backward).await.unwrap();
        assert_eq!(client.compatible(&subject, &v3).await.unwrap(), [""; 0]);
        client.set_compatibility(&subject, Mode::BackwardTransitive).await.unwrap();
        assert_ne!(client.compatible(&subject, &v3).await.unwrap(), [""; 0], "the registry would refuse it");
        assert!(matches!(client.register(&subject, &v3, &[]).await, Err(RegistryError::Refused { status: 409, .. })));
    }
}

#[tokio::test]
async fn what_is_no_schema_is_refused_in_the_registrys_words() {
    for asked in &Asked::all().await {
        for text in ["{", r#"{"type":"record","name":"x"}"#, r#"{"type":"nothing"}"#] {
            let refused = asked.client.register(&asked.subject("bad"), text, &[]).await.unwrap_err();
            let RegistryError::Refused { status: 422, message, .. } = &refused else { panic!("{text}: {refused:?}") };
            assert!(!message.is_empty());
        }
    }
}

#[tokio::test]
async fn references_come_with_a_schema_and_through_each_other() {
    for asked in &Asked::all().await {
        let client = &asked.client;
        let (currency, money, deal) = (asked.name("Currency"), asked.name("Money"), asked.name("Deal"));
        let to = |name: &str, subject: &str| Reference { name: name.into(), subject: subject.into(), version: 1 };
        let (of_currency, of_money) = (asked.subject("currency"), asked.subject("money"));
        client
            .register(&of_currency, &format!(r#"{{"type":"enum","name":"{currency}","symbols":["EUR"]}}"#), &[])
            .await
            .unwrap();
        let text = record(&money, &[("of", &format!("\"{currency}\""))]);
        client.register(&of_money, &text, &[to(&currency, &of_currency)]).await.unwrap();
        let text = record(&deal, &[("won", &format!("\"{money}\"")), ("lost", &format!(r#"["null","{money}"]"#))]);
        let id = client.register(&asked.subject("deal"), &text, &[to(&money, &of_money)]).await.unwrap();

        let writer = client.schema(SchemaRef::Id(id)).await.unwrap();
        // Self-contained: it parses on its own, and all of it is there.
        assert_eq!(apache_avro::Schema::parse_str(&writer.text).unwrap(), writer.avro);
        assert!(writer.text.contains(r#""symbols":["EUR"]"#), "{}", writer.text);

        let none = client.register(&asked.subject("other"), &record("x", &[("a", &format!("\"{money}\""))]), &[]).await;
        assert!(matches!(none, Err(RegistryError::Refused { status: 422, .. })), "{none:?}");
    }
}

#[tokio::test]
async fn an_id_that_nobody_registered_is_not_there_and_that_is_nobodys_outage() {
    for asked in &Asked::all().await {
        let error = asked.client.schema(SchemaRef::Id(2_147_483_000)).await.unwrap_err();
        assert_eq!(error, RegistryError::NotYet { what: "schema 2147483000".into() });
        let guid = "8a3f5b1e-0000-4000-8000-000000000000".parse().unwrap();
        if asked._registry.is_some() {
            // Confluent has GUIDs since 8.0; the real registries of the tests do not.
            let error = asked.client.schema(SchemaRef::Guid(guid)).await.unwrap_err();
            assert!(matches!(error, RegistryError::NotYet { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_ails_is_never_taken_for_one_that_has_no_such_schema() {
    let registry = sandbox().await;
    let asks = client(registry.url());
    let known = asks.register("deal-value", &record("deal", &[("id", "\"string\"")]), &[]).await.unwrap();
    let client = client(registry.url());
    for fault in [
        Fault::Down,
        Fault::Failing(500),
        Fault::Failing(503),
        Fault::Failing(502),
        Fault::Failing(404), // a proxy's page: a registry says which of its things is not there
        Fault::Failing(403),
        Fault::Failing(429),
        Fault::Failing(302),
        Fault::Failing(422),
    ] {
        registry.fault(fault);
        for id in [known, 7] {
            let error = client.schema(SchemaRef::Id(id)).await.unwrap_err();
            assert!(matches!(error, RegistryError::Unavailable { .. }), "{fault:?}: {error:?}");
        }
        let text = record("deal", &[]);
        for error in [
            client.lookup("deal-value", &text).await.unwrap_err(),
            client.register("deal-value", &text, &[]).await.unwrap_err(),
            client.compatible("deal-value", &text).await.unwrap_err(),
            client.latest("deal-value").await.unwrap_err(),
        ] {
            assert!(matches!(error, RegistryError::Unavailable { .. }), "{fault:?}: {error:?}");
        }
    }
    // Nothing of that was kept, and what was fetched once is there whatever ails the registry.
    registry.fault(Fault::None);
    client.schema(SchemaRef::Id(known)).await.unwrap();
    registry.fault(Fault::Down);
    client.schema(SchemaRef::Id(known)).await.unwrap();
}

#[tokio::test]
async fn a_slow_registry_is_waited_for_within_the_deadline() {
    let registry = sandbox().await;
    let client = client(registry.url());
    registry.fault(Fault::Slow(Duration::from_millis(200)));
    let begun = Instant::now();
    assert!(matches!(client.schema(SchemaRef::Id(7)).await, Err(RegistryError::NotYet { .. })));
    assert!(begun.elapsed() >= Duration::from_millis(200));

    registry.fault(Fault::Slow(Duration::from_secs(60)));
    let begun = Instant::now();
    let error = client.schema(SchemaRef::Id(8)).await.unwrap_err();
    assert!(error.to_string().contains("does not answer in time"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn nobody_listening_is_told_with_its_cause() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = client(format!("http://{free}")).schema(SchemaRef::Id(7)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }));
    assert!(error.to_string().contains("cannot be reached") && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_an_outage_and_shows_nowhere() {
    let registry = Registry::start_with_password("127.0.0.1:0".parse().unwrap(), "bus", "right-9c1d").await.unwrap();
    for credential in [Credential::None, basic(CANARY), Credential::Bearer { token: Secret::new(CANARY.into()) }] {
        let client = with(registry.url(), credential);
        let error = client.schema(SchemaRef::Id(7)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("answered 401 to our credential"), "{error}");
        assert!(!format!("{error:?} {error} {client:?}").contains(CANARY));
    }
    let client = with(registry.url(), basic("right-9c1d"));
    assert!(matches!(client.schema(SchemaRef::Id(7)).await, Err(RegistryError::NotYet { .. })));
}

#[tokio::test]
async fn a_thousand_askers_for_one_id_make_one_request() {
    let registry = sandbox().await;
    let id = client(registry.url()).register("deal-value", &record("deal", &[]), &[]).await.unwrap();
    let (client, before) = (client(registry.url()), registry.requests().len());
    registry.fault(Fault::Slow(Duration::from_millis(200)));
    let ask = |id| {
        let client = client.clone();
        tokio::spawn(async move { client.schema(SchemaRef::Id(id)).await })
    };
    let (good, bad): (Vec<_>, Vec<_>) = (0..1_000).map(|_| (ask(id), ask(7))).unzip();
    for asker in good {
        asker.await.unwrap().unwrap();
    }
    for asker in bad {
        assert!(matches!(asker.await.unwrap(), Err(RegistryError::NotYet { .. })));
    }
    let mut asked = registry.requests().split_off(before);
    asked.sort();
    let mut expected = [format!("GET /schemas/ids/{id}"), "GET /schemas/ids/7".to_owned()];
    expected.sort();
    assert_eq!(asked, expected);

    // Later ones ask nobody, until it is time to ask again for what was not there.
    ask(id).await.unwrap().unwrap();
    ask(7).await.unwrap().unwrap_err();
    assert_eq!(registry.requests().len(), before + 2);
}

/// Asks until the registry's word is believed, as records that wait for a schema do.
async fn insist(client: &RegistryClient, id: u32) -> Result<(), RegistryError> {
    loop {
        match client.schema(SchemaRef::Id(id)).await {
            Err(RegistryError::NotYet { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            outcome => return outcome.map(|_| ()),
        }
    }
}

#[tokio::test]
async fn an_id_that_a_lagging_registry_hears_of_late_is_waited_for() {
    // The sandbox makes an id of the schema itself, so that another registry tells which one it will be.
    let (leader, follower, deal) = (sandbox().await, sandbox().await, record("deal", &[]));
    let id = client(leader.url()).register("deal-value", &deal, &[]).await.unwrap();
    let asks = client(follower.url());
    assert!(matches!(asks.schema(SchemaRef::Id(id)).await, Err(RegistryError::NotYet { .. })));
    client(follower.url()).register("deal-value", &deal, &[]).await.unwrap();
    insist(&asks, id).await.unwrap();
}

#[tokio::test]
async fn an_id_that_is_not_there_after_some_seconds_of_asking_is_believed_and_is_cheap() {
    let registry = sandbox().await;
    let client = client(registry.url());
    let begun = Instant::now();
    assert!(matches!(insist(&client, 7).await, Err(RegistryError::NotFound { .. })));
    assert!((5..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let asked = registry.requests().len();
    assert!((4..=10).contains(&asked), "{asked} requests for what nobody has");
    assert!(matches!(client.schema(SchemaRef::Id(7)).await, Err(RegistryError::NotFound { .. })));
    assert_eq!(registry.requests().len(), asked);
}

/// Serves each connection one fixed answer.
async fn raw(text: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

async fn answers(status: u16, body: &str) -> RegistryError {
    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    client(raw(text).await).schema(SchemaRef::Id(7)).await.unwrap_err()
}

#[tokio::test]
async fn what_is_not_a_registry_is_not_believed() {
    let page = format!("<html>{}</html>", " ".repeat(3 << 20));
    for (status, body) in [
        (200, "<html>Welcome!</html>"),
        (200, "{}"),
        (200, r#"{"schema":7}"#),
        (200, r#""string""#),
        (204, ""),
        (404, r#"{"message":"no route"}"#),
        (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
        (404, &page),
        (502, &page),
        (500, r#"{"error_code":50001,"message":"store"}"#),
    ] {
        let error = answers(status, body).await;
        assert!(matches!(error, RegistryError::Unavailable { .. }), "{status}: {error:?}");
    }
    // What came of it is a whole schema, and still not all that was to come.
    let cut = "HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\n{\"schema\":\"string\"}";
    let cut = client(raw(cut.into()).await);
    let error = cut.schema(SchemaRef::Id(7)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_schema_that_records_cannot_be_read_with_is_the_records_fault() {
    for (body, says) in [
        (r#"{"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"}"#, "PROTOBUF"),
        (r#"{"schema":"{}","schemaType":"JSON"}"#, "JSON"),
        (r#"{"schema":"{"}"#, "not JSON"),
        (r#"{"schema":"{\"type\":\"record\",\"name\":\"a\",\"fields\":[{\"name\":\"b\",\"type\":\"c.D\"}]}"}"#, "c.D"),
    ] {
        let error = answers(200, body).await;
        assert!(matches!(error, RegistryError::NotAvro { .. } | RegistryError::Malformed { .. }), "{body}: {error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_message_of_the_registry_is_told_in_one_line_without_our_secret() {
    let body = format!(r#"{{"error_code":42201,"message":"you are\nBearer {CANARY}"}}"#);
    let text = format!("HTTP/1.1 422 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let client = with(raw(text).await, Credential::Bearer { token: Secret::new(CANARY.into()) });
    let error = client.register("deal-value", "{}", &[]).await.unwrap_err();
    assert!(error.to_string().ends_with(r"you are\nBearer [secret]"), "{error}");
}
