//! Ten thousand keys: our partitioner puts each where Kafka's own Java client does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tieline_schema::partitioner::partition;

#[test]
fn ten_thousand_keys_lie_where_kafkas_java_client_puts_them() {
    if std::env::var_os("TIELINE_SKIP_KAFKA").is_some_and(|v| v == "1") {
        println!("skipped: TIELINE_SKIP_KAFKA=1");
        return;
    }
    let mut dice = StdRng::seed_from_u64(17);
    let keys: Vec<(u32, Vec<u8>)> = (0..10_000)
        .map(|n| {
            let partitions = [1, 2, 3, 6, 12, 50, 100, 1_000][n % 8];
            let key = match n % 3 {
                0 => format!("deal-{n}").into_bytes(),
                1 => format!("Äpfel/{n}/漢字").into_bytes(),
                // Of all lengths, and no text.
                _ => (0..dice.random_range(0..40)).map(|_| dice.random()).collect(),
            };
            (partitions, key)
        })
        .collect();
    let lines: String =
        keys.iter().map(|(partitions, key)| format!("{partitions} {}\n", STANDARD.encode(key))).collect();
    let theirs = javas(lines);
    let ours: Vec<u32> = keys.iter().map(|(partitions, key)| partition(key, *partitions)).collect();
    assert_eq!(theirs.len(), ours.len());
    let other = (0..ours.len()).find(|n| ours[*n] != theirs[*n]);
    assert_eq!(other.map(|n| (&keys[n], ours[n], theirs[n])), None, "(partitions, key), ours, theirs");
}

/// What the Java client answers; a JDK runs its source as it is.
fn javas(lines: String) -> Vec<u32> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut java = Command::new("bash")
        .args([here.join("kafka/kafka.sh"), "tool".into(), here.join("tests/java/Partitions.java")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash runs");
    let mut stdin = java.stdin.take().unwrap();
    let written = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = java.wait_with_output().unwrap();
    assert!(output.status.success(), "Java's partitioner did not run: a JDK is needed, a JRE has no compiler");
    written.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}
