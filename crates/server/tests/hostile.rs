//! Bodies and heads that are meant to hurt: each gets a 4xx, and costs at most 16 MiB at its peak.
//!
//! A binary of its own with one test at a time, so that what the process holds is what the request costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{BODY_BYTES_MAX, PATH, Server, signed};

const MIB: usize = 1 << 20;

/// What a request may cost. Includes what the test's own client holds.
const COST_BYTES_MAX: usize = 16 * MIB;

/// What the kernel's buffers of a loopback connection take beside what the server reads.
const SOCKET_BYTES_MAX: usize = 12 * MIB;

/// Runs one after another, and checks the greatest growth of resident memory meanwhile.
async fn within_bounds(attack: impl AsyncFnOnce(&Server)) {
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    let server = Server::start().await;
    server.say(&signed("warm-up", "", b"{}")).await;
    std::fs::write("/proc/self/clear_refs", "5").expect("resets the peak"); // proc(5)
    let before = status_bytes("VmRSS:");
    attack(&server).await;
    let grown = status_bytes("VmHWM:").saturating_sub(before);
    assert!(grown <= COST_BYTES_MAX, "memory grew by {grown} bytes");
    assert_eq!(server.recorder.deliveries.lock().unwrap().len(), 1, "only the warm-up was delivered");
    assert_eq!(server.say(&signed("after", "", b"{}")).await.status, 202, "the server goes on");
}

fn status_bytes(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn post(headers: &str) -> Vec<u8> {
    format!("POST {PATH} HTTP/1.1\r\nHost: bus\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn a_gigabyte_that_is_announced_is_not_read() {
    within_bounds(async |server| {
        let head = post("Content-Length: 1073741824\r\n");
        let (reply, sent) = server.say_on(head, 1024, vec![b' '; MIB]).await;
        reply.problem(413);
        assert!(reply.head.contains("connection: close"), "{reply:?}");
        assert!(sent <= SOCKET_BYTES_MAX, "{sent} bytes were taken");
    })
    .await;
}

#[tokio::test]
async fn an_endless_body_in_chunks_is_read_to_its_bound() {
    within_bounds(async |server| {
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 65_536], b"\r\n"].concat();
        let (reply, sent) = server.say_on(post("Transfer-Encoding: chunked\r\n"), 16_384, chunk).await;
        reply.problem(413);
        assert!(sent <= BODY_BYTES_MAX + SOCKET_BYTES_MAX, "{sent} bytes were taken");
    })
    .await;
}

#[tokio::test]
async fn many_tiny_chunks_are_no_way_around_the_bound() {
    within_bounds(async |server| {
        let chunks = b"1;ext=canary\r\n \r\n".repeat(4096);
        let (reply, _) = server.say_on(post("Transfer-Encoding: chunked\r\n"), 1024, chunks).await;
        assert!(matches!(reply.status, 400 | 413), "{reply:?}");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_says_it_is_compressed_is_not_taken() {
    within_bounds(async |server| {
        let bomb = std::fs::read("tests/vectors/zeros-10-mib.gz").unwrap();
        let reply = server.say(&signed("bomb", "Content-Encoding: gzip\r\n", &bomb)).await;
        reply.problem(415);
        assert!(reply.head.contains("accept-encoding: identity"), "{reply:?}");
        server.say(&signed("bomb", "", &bomb)).await.problem(400); // and is never unpacked unasked
    })
    .await;
}

#[tokio::test]
async fn json_of_a_million_levels_does_not_reach_the_stack() {
    within_bounds(async |server| {
        for deep in [vec![b'['; 1_000_000], br#"{"a":"#.repeat(200_000)] {
            let detail = server.say(&signed("deep", "", &deep)).await.problem(400);
            assert!(detail.contains("nested deeper than 64"), "{detail}");
        }
    })
    .await;
}

#[tokio::test]
async fn json_of_half_a_million_values_is_not_made_a_tree_of() {
    within_bounds(async |server| {
        for value in ["0,", "[],", "{},", "\"\","] {
            let many = format!("[{}0]", value.repeat(200_000));
            let detail = server.say(&signed("wide", "", many.as_bytes())).await.problem(400);
            assert!(detail.contains("more than 100000 values"), "{detail}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_million_headers_end_at_the_bound_of_a_head() {
    within_bounds(async |server| {
        let head = format!("POST {PATH} HTTP/1.1\r\nHost: bus\r\n").into_bytes();
        let (reply, sent) = server.say_on(head, 1_000, b"a: b\r\n".repeat(1_000)).await;
        assert_eq!(reply.status, 431, "{reply:?}");
        assert!(sent <= SOCKET_BYTES_MAX, "{sent} bytes were taken");
    })
    .await;
}

#[tokio::test]
async fn more_headers_than_are_taken_and_one_that_is_too_long_are_refused() {
    within_bounds(async |server| {
        assert_eq!(server.say(&post(&"a: b\r\n".repeat(64))).await.status, 431);
        assert_eq!(server.say(&post(&format!("a: {}\r\n", "b".repeat(20_000)))).await.status, 431);
    })
    .await;
}

#[tokio::test]
async fn a_length_that_lies_gets_nothing_past_the_signature() {
    within_bounds(async |server| {
        // Shorter than the body: what is left over is no second request.
        let longer = String::from_utf8(signed("lie", "", b"{\"deal\":1}")).unwrap();
        let reply = server.say(longer.replace("Content-Length: 10", "Content-Length: 2").as_bytes()).await;
        reply.problem(401);
        // Two that differ, and one beside chunks, are how requests are smuggled (RFC 9112, section 6.3).
        let twice = server.say(&post("Content-Length: 1\r\nContent-Length: 2\r\n")).await;
        assert_eq!(twice.status, 400, "{twice:?}");
        let not_a_number = server.say(&post("Content-Length: -1\r\n")).await;
        assert_eq!(not_a_number.status, 400, "{not_a_number:?}");
    })
    .await;
}
