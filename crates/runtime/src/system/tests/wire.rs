//! What stands on the wire: the headers of a call, and what a server may do to a connection.

use std::io::{Read as _, Write as _};
use std::sync::Mutex;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tieline_bus::{KeyHeader, Means, Stores, Version};
use uuid::Uuid;

use super::*;

const KEY: Uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The headers of the last call, as a server sees them.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<HeaderMap>>);

impl Seen {
    async fn serve(&self) -> String {
        let seen = self.clone();
        let keep = move |headers: HeaderMap| async move {
            *seen.0.lock().unwrap() = headers;
            StatusCode::NO_CONTENT
        };
        serve(Router::new().fallback(keep)).await
    }

    /// All values of a header.
    fn values(&self, name: &str) -> Vec<String> {
        let headers = self.0.lock().unwrap();
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

fn remembers(name: &str, quoted: bool) -> Idempotency {
    let remembers = Duration::from_secs(60);
    let header = KeyHeader { name: name.into(), quoted, remembers, stores: Stores::Success };
    Idempotency { means: Means::Header(header), ..Idempotency::default() }
}

#[tokio::test]
async fn the_idempotency_key_is_bare_or_quoted_as_the_system_takes_it() {
    let seen = Seen::default();
    let base = seen.serve().await;
    for (idempotency, name, sent) in [
        (remembers("Idempotency-Key", false), "idempotency-key", vec![KEY.to_string()]),
        (remembers("X-Request-Id", true), "x-request-id", vec![format!("\"{KEY}\"")]),
        (Idempotency { means: Means::Upsert { if_match: false }, ..Idempotency::default() }, "idempotency-key", vec![]),
        (Idempotency::default(), "idempotency-key", vec![]),
    ] {
        let client = client_of(System { idempotency, ..system(base.clone()) });
        let asked = Request { idempotency_key: Some(KEY), ..request("/x", &[]) };
        assert_eq!(client.call(&asked).await.answer, Answer::Applied);
        assert_eq!(seen.values(name), sent);
    }
}

#[tokio::test]
async fn version_trace_and_further_headers_are_sent_once_each() {
    let seen = Seen::default();
    let version = Some(Version { header: "API-Version".into(), expect: "2026-01".into() });
    let client = client_of(System { version, ..system(seen.serve().await) });
    let asked = Request {
        traceparent: Some(TRACE.into()),
        headers: vec![("Tieline-Replay".into(), "1".into())],
        ..request("/x", &[])
    };
    assert_eq!(client.call(&asked).await.answer, Answer::Applied);
    for (name, value) in [
        ("api-version", "2026-01"),
        ("traceparent", TRACE),
        ("tieline-replay", "1"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("content-length", "2"),
    ] {
        assert_eq!(seen.values(name), [value], "{name}");
    }
}

#[tokio::test]
async fn no_parameter_takes_the_place_of_what_the_definition_sets() {
    let seen = Seen::default();
    let base = seen.serve().await;
    let client =
        client_of(System { idempotency: remembers("Idempotency-Key", false), credential: key(), ..system(base) });
    let forged = [("idempotency-key", Place::Header, "forged"), ("x-key", Place::Header, "forged")];
    let asked = Request { idempotency_key: Some(KEY), ..request("/x", &forged) };
    assert_eq!(client.call(&asked).await.answer, Answer::Applied);
    assert_eq!(seen.values("idempotency-key"), [KEY.to_string()]);
    assert_eq!(seen.values("x-key"), [CANARY]);
}

#[tokio::test]
async fn a_required_header_that_the_definition_sets_need_not_be_given() {
    let seen = Seen::default();
    let version = Some(Version { header: "API-Version".into(), expect: "2026-01".into() });
    let base = seen.serve().await;
    let system =
        System { idempotency: remembers("Idempotency-Key", false), version, credential: key(), ..system(base) };
    let client = client_of(system);
    let declared =
        [("idempotency-key", Place::Header, ""), ("API-Version", Place::Header, ""), ("X-Key", Place::Header, "")];
    let asked = Request { idempotency_key: Some(KEY), parameters: vec![], ..request("/x", &declared) };
    assert_eq!(client.call(&asked).await.answer, Answer::Applied);
    assert_eq!(seen.values("idempotency-key"), [KEY.to_string()]);

    let declared = [("X-Tenant", Place::Header, "")];
    let reply = client.call(&Request { parameters: vec![], ..request("/x", &declared) }).await;
    assert_eq!(code(&reply.answer), "request", "nobody sets that one");
}

/// 64 KiB of zeros under gzip: 96 bytes, made by Python's `gzip.compress`.
fn bomb() -> Vec<u8> {
    let head = [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 1, 1, 0, 0, 0, 128, 144, 254, 175, 238, 8, 10];
    let tail = [106, 235, 142, 151, 215, 0, 0, 1, 0];
    [&head[..], &[0; 63], &tail].concat()
}

#[tokio::test]
async fn a_gzip_bomb_stays_as_small_as_it_came() {
    let answer = || async { (StatusCode::UNPROCESSABLE_ENTITY, [("content-encoding", "gzip")], bomb()) };
    let client = client(serve(Router::new().fallback(answer)).await, Credential::None);
    let reply = client.call(&request("/x", &[])).await;
    assert_eq!(code(&reply.answer), "http-422");
    assert!(reply.log.excerpt.starts_with("\\u{1f}"), "it was inflated: {}", reply.log.excerpt);
    assert!(reply.log.excerpt.len() <= 512);
}

/// A TLS server with a certificate that nobody has signed but itself. It ends with the test's process.
fn self_signed() -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_slice(include_bytes!("self-signed.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("self-signed.key")).unwrap();
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(b"HTTP/1.1 204 X\r\n\r\n");
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_talked_to_and_the_reason_says_so() {
    let reply = client(self_signed(), key()).call(&request("/x", &[])).await;
    let Answer::NotApplied(reason) = &reply.answer else { panic!("{reply:?}") };
    assert_eq!(reason.code, "connect");
    assert!(reason.detail.contains("certificate"), "{}", reason.detail);
}

/// A host that swallows packets: its queue of connections that nobody accepts is full, so that it drops what comes.
async fn swallows() -> (String, Vec<tokio::net::TcpStream>, TcpListener) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let (address, mut waiting) = (listener.local_addr().unwrap(), Vec::new());
    let connect = || tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address));
    while let Ok(stream) = connect().await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "its queue is never full");
    }
    (format!("http://{address}"), waiting, listener)
}

#[tokio::test]
async fn a_host_that_swallows_packets_is_known_not_to_have_been_reached() {
    let (base, _waiting, _listener) = swallows().await;
    let client = client_of(System { deadline: Duration::from_secs(1), ..system(base) });
    let reply = client.call(&request("/x", &[])).await;
    assert!(matches!(reply.answer, Answer::NotApplied(_)), "{reply:?}");
    assert_eq!(code(&reply.answer), "connect");
}
