//! A credential that is revoked under many calls: another token is fetched, once for all of them. Where there is none, or it is
//! refused like the first, that is nobody's fault but the credential's: everything waits until somebody has seen to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use serde_json::Value;
use tieline_delivery::oracle::Produced;
use tieline_sandbox::recorder::Options;

use crate::canary::Canary;
use crate::identity::{CLIENT_ID, Given, Identity};
use crate::load::{Load, Setup};
use crate::process::{Process, tieline};
use crate::size::{figure, size};
use crate::{eventually, secs};

/// Calls that may be under way at once, as the table of hostile inputs has it.
const IN_FLIGHT: usize = 1_000;

/// What each call takes: so long that hundreds are under way when the token is revoked.
const LATENCY: Duration = Duration::from_millis(300);

/// Fewer calls than this under the revoked token would show nothing.
const REVOKED_MIN: usize = 50;

/// Probes of an outage are 2.5 s apart, or more (`delivery/src/breaker.rs`); each may ask for a token, once.
const PROBE_EVERY_MIN: Duration = Duration::from_millis(2_500);

/// What becomes of it after the token was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Another token is good.
    Renewed,
    /// The provider gives no other.
    RefusedByTheProvider,
    /// It gives others, and the system takes none of them.
    RefusedByTheSystem,
}

/// A bus whose system takes a provider's tokens.
struct Bus {
    load: Load,
    identity: Identity,
    /// Whether the system takes none of them.
    locked: Arc<AtomicBool>,
}

impl Bus {
    /// Its first token is revoked after four tenths of the calls.
    async fn start(name: &str, then: Then) -> Self {
        let identity = Identity::start().await;
        let locked = Arc::new(AtomicBool::new(false));
        let system = Options {
            latency: LATENCY,
            proven: Some(Box::new(door(Arc::clone(&identity.given), Arc::clone(&locked), then))),
            ..Options::default()
        };
        let (url, client) = (identity.token_url(), "client_secret: secret:recorder-client-secret");
        let setup = Setup {
            deliver: format!("{{ order: none, in_flight: {IN_FLIGHT}, patience: 1s, start: earliest }}"),
            credential: format!("{{ oauth2: {{ token_url: \"{url}\", client_id: {CLIENT_ID}, {client} }} }}"),
            environment: vec![("TIELINE_SECRET_RECORDER_CLIENT_SECRET".to_owned(), Canary::ClientSecret.value())],
            ..Setup::new(name, system)
        };
        Self { load: Load::start_on(setup).await, identity, locked }
    }

    /// Calls that were refused with 401.
    fn refused(&self) -> usize {
        self.load.recorder.arrivals().iter().filter(|arrival| arrival.status == 401).count()
    }

    /// Nothing was set aside, and nothing buried.
    async fn nothing_ended_otherwise(&self, replica: &Process) {
        let pages = replica.pages();
        let (_, metrics) = pages.iter().find(|(path, _)| *path == "/metrics").expect("metrics");
        assert!(metrics.contains("tieline_parked_records{consumer=\"apply-item\"} 0"), "{metrics}");
        let (dir, environment) = (self.load.dir.path().to_owned(), self.load.environment.clone());
        let list = move || tieline(&dir, &["dead-letters", "list", "apply-item", "--json"], &environment);
        let (code, out, error) = tokio::task::spawn_blocking(list).await.expect("dead-letters list");
        assert_eq!((code, out.as_str()), (0, "[]\n"), "{error}");
    }

    /// All is delivered once, in the end.
    async fn ends_well(self, replica: Process, mut produced: Vec<Produced>) {
        self.load.drained(produced.len(), secs(120)).await;
        self.load.all_committed(&produced, secs(60)).await;
        self.nothing_ended_otherwise(&replica).await;
        assert!(replica.terminate(secs(30)).await.success());
        // Nobody promised an order.
        produced.iter_mut().for_each(|record| record.key = None);
        let verdict = self.load.verdict(produced, Some(0)).await;
        assert!(verdict.holds(), "{verdict}");
    }
}

