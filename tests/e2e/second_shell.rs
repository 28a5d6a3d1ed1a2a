//! Beside a running `tieline dev`, a second shell's commands ask its bus, whatever broker it has.

use std::path::Path;

use serde_json::Value;

use crate::flagship::copy_of_the_bus;
use crate::process::{Process, tieline};
use crate::{eventually, secs};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_shell_finds_the_bus_that_dev_runs() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let copy = copy_of_the_bus(Path::new(env!("CARGO_MANIFEST_DIR")));
    let dev = Process::start(copy.path(), "dev", &["dev"], &[]);
    let file = copy.path().join(".tieline/dev.json");
    eventually(&format!("it runs; it says: {}", dev.log()), secs(60), || file.exists()).await;
    let addresses: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let body = copy.path().join(".tieline/crm-webhooks.json");
    eventually("there is a body to try", secs(10), || body.exists()).await;
    let url = format!("{}/send/crm-webhooks", addresses["senders"].as_str().unwrap());
    let sent = reqwest::Client::new().post(url).body(std::fs::read(&body).unwrap()).header("x-delivery-id", "msg_1");
    assert_eq!(sent.send().await.unwrap().status().as_u16(), 202);

    // No broker answers there: this is where commands would look.
    let elsewhere = [("KAFKA_BROKERS", "127.0.0.1:1"), ("SCHEMA_REGISTRY_URL", "http://127.0.0.1:1")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
    let ask = |args: &[&str]| tieline(copy.path(), args, &elsewhere);
    eventually("the event is found", secs(60), || {
        let (code, out, error) = ask(&["where", "msg_1"]);
        assert!(error.contains("of the bus that `tieline dev` runs here"), "{out}{error}");
        code == 0 && out.contains("erp-project") && out.contains("done")
    })
    .await;
    let (code, out, error) = ask(&["dead-letters", "list"]);
    assert_eq!((code, out.as_str()), (0, ""), "{error}");
    let (code, out, error) = ask(&["pause", "systems/billing", "--reason", "they migrate"]);
    assert_eq!(code, 0, "{out}{error}");
    eventually("it is paused", secs(30), || {
        let (_, out, _) = ask(&["control", "list"]);
        out.contains("pause systems/billing") && out.contains("they migrate")
    })
    .await;

    // When it has ended, nothing points there any more; a file that a killed one leaves behind points nowhere either.
    let left_behind = std::fs::read(&file).unwrap();
    assert!(dev.terminate(secs(30)).await.success());
    assert!(!file.exists());
    for _ in 0..2 {
        let (code, _, error) = ask(&["dead-letters", "discard", "erp-project", "--reason", "a test"]);
        assert!(code == 2 && error.contains("say which") && !error.contains("tieline dev"), "{error}");
        std::fs::write(&file, &left_behind).unwrap();
    }
}
