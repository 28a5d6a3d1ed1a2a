//! A stand-in for each system of the bus, made from its contract and its profile.

use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_bus::{Bus, Credential, Idempotency, System};
use tieline_sandbox::systems::{Expected, Spec, Systems};

/// Starts them.
///
/// # Errors
/// When no port can be had.
pub async fn start(bus: &Bus) -> std::io::Result<Systems> {
    Systems::start(bus.systems.values().map(|system| spec(system)).collect()).await
}

fn spec(system: &System) -> Spec {
    Spec {
        name: system.name.clone(),
        contract: Arc::clone(&system.contract),
        credential: expected(&system.credential),
        idempotency_header: match &system.idempotency {
            Idempotency::Header { name, .. } => Some(name.clone()),
            Idempotency::Upsert | Idempotency::None => None,
        },
        version: system.version.as_ref().map(|v| (v.header.clone(), v.expect.clone())),
        seed: BTreeMap::new(),
    }
}

fn expected(credential: &Credential) -> Expected {
    match credential {
        Credential::None => Expected::None,
        Credential::OAuth2 { client_id, client_secret, .. } => {
            Expected::OAuth2 { client_id: client_id.clone(), client_secret: client_secret.expose().to_owned() }
        }
        Credential::ApiKey { header, key } => Expected::ApiKey { header: header.clone(), key: key.expose().to_owned() },
        Credential::Basic { username, password } => {
            Expected::Basic { username: username.clone(), password: password.expose().to_owned() }
        }
        Credential::Bearer { token } => Expected::Bearer { token: token.expose().to_owned() },
    }
}