/// Lets calls with a good token in, and revokes the first token after some of them.
fn door(given: Arc<Given>, locked: Arc<AtomicBool>, then: Then) -> impl Fn(&HeaderMap) -> bool + Send + Sync {
    let revoke_at = usize::try_from(size().revoked_calls * 4 / 10).expect("few calls");
    let calls = AtomicUsize::new(0);
    move |headers| {
        if calls.fetch_add(1, Ordering::SeqCst) == revoke_at {
            given.revoke();
            given.refuse(then == Then::RefusedByTheProvider);
            locked.store(then == Then::RefusedByTheSystem, Ordering::SeqCst);
        }
        !locked.load(Ordering::SeqCst) && given.holds(headers)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_in_the_middle_of_a_thousand_calls_is_fetched_once_more_and_is_no_outage() {
    let bus = Bus::start("revoked", Then::Renewed).await;
    let produced = bus.load.produce(size().revoked_calls, secs(1)).await.unwrap();
    let replica = bus.load.replica("a");
    bus.load.drained(produced.len(), secs(120)).await;

    let (refused, requests) = (bus.refused(), bus.identity.given.requests());
    figure(format_args!(
        "{} calls, {refused} of them under the revoked token; {requests} requests for one",
        size().revoked_calls
    ));
    assert!(refused >= REVOKED_MIN, "only {refused} calls were under way with the revoked token");
    assert_eq!(requests, 2, "one to begin with, and one when it was revoked");
    assert_eq!(bus.load.recorder.arrived(), produced.len() + refused, "each calls once more at most");
    assert!(!replica.log().contains("the system fails for everybody"), "it was taken for an outage");
    bus.ends_well(replica, produced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_credential_is_refused_everything_waits_and_nothing_is_parked_or_buried() {
    stays_refused("refused-there", Then::RefusedByTheProvider).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_so_too_while_there_are_new_tokens_and_none_is_taken() {
    stays_refused("refused-here", Then::RefusedByTheSystem).await;
}

async fn stays_refused(name: &str, then: Then) {
    let bus = Bus::start(name, then).await;
    let produced = bus.load.produce(size().revoked_calls, secs(1)).await.unwrap();
    let replica = bus.load.replica("a");
    eventually("it is an outage", secs(60), || replica.log().contains("the system fails for everybody")).await;
    eventually("what was under way has ended, and is committed", secs(60), || {
        let (effects, committed) = (bus.load.recorder.effects(), bus.load.committed("apply-item"));
        std::thread::sleep(LATENCY * 4);
        (bus.load.recorder.effects(), bus.load.committed("apply-item")) == (effects, committed)
    })
    .await;

    let before = (bus.load.recorder.effects(), bus.load.committed("apply-item"));
    let (refused, requests) = (bus.refused(), bus.identity.given.requests());
    let since = Instant::now();
    while since.elapsed() < size().revoked_for {
        tokio::time::sleep(secs(1)).await;
        assert_eq!((bus.load.recorder.effects(), bus.load.committed("apply-item")), before, "something has moved");
        says_that_it_is_the_credential(&replica);
    }
    bus.nothing_ended_otherwise(&replica).await;
    let probes = bus.identity.given.requests() - requests;
    figure(format_args!(
        "{then:?}: {refused} calls refused until all were at rest, {requests} requests for a token; then {} calls and {probes} \
         requests in {:.0} s",
        bus.refused() - refused,
        since.elapsed().as_secs_f64()
    ));
    assert!(refused >= REVOKED_MIN, "only {refused} calls were under way with the revoked token");
    let probes_max = |time: Duration| time.as_millis().div_ceil(PROBE_EVERY_MIN.as_millis()) + 1;
    assert!(probes as u128 <= probes_max(since.elapsed()), "{probes} requests for a token in {:?}", since.elapsed());
    // The first token, one for all that were under way, and probes until everything was seen to rest.
    assert!(
        requests as u128 <= 2 + probes_max(secs(10)),
        "{requests} requests for a token, of {refused} refused calls"
    );

    bus.identity.given.refuse(false);
    bus.locked.store(false, Ordering::SeqCst);
    bus.ends_well(replica, produced).await;
}

/// The status names the credential for each partition that waits.
fn says_that_it_is_the_credential(replica: &Process) {
    let pages = replica.pages();
    let (_, stuck) = pages.iter().find(|(path, _)| *path == "/stuck").expect("what is stuck");
    let (_, body) = stuck.split_once("\r\n\r\n").expect("a body");
    let stuck: Value = serde_json::from_str(body).expect("JSON");
    let whys: Vec<&str> =
        stuck["stuck"].as_array().expect("a list").iter().filter_map(|at| at["why"].as_str()).collect();
    assert!(!whys.is_empty(), "nothing is said to be stuck");
    for why in whys {
        assert!(why.contains("http-401") || why.contains("invalid_client"), "{why}");
    }
}
