//! A system that is down and comes back: it is not beaten meanwhile, and has all its work soon after.

use std::time::Duration;

use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::Load;
use crate::secs;

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
