//! A partition whose commits are refused, such as by a topic of dead letters that takes none.

use std::collections::BTreeSet;

use tieline_delivery::PauseReason;

use crate::bench::{Bench, millis, secs, settings, status};

/// Some partitions, of which the first can be committed no more.
fn refused(partitions: i32) -> Bench {
    let mut settings = settings();
    (settings.in_flight_max, settings.repeats_max) = (4, 60);
    let mut c = Bench::empty(settings);
    (0..partitions).for_each(|partition| c.assign(partition, 0, ""));
    c.advance(secs(1));
    c.refuses_commits_of.insert(0);
    c
}

/// Has records come to these partitions and be done, a few a second.
fn traffic(c: &mut Bench, partitions: &[i32], offsets: std::ops::Range<i64>) -> Vec<(i32, i64)> {
    let mut sent = Vec::new();
    for offset in offsets {
        for partition in partitions {
            c.fetch_from(*partition, offset, &format!("key {offset}"));
        }
        loop {
            let now = c.sent_of_all();
            if now.is_empty() {
                break;
            }
            for (partition, offset) in &now {
                c.answer_of(*partition, *offset, status(201));
            }
            sent.extend(now);
        }
        c.advance(millis(50));
    }
    sent
}

#[test]
fn a_partition_whose_commits_are_refused_keeps_no_other_from_committing() {
    let mut c = refused(8);
    let all: Vec<i32> = (0..8).collect();
    traffic(&mut c, &all, 0..200);
    c.advance(secs(2));
    assert_eq!(c.committed_of(0), 0);
    for partition in 1..8 {
        assert_eq!(c.committed_of(partition), 200, "partition {partition}");
    }
    // It is tried again, and not all the time; the others' commits come as often as ever.
    c.commits.clear();
    traffic(&mut c, &all[1..], 200..1_400); // a minute
    let with_it = c.commits.iter().filter(|commit| commit.offsets.iter().any(|at| at.partition.0 == 0)).count();
    assert!((4..60).contains(&with_it), "{with_it} tries");
    assert!((200..400).contains(&(c.commits.len() - with_it)), "{} commits of others", c.commits.len() - with_it);
}

#[test]
fn it_sends_nothing_more_and_takes_no_place_from_the_others_until_it_is_committed_again() {
    let mut c = refused(3);
    for offset in 0..500 {
        c.fetch_from(0, offset, &format!("key {offset}"));
    }
    let sent = traffic(&mut c, &[1, 2], 0..400);
    c.advance(secs(1));
    let of_the_refused: BTreeSet<i64> = sent.iter().filter(|(at, _)| *at == 0).map(|(_, offset)| *offset).collect();
    assert!(of_the_refused.len() <= 60, "{} calls would come again", of_the_refused.len());
    assert_eq!((c.committed_of(1), c.committed_of(2), c.paused.get(&0)), (400, 400, Some(&PauseReason::NotCommitted)));

    c.refuses_commits_of.clear();
    c.advance(secs(10));
    let sent = traffic(&mut c, &[1, 2], 400..600);
    let rest: Vec<i64> = sent.iter().filter(|(at, _)| *at == 0).map(|(_, offset)| *offset).collect();
    c.advance(secs(1));
    assert_eq!(rest.len() + of_the_refused.len(), 500); // each once
    assert_eq!((c.committed_of(0), c.committed_of(1), c.paused.get(&0)), (500, 600, None));
}

#[test]
fn what_fails_or_comes_up_meanwhile_waits_for_the_commit_too() {
    let mut c = refused(2);
    c.fetch_from(0, 0, "acme");
    c.fetch_from(0, 1, "globex");
    assert_eq!(c.sent(), [0, 1]);
    c.answer_of(0, 0, status(201));
    c.advance(secs(8));
    c.answer_of(0, 1, status(503));
    c.advance(secs(60));
    assert!(c.sent().is_empty());
    c.refuses_commits_of.clear();
    c.advance(secs(10));
    assert_eq!(c.sent(), [1]);
}

#[test]
fn the_others_leave_in_time() {
    let mut c = refused(5);
    traffic(&mut c, &[0, 1, 2, 3, 4], 0..3);
    for partition in 0..5 {
        c.fetch_from(partition, 3, "acme");
    }
    c.answer_all(&status(201));
    for partition in 0..5 {
        c.revoke(partition, secs(15));
    }
    c.advance(secs(5));
    assert_eq!(c.released.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3, 4]));
    assert!((1..5).all(|partition| c.committed_of(partition) == 4));
    c.advance(secs(10));
    assert_eq!((c.released.last(), c.committed_of(0)), (Some(&0), 0));
}

#[test]
fn where_all_are_refused_all_are_committed_soon_after_the_repair() {
    let mut c = refused(16);
    c.refuses_commits_of.extend(0..16);
    let all: Vec<i32> = (0..16).collect();
    traffic(&mut c, &all, 0..40);
    c.advance(secs(120));
    assert!((0..16).all(|partition| c.paused.get(&partition) == Some(&PauseReason::NotCommitted)));
    c.refuses_commits_of.clear();
    c.advance(secs(10)); // the longest wait between two tries
    traffic(&mut c, &all, 40..60);
    c.advance(secs(1));
    assert!((0..16).all(|partition| c.committed_of(partition) == 60 && !c.paused.contains_key(&partition)));
}

#[test]
fn commits_that_fail_while_the_group_is_rebalanced_blame_no_partition_and_are_made_soon_after() {
    let mut c = refused(3);
    (c.in_rebalance, c.refuses_commits_of) = (true, (0..3).collect());
    traffic(&mut c, &[0, 1, 2], 0..5);
    c.advance(secs(10));
    assert!(c.commits.len() > 20, "{} tries", c.commits.len());
    assert!(c.paused.is_empty(), "{:?}", c.paused);

    (c.in_rebalance, c.refuses_commits_of) = (false, BTreeSet::new());
    c.advance(secs(1));
    assert_eq!([0, 1, 2].map(|partition| c.committed_of(partition)), [5, 5, 5]);
}
