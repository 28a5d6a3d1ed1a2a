//! A system that is down and comes back: it is not beaten meanwhile, and has all its work soon after, by however many
//! consumers it is called.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::{Load, key_of};
use crate::process::Process;
use crate::secs;
use crate::size::{figure, size};

/// Records in a second.
const RATE: u64 = 200;

/// When it is down, since the first call.
const DOWN: (Duration, Duration) = (secs(5), secs(15));

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_down_gets_a_tenth_of_its_calls_and_all_of_them_soon_after() {
    let first = std::sync::Arc::new(std::sync::OnceLock::new());
    let of_first = std::sync::Arc::clone(&first);
    let react = move |arrival: &Arrival| {
        let at = arrival.at - *of_first.get_or_init(|| arrival.at);
        (DOWN.0..DOWN.1).contains(&at).then(|| Reaction { status: 503, ..Reaction::default() })
    };
    let options = Options { latency: Duration::from_millis(5), react: Some(Box::new(react)), ..Options::default() };
    let load = Load::start("herd", options).await;
    let replica = load.replica("a");
    let produced = load.produce(RATE * 27, secs(27)).await.unwrap();
    load.drained(produced.len(), secs(60)).await;
    load.all_committed(&produced, secs(30)).await;
    assert!(replica.terminate(secs(30)).await.success());

    let start = *first.get().unwrap();
    let arrivals = load.recorder.arrivals();
    let between = |from: Duration, to: Duration| {
        arrivals.iter().filter(move |arrival| (from..to).contains(&(arrival.at - start)))
    };
    let attempts = between(DOWN.0, DOWN.1).count();
    let normal = usize::try_from(RATE * 10).unwrap();
    let caught_up = between(DOWN.1, DOWN.1 + secs(10)).filter(|arrival| arrival.applied).count();
    println!("{attempts} attempts while it was down, of {normal} normally; {caught_up} effects in 10 s after");
    assert!(attempts * 10 <= normal, "{attempts} attempts while it was down");
    // What was left over, and what came meanwhile.
    assert!(caught_up * 10 >= (normal + normal) * 9, "{caught_up} effects in 10 s after");
    let verdict = load.verdict(produced, None).await;
    assert!(verdict.holds(), "{verdict}");
}

/// What comes before the system goes down, and after it is back: a rate is seen in so long.
const SEEN_IN: Duration = secs(10);

/// Consumers whose probes are no herd come within so long of each other by chance alone.
const AT_ONCE: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn many_consumers_of_a_system_that_was_down_do_not_come_back_as_a_herd() {
    let (consumers, down) = (size().herd_consumers, size().herd_down);
    let went_down = Arc::new(OnceLock::new());
    let of_system = Arc::clone(&went_down);
    let react = move |arrival: &Arrival| {
        let from: Duration = *of_system.get()?;
        (from..from + down).contains(&arrival.at).then(|| Reaction { status: 503, ..Reaction::default() })
    };
    let options = Options { latency: Duration::from_millis(5), react: Some(Box::new(react)), ..Options::default() };
    let load = Load::start("herds", options).await;
    let names = copies(&load, consumers).await;
    let all: Vec<String> = names.iter().map(|name| format!("consumers/{name}")).collect();
    let args: Vec<&str> =
        ["run"].into_iter().chain(all.iter().map(String::as_str)).chain(["--admin", "127.0.0.1:0"]).collect();
    let replica = Process::start(load.dir.path(), "herds", &args, &load.environment);
    let rate = size().herd_rate / u64::try_from(consumers).unwrap();
    let mut produced = load.produce(rate * 5, secs(5)).await.unwrap();
    load.drained(produced.len() * consumers, secs(120)).await;

    went_down.set(load.recorder.elapsed() + SEEN_IN).unwrap();
    let took = SEEN_IN * 2 + down;
    let first = u64::try_from(produced.len()).unwrap();
    produced.extend(load.produce_from(first, rate * took.as_secs(), took).await.unwrap());
    load.drained(produced.len() * consumers, secs(180)).await;
    load.all_committed(&produced, secs(60)).await;
    assert!(replica.terminate(secs(60)).await.success());

    let (from, arrivals) = (*went_down.get().unwrap(), load.recorder.arrivals());
    let up = from + down;
    let applied = |from: Duration, to: Duration| {
        arrivals.iter().filter(|arrival| arrival.applied && (from..to).contains(&arrival.at)).count()
    };
    let (before, after) = (applied(from - SEEN_IN, from), applied(up, up + SEEN_IN));
    let attempts: Vec<Duration> =
        arrivals.iter().map(|arrival| arrival.at).filter(|at| (from..up).contains(at)).collect();
    let normal = before * usize::try_from(down.as_secs()).unwrap() / usize::try_from(SEEN_IN.as_secs()).unwrap();
    // Those that find out that it is down have their calls under way at once; afterwards each has probes of its own.
    let probes: Vec<Duration> = attempts.iter().copied().filter(|at| *at > from + down / 2).collect();
    let at_once =
        probes.iter().map(|from| probes.iter().filter(|at| (*from..*from + AT_ONCE).contains(at)).count()).max();
    let at_once = at_once.unwrap_or(0);
    figure(format_args!(
        "{consumers} consumers, {} s of 503: {} attempts where {normal} are normal, at most {at_once} of them within {} ms in its \
         second half; {before} effects in 10 s before it, {after} in 10 s after it",
        down.as_secs(),
        attempts.len(),
        AT_ONCE.as_millis()
    ));
    assert!(attempts.len() * 10 <= normal, "{} attempts where {normal} are normal", attempts.len());
    assert!(after * 10 >= before * 9, "{after} effects in 10 s after, {before} before");
    // Of three, all may come at once by chance.
    assert!(consumers < 10 || at_once <= consumers / 2, "{at_once} of {consumers} came at once");
    let of_first: BTreeSet<String> = produced.iter().map(|record| key_of(&load.name, &record.event_id)).collect();
    let is_of_first = |arrival: &Arrival| arrival.idempotency_key.as_ref().is_some_and(|key| of_first.contains(key));
    let verdict = load.verdict_of(arrivals.into_iter().filter(is_of_first).collect(), produced, None, Vec::new()).await;
    assert!(verdict.holds(), "{verdict}");
}

/// Makes so many consumers of the load's one, itself among them, and applies the bus.
async fn copies(load: &Load, count: usize) -> Vec<String> {
    let consumers = load.dir.path().join("consumers");
    let text = std::fs::read_to_string(consumers.join("apply-item/consumer.yaml")).unwrap();
    let copies = (1..count).map(|number| format!("copy-{number}"));
    for copy in copies.clone() {
        std::fs::create_dir(consumers.join(&copy)).unwrap();
        std::fs::write(consumers.join(&copy).join("consumer.yaml"), &text).unwrap();
    }
    let (code, out, error) = load.apply(&[]).await;
    assert_eq!(code, 0, "{out}{error}");
    std::iter::once("apply-item".to_owned()).chain(copies).collect()
}
