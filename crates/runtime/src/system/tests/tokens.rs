//! Token endpoints that ask to wait, and those that want the client's secret in the form.

use std::sync::Mutex;

use super::*;

/// A token endpoint that answers the first request with this status and header, and the later ones with a token.
async fn endpoint(
    status: u16,
    header: Option<&'static str>,
) -> (Arc<SystemClient>, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (tokens, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (t, c) = (Arc::clone(&tokens), Arc::clone(&calls));
    let token = move || async move {
        let mut headers = HeaderMap::new();
        if t.fetch_add(1, Ordering::SeqCst) > 0 {
            return (StatusCode::OK, headers, r#"{"access_token":"t","token_type":"bearer"}"#);
        }
        if let Some(wait) = header {
            headers.insert("retry-after", wait.parse().unwrap());
        }
        (StatusCode::from_u16(status).unwrap(), headers, "{}")
    };
    let call = move || async move { c.fetch_add(1, Ordering::SeqCst).to_string() };
    let base = serve(Router::new().route("/token", post(token)).route("/x", post(call))).await;
    let credential = oauth2(&format!("{base}/token"));
    (client(base, credential), tokens, calls)
}

#[tokio::test]
async fn a_wait_of_the_token_endpoint_is_everybodys_and_nobody_asks_before_it_is_over() {
    for (status, header, seconds) in [(429, Some("2"), 2), (503, Some("1"), 1), (429, None, 2)] {
        let (client, tokens, calls) = endpoint(status, header).await;
        let begun = Instant::now();
        let first = client.call(&request("/x", &[])).await;
        assert_eq!(first.answer, Answer::Throttled { retry_after: Duration::from_secs(seconds) }, "{status}");
        let answers = call_at_once(&client, 20).await;
        assert!(answers.iter().all(|a| matches!(a, Answer::Throttled { .. })), "{answers:?}");
        assert_eq!((tokens.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (1, 0));

        while client.call(&request("/x", &[])).await.answer != Answer::Applied {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is never over");
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() >= Duration::from_secs(seconds), "{status}: asked after {:?}", begun.elapsed());
        assert_eq!((tokens.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (2, 1));
    }
}

#[tokio::test]
async fn a_clients_secret_goes_into_the_header_or_into_the_form_as_declared() {
    for auth in [ClientAuth::Basic, ClientAuth::Post] {
        let seen = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&seen);
        let token = move |headers: HeaderMap, body: String| async move {
            *kept.lock().unwrap() = Some((headers.contains_key("authorization"), body));
            r#"{"access_token":"t"}"#
        };
        let base = serve(Router::new().route("/token", post(token)).fallback(|| async { "" })).await;
        let credential = Credential::OAuth2 {
            token_url: format!("{base}/token"),
            client_id: "the bus".into(),
            client_secret: Secret::new("a+b/c=".into()),
            client_auth: auth,
            scopes: vec!["a".into(), "b".into()],
        };
        let client = client(base, credential);
        assert_eq!(client.call(&request("/x", &[])).await.answer, Answer::Applied);
        let expect = match auth {
            ClientAuth::Basic => (true, "grant_type=client_credentials&scope=a%20b".to_owned()),
            ClientAuth::Post => {
                let form = "grant_type=client_credentials&scope=a%20b&client_id=the%20bus&client_secret=a%2Bb%2Fc%3D";
                (false, form.to_owned())
            }
        };
        assert_eq!(seen.lock().unwrap().take(), Some(expect));
        assert!(!format!("{client:?}").contains("a%2Bb"), "{client:?}");
    }
}

/// A token endpoint that refuses all but the first request, at once, and a system that takes no token and says so to one
/// call after another.
async fn locked_out(status: StatusCode) -> (Arc<SystemClient>, Arc<AtomicUsize>) {
    let (tokens, calls) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let t = Arc::clone(&tokens);
    let token = move || async move {
        let is_first = t.fetch_add(1, Ordering::SeqCst) == 0;
        let given = (StatusCode::OK, r#"{"access_token":"t","token_type":"bearer"}"#);
        if is_first { given } else { (status, r#"{"error":"invalid_client"}"#) }
    };
    let calls = Arc::new(calls);
    let call = move || async move {
        let before = calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200 + u64::try_from(before).unwrap() * 2)).await;
        StatusCode::UNAUTHORIZED
    };
    let base = serve(Router::new().route("/token", post(token)).route("/x", post(call))).await;
    (client(base.clone(), oauth2(&format!("{base}/token"))), tokens)
}

#[tokio::test]
async fn a_token_that_cannot_be_had_is_asked_for_once_for_all_calls_that_were_under_way() {
    for (status, is_refused) in [(StatusCode::UNAUTHORIZED, true), (StatusCode::INTERNAL_SERVER_ERROR, false)] {
        let (client, tokens) = locked_out(status).await;
        let answers = call_at_once(&client, 100).await;
        let fits = |answer: &Answer| match is_refused {
            true => matches!(answer, Answer::Credential(_)),
            false => matches!(answer, Answer::NotApplied(_)),
        };
        assert!(answers.iter().all(fits), "{answers:?}");
        assert_eq!(tokens.load(Ordering::SeqCst), 2, "{status}");
        // A call that begins later finds out whether it is so still.
        assert!(fits(&client.call(&request("/x", &[])).await.answer));
        assert_eq!(tokens.load(Ordering::SeqCst), 3, "{status}");
    }
}
