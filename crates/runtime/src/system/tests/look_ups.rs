//! Look-ups, end to end over HTTP: shared while they are under way, kept for their time, and only where they succeed.

use axum::extract::Path;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::super::{LookUpFailed, LookUps};
use super::*;

/// For ever, as far as a test can tell.
const LONG: Duration = Duration::from_secs(3_600);

/// A CRM that counts its calls, answers what it is told, and not before it may.
struct Crm {
    client: Arc<SystemClient>,
    operation: Arc<Operation>,
    calls: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
    status: Arc<AtomicUsize>,
}

impl Crm {
    /// One whose answers have the members of `user`, and its id where that is an object.
    async fn new(user: Value) -> Self {
        let (calls, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)));
        let status = Arc::new(AtomicUsize::new(200));
        let answer = {
            let (calls, answers, status) = (Arc::clone(&calls), Arc::clone(&answers), Arc::clone(&status));
            move |Path(id): Path<String>| async move {
                calls.fetch_add(1, Ordering::SeqCst);
                answers.acquire().await.unwrap().forget();
                let mut user = user;
                if let Some(user) = user.as_object_mut() {
                    user.insert("id".into(), id.into());
                }
                let status = u16::try_from(status.load(Ordering::SeqCst)).unwrap();
                (StatusCode::from_u16(status).unwrap(), user.to_string()).into_response()
            }
        };
        let base = serve(Router::new().route("/users/{id}", get(answer.clone()).post(answer))).await;
        let client = client(base, Credential::None);
        Self { client, operation: get_user("get"), calls, answers, status }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn ask(&self, look_ups: &LookUps, id: &str, keep: Duration) -> Result<Arc<Value>, LookUpFailed> {
        look_ups.get(&self.client, &self.operation, &[("id".into(), id.into())], keep, &flow()).await
    }
}

fn get_user(method: &str) -> Arc<Operation> {
    let user = json!({ "type": "object", "required": ["id", "name"], "properties": { "name": { "type": "string" } } });
    let responses = json!({ "200": { "description": "It.", "content": { "application/json": { "schema": user } } } });
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } });
    let operation = json!({ "operationId": "getUser", "parameters": [id], "responses": responses });
    let paths = json!({ "/users/{id}": { method: operation } });
    let document = json!({ "openapi": "3.1.0", "info": { "title": "CRM", "version": "1" }, "paths": paths });
    Arc::clone(Contract::parse(document).unwrap().operation("getUser").unwrap())
}

async fn eventually(holds: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it did not come about within 10 s");
}

#[tokio::test]
async fn a_thousand_askers_share_one_call_and_later_ones_what_it_gave() {
    let crm = Arc::new(Crm::new(json!({ "name": "Ada" })).await);
    let look_ups = Arc::new(LookUps::new());
    crm.answers.forget_permits(Semaphore::MAX_PERMITS);
    let ask = |id: &'static str| {
        let (crm, look_ups) = (Arc::clone(&crm), Arc::clone(&look_ups));
        tokio::spawn(async move { crm.ask(&look_ups, id, LONG).await })
    };
    let askers: Vec<_> = (0..1_000).map(|_| ask("u-1")).collect();
    let other = ask("u-2");
    eventually(|| crm.calls() == 2).await;
    crm.answers.add_permits(2);
    for asker in askers {
        assert_eq!(*asker.await.unwrap().unwrap(), json!({ "id": "u-1", "name": "Ada" }));
    }
    assert_eq!(other.await.unwrap().unwrap()["id"], "u-2", "what was asked of another user is another answer");
    assert_eq!(ask("u-1").await.unwrap().unwrap()["id"], "u-1");
    assert_eq!(crm.calls(), 2);
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_then_asked_for_again() {
    let (crm, look_ups) = (Crm::new(json!({ "name": "Ada" })).await, LookUps::new());
    let keep = Duration::from_millis(300);
    let begun = Instant::now();
    crm.ask(&look_ups, "u-1", keep).await.unwrap();
    while crm.calls() == 1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is kept for ever");
        crm.ask(&look_ups, "u-1", keep).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() >= keep, "it was kept for {:?} only", begun.elapsed());

    for _ in 0..2 {
        crm.ask(&look_ups, "u-2", Duration::ZERO).await.unwrap();
    }
    assert_eq!(crm.calls(), 4, "what is kept for no time is asked for each time");
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let (crm, look_ups) = (Crm::new(json!({ "name": "Ada" })).await, LookUps::new());
    for status in [503, 500, 404, 422] {
        crm.status.store(status, Ordering::SeqCst);
        let failed = crm.ask(&look_ups, "u-1", LONG).await.unwrap_err();
        assert_eq!((code(&failed.answer), failed.log.status), (&*format!("http-{status}"), u16::try_from(status).ok()));
        // A question has no effect, so that there is nothing that could be unknown of it.
        assert!(!matches!(failed.answer, Answer::Unknown(_)), "{failed:?}");
        assert!(failed.to_string().contains("getUser of erp"), "{failed}");
    }
    crm.status.store(200, Ordering::SeqCst);
    assert!(crm.ask(&look_ups, "u-1", LONG).await.is_ok());
    assert_eq!(crm.calls(), 5);
}

