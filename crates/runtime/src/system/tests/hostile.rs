//! What values of events cannot do to a request, and what answers without end cannot do to us.

use proptest::prelude::*;
use reqwest::Method;

use super::super::target::{Base, request as made};
use super::*;

/// Longest that a test waits for what has to end at a deadline of half a second: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the kernel's buffers of a loopback connection hold beside what is read.
const SOCKET_BYTES_MAX: usize = 12 << 20;

/// Any text, and what has a meaning to something between us and the system.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "/",
            "\\",
            "..",
            ".",
            "/../",
            "%2e%2e",
            "%2F",
            "?",
            "#",
            "&",
            "=",
            ";",
            ":",
            "@",
            "//evil.example",
            "\r\n",
            "\r\nHost: evil.example",
            "\n",
            "\0",
            "\t",
            " ",
            "\u{7f}",
            "ü",
            "／",
            "．",
            "\u{2028}",
            "\u{202e}",
            "{id}",
            "+",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A value goes into its segment, its query parameter and its header, whole and alone, or nothing is sent.
    #[test]
    fn no_value_changes_what_is_called(id in hostile(), item in hostile(), query in hostile(), header in hostile()) {
        let base = Base::parse("https://erp.example:8443/api/").unwrap();
        let parameters = [
            ("id", Place::Path, id.as_str()), ("item", Place::Path, &item), ("q", Place::Query, &query), ("x-note", Place::Header, &header),
        ];
        let system = system("https://erp.example:8443/api/".into());
        let Ok(request) = made(&base, &system, &request("/users/{id}/items/{item}/close", &parameters)) else {
            // What can be said in every place is never refused.
            let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
            prop_assert!(!(plain(&id) && plain(&item) && plain(&query) && plain(&header)) || id.len() + item.len() > 2_000);
            return Ok(());
        };
        let url = request.url();
        prop_assert_eq!(request.method(), Method::POST);
        prop_assert_eq!((url.scheme(), url.host_str(), url.port()), ("https", Some("erp.example"), Some(8443)));
        prop_assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let segments: Vec<String> = url.path_segments().unwrap().map(decoded).collect();
        prop_assert_eq!(segments, ["api", "users", &id, "items", &item, "close"]);
        prop_assert!(!url.path_segments().unwrap().any(|segment| matches!(segment, "." | ".." | "")));
        let pairs: Vec<(String, String)> =
            url.query().unwrap().split('&').map(|pair| pair.split_once('=').unwrap()).map(|(n, v)| (decoded(n), decoded(v))).collect();
        prop_assert_eq!(pairs, [("q".to_owned(), query)]);
        prop_assert_eq!(request.headers().get_all("x-note").iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>(), [header]);
        let names: Vec<&str> = request.headers().keys().map(|name| name.as_str()).collect();
        prop_assert!(names.iter().all(|name| ["x-note", "accept", "accept-encoding", "content-type"].contains(name)), "{:?}", names);
    }
}

/// Serves one connection: writes this after a request, again and again, and counts the bytes that were taken.
async fn endless(head: &'static [u8], again: Vec<u8>, pause: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4_096]).await;
        let mut next = head;
        while stream.write_all(next).await.is_ok() {
            count.fetch_add(next.len(), Ordering::SeqCst);
            next = &again;
            tokio::time::sleep(pause).await;
        }
    });
    (format!("http://{address}"), sent)
}

#[tokio::test]
async fn a_body_without_end_is_kept_to_its_bound_and_the_rest_is_not_read() {
    for head in [
        b"HTTP/1.1 422 No\r\ncontent-length: 10737418240\r\n\r\n".as_slice(),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10737418240\r\n\r\n",
    ] {
        let (base, sent) = endless(head, vec![b'0'; 1 << 16], Duration::ZERO).await;
        let system = System { response_bytes_max: 64 * 1024, deadline: Duration::from_secs(60), ..system(base) };
        let begun = Instant::now();
        let reply = client_of(system).call(&Request { reads_response: true, ..request("/x", &[]) }).await;
        // Far below the deadline: it was the bound that ended it.
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert!(reply.log.excerpt.len() <= 512, "{reply:?}");
        let taken = sent.load(Ordering::SeqCst);
        assert!(taken <= SOCKET_BYTES_MAX, "{taken} bytes were taken");
    }
}

#[tokio::test]
async fn one_deadline_holds_for_a_head_and_a_body_that_drip_together() {
    let pause = Duration::from_millis(20);
    for (head, again) in [
        (b"H".as_slice(), b"TTP/1.1 200 OK\r\n".to_vec()),
        (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n".to_vec()),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"0".to_vec()),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n0\r\n".to_vec()),
    ] {
        let (base, _) = endless(head, again, pause).await;
        let begun = Instant::now();
        let system = System { deadline: Duration::from_millis(500), response_bytes_max: 64 * 1024, ..system(base) };
        let reply = client_of(system).call(&Request { reads_response: true, ..request("/x", &[]) }).await;
        assert!(begun.elapsed() < PATIENCE, "{:?}: {reply:?}", begun.elapsed());
        assert!(
            !matches!(reply.answer, Answer::Refused(_) | Answer::NotApplied(_)),
            "it may have been applied: {reply:?}"
        );
    }
}

#[tokio::test]
async fn a_thousand_calls_with_a_token_at_its_end_share_one_request_for_another() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tokens);
    let token = move || async move {
        // The first is at its end when it comes.
        let (n, life) = match count.fetch_add(1, Ordering::SeqCst) {
            0 => (0, 0),
            n => (n, 3_600),
        };
        format!(r#"{{"access_token":"{CANARY}-{n}","token_type":"bearer","expires_in":{life}}}"#)
    };
    let base = serve(Router::new().route("/token", post(token)).route("/x", post(|| async { "" }))).await;
    let credential = oauth2(&format!("{base}/token"));
    let client = client(base, credential);
    client.call(&request("/x", &[])).await;
    assert_eq!(tokens.load(Ordering::SeqCst), 1);
    let answers = call_at_once(&client, 1_000).await;
    // A busy machine may not take a thousand connections in time; the token is what is asked about here.
    let answered = answers.iter().filter(|answer| **answer == Answer::Applied).count();
    assert!(answered > 0 && !answers.iter().any(|a| matches!(a, Answer::Credential(_)) || code(a) == "token"));
    assert_eq!(tokens.load(Ordering::SeqCst), 2);
}
