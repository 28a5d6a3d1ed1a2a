//! The scenario that everything is judged by, over real Kafka and with a process for each service: a deal closes while
//! billing is down; the ERP has a project and the customer an e-mail, and billing has its contract when it is back, once.

use std::path::Path;

use serde_json::{Value, json};
use tieline_bus::{Bus, Environment, Source};
use tieline_sandbox::registry::Registry;
use tieline_sandbox::systems::{Fault, Systems};
use tieline_server::webhook::sign;

use crate::canary::Canary;
use crate::cluster::{any_port, kafka};
use crate::process::{Process, tieline};
use crate::written::Topics;
use crate::{eventually, secs, stand_ins};

/// A canary for each secret of the bus, by what its name says that it is.
fn secret(name: &str) -> String {
    let kinds = [
        ("client-secret", Canary::ClientSecret),
        ("webhook-secret", Canary::WebhookKey),
        ("password", Canary::Password),
        ("api-key", Canary::ApiKey),
        ("token", Canary::BearerToken),
    ];
    let kind = kinds.into_iter().find(|(ending, _)| name.ends_with(ending));
    kind.unwrap_or_else(|| panic!("of what kind is {name}?")).1.value()
}

struct Canaries;

impl Environment for Canaries {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn secret(&self, name: &str) -> Option<String> {
        Some(secret(name))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_deal_becomes_a_project_a_contract_and_an_email_once_each() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bus = Bus::load(root, &Canaries).bus.expect("the flagship has no problems");
    let systems = stand_ins::start(&bus).await.unwrap();
    let registry = Registry::start(any_port()).await.unwrap();
    let copy = copy_of_the_bus(root);
    let secrets = secrets(copy.path());
    let _topics = Topics::of(kafka().brokers(), "flagship", &bus.events.keys().map(String::as_str).collect::<Vec<_>>());
    let mut environment = vec![
        ("KAFKA_BROKERS".to_owned(), kafka().brokers().to_owned()),
        ("SCHEMA_REGISTRY_URL".to_owned(), registry.url()),
        ("TIELINE_SECRETS_DIR".to_owned(), secrets),
        ("TIELINE_LOG".to_owned(), "debug,hyper=info,hyper_util=info,reqwest=info".to_owned()),
    ];
    for name in systems.names() {
        environment.push((format!("{}_URL", name.to_uppercase()), systems.base_url(name).unwrap()));
    }
    apply_twice(copy.path(), &environment).await;

    let services = ["erp-project", "billing-contract", "welcome-email", "crm-invoice-note"].map(|name| {
        let args = ["run", &format!("consumers/{name}"), "--admin", "127.0.0.1:0"];
        Process::start(copy.path(), name, &args, &environment)
    });
    let args = ["run", "producers/crm-webhooks", "--admin", "127.0.0.1:0", "--webhooks", "127.0.0.1:0"];
    let producer = Process::start(copy.path(), "crm-webhooks", &args, &environment);
    let webhooks = producer.address("--webhooks").await;

    systems.fault("billing", Fault { outage: true, ..Fault::default() });
    // The CRM sends it, is not sure that it arrived, and sends it again: it stays one event for the systems.
    for _ in 0..2 {
        let status = send(&bus, &webhooks, "msg_1", &deal("D-1042")).await;
        assert_eq!(status, 202);
    }
    eventually("a project and an e-mail", secs(60), || {
        applied(&systems, "erp") == 1 && applied(&systems, "email") == 1
    })
    .await;
    eventually("billing was tried in vain", secs(60), || tried(&systems, "billing") >= 3).await;
    assert_eq!(applied(&systems, "billing"), 0);

    services[1].address("--admin").await;
    let pages = services[1].pages();
    let (_, metrics) = pages.iter().find(|(path, _)| *path == "/metrics").unwrap();
    assert!(
        metrics.contains("tieline_attempts_total{answer=\"not-applied\",consumer=\"billing-contract\"}"),
        "{metrics}"
    );