#[tokio::test]
async fn an_answer_that_breaks_its_contract_is_refused_and_not_kept() {
    for broken in [json!({ "name": 7 }), json!({}), json!([])] {
        let (crm, look_ups) = (Crm::new(broken).await, LookUps::new());
        for calls in 1..=2 {
            let failed = crm.ask(&look_ups, "u-1", LONG).await.unwrap_err();
            assert!(matches!(failed.answer, Answer::Refused(_)), "{failed:?}");
            assert_eq!((code(&failed.answer), crm.calls()), ("look-up-contract", calls));
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_on_the_way_is_asked_for_again_whatever_the_method() {
    let base = raw("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"id\"".into(), drop).await;
    let client = client(base, Credential::None);
    for method in ["get", "post"] {
        let failed = LookUps::new()
            .get(&client, &get_user(method), &[("id".into(), "u-1".into())], LONG, &flow())
            .await
            .unwrap_err();
        assert!(matches!(failed.answer, Answer::NotApplied(_)), "{method}: {failed:?}");
    }
}

#[tokio::test]
async fn what_is_absent_is_the_askers_fault_only_where_others_are_answered() {
    let (crm, look_ups) = (Crm::new(json!({ "name": "Ada" })).await, LookUps::new());
    let absent = [("id".to_owned(), "u-9".to_owned())];
    let flow = &flow();
    let others = |since| look_ups.answers_others(&crm.client, &crm.operation, &absent, since, flow);
    let begun = tokio::time::Instant::now();
    assert!(!others(begun).await, "nobody was ever answered");
    assert_eq!(crm.calls(), 0);

    crm.ask(&look_ups, "u-1", LONG).await.unwrap();
    assert!(others(begun).await, "another was answered since");
    assert_eq!(crm.calls(), 1, "and that is enough to know");

    let later = tokio::time::Instant::now();
    crm.ask(&look_ups, "u-1", LONG).await.unwrap();
    assert_eq!(crm.calls(), 1, "what is kept is no answer of now");
    assert!(others(later).await, "the one that was answered is answered again");
    assert_eq!(crm.calls(), 2);

    crm.status.store(404, Ordering::SeqCst);
    let later = tokio::time::Instant::now();
    assert!(!others(later).await, "nor is the one that was answered before");
    assert_eq!(crm.calls(), 3);
}

#[tokio::test]
async fn an_answer_to_the_same_question_says_nothing_of_others() {
    let (crm, look_ups) = (Crm::new(json!({ "name": "Ada" })).await, LookUps::new());
    let since = tokio::time::Instant::now();
    crm.ask(&look_ups, "u-9", Duration::ZERO).await.unwrap();
    let parameters = [("id".to_owned(), "u-9".to_owned())];
    assert!(!look_ups.answers_others(&crm.client, &crm.operation, &parameters, since, &flow()).await);
}