    systems.fault("billing", Fault::default());
    eventually("a contract", secs(60), || applied(&systems, "billing") == 1).await;
    assert_eq!(send(&bus, &webhooks, "msg_2", &json!({ "no": "deal" })).await, 202); // a dead letter of the producer
    assert_eq!(send_unsigned(&bus, &webhooks).await, 401);

    for service in services.into_iter().chain([producer]) {
        let ended = service.terminate(secs(30)).await;
        assert!(ended.success(), "{ended}");
    }
    for (system, effects) in [("erp", 1), ("billing", 1), ("email", 1)] {
        assert_eq!(applied(&systems, system), effects, "{system}");
    }
    let email = systems.journal().into_iter().find(|a| a.system == "email" && a.applied).unwrap();
    assert!(email.body["text"].as_str().unwrap().contains("Dana Weiss"), "{}", email.body);
    assert!(email.traceparent.is_some());
}

fn applied(systems: &Systems, name: &str) -> usize {
    systems.journal().iter().filter(|a| a.system == name && a.applied && a.method != "GET").count()
}

fn tried(systems: &Systems, name: &str) -> usize {
    systems.journal().iter().filter(|a| a.system == name).count()
}

/// The definitions alone, so that logs and secrets lie beside them and not in the repository.
pub fn copy_of_the_bus(root: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(root.join("tieline.yaml"), copy.path().join("tieline.yaml")).unwrap();
    for folder in ["systems", "schemas", "producers", "consumers"] {
        copy_folder(&root.join(folder), &copy.path().join(folder));
    }
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Secrets as files, as a container has them. Which ones the bus wants is what it says when it has none.
fn secrets(dir: &Path) -> String {
    let (_, out, _) = tieline(dir, &["check", "--secrets", "--json"], &[]);
    let problems: Value = serde_json::from_str(&out).unwrap();
    let folder = dir.join("secrets");
    std::fs::create_dir(&folder).unwrap();
    for problem in problems.as_array().unwrap().iter().filter(|p| p["code"] == "bus/missing-secret") {
        let message = problem["message"].as_str().unwrap();
        let name = message.split('`').nth(1).unwrap().trim_start_matches("secret:");
        std::fs::write(folder.join(name), format!("{}\n", secret(name))).unwrap();
    }
    assert!(std::fs::read_dir(&folder).unwrap().count() >= 6, "{out}");
    folder.display().to_string()
}

async fn apply_twice(dir: &Path, environment: &[(String, String)]) {
    for expected in ["topic crm.deal_stage_changed created", "nothing to change"] {
        let (dir, environment) = (dir.to_owned(), environment.to_vec());
        let (code, out, error) =
            tokio::task::spawn_blocking(move || tieline(&dir, &["apply"], &environment)).await.unwrap();
        assert_eq!(code, 0, "{out}{error}");
        assert!(out.contains(expected), "{out}");
    }
}

async fn send(bus: &Bus, webhooks: &str, id: &str, body: &Value) -> u16 {
    let Source::Webhook(webhook) = &bus.producers["crm-webhooks"].source;
    let body = serde_json::to_vec(body).unwrap();
    let mut request = http().post(format!("http://{webhooks}{}", webhook.path));
    for (name, value) in sign(webhook, id, jiff::Timestamp::now(), &body).unwrap() {
        request = request.header(name, value);
    }
    request.body(body).send().await.unwrap().status().as_u16()
}

async fn send_unsigned(bus: &Bus, webhooks: &str) -> u16 {
    let Source::Webhook(webhook) = &bus.producers["crm-webhooks"].source;
    let url = format!("http://{webhooks}{}", webhook.path);
    http().post(url).body("{}").send().await.unwrap().status().as_u16()
}

fn http() -> reqwest::Client {
    // The first provider that is installed stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// The body of the case that shows a won deal.
fn deal(id: &str) -> Value {
    let case = include_str!("../../producers/crm-webhooks/cases/deal-won.yaml");
    let case = tieline_mapping::yaml::parse(case).unwrap().to_json();
    let mut body = case["body"].clone();
    body["data"]["deal"]["id"] = json!(id);
    body
}
