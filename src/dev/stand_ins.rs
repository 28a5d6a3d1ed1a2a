//! A stand-in for each system of the bus, made from its contract and its profile.

use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_bus::{Bus, Conflict, Credential, Idempotency, Meaning, Means, Stores, System};
use tieline_sandbox::systems::{Expected, Refusal, Repeats, Spec, Systems};

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
        repeats: repeats(&system.idempotency),
        version: system.version.as_ref().map(|v| (v.header.clone(), v.expect.clone())),
        seed: BTreeMap::new(),
    }
}

/// What the profile says of a second attempt, in the system's own words.
fn repeats(profile: &Idempotency) -> Repeats {
    Repeats {
        header: profile.header().map(|header| header.name.clone()),
        keeps_failures: profile.header().is_some_and(|header| header.stores == Stores::Everything),
        in_progress: refusal(profile, Meaning::InProgress),
        mismatch: refusal(profile, Meaning::Mismatch),
        // By which field it knows what exists, no profile says.
        unique: None,
        conditional: profile.means == Means::Upsert { if_match: true },
    }
}

/// The first answer that means this.
fn refusal(profile: &Idempotency, meaning: Meaning) -> Option<Refusal> {
    profile.conflicts.iter().find_map(|(&status, conflict)| match conflict {
        Conflict::Always(always) => (*always == meaning).then(|| Refusal::of(status)),
        Conflict::ByField(fields) => fields.iter().find_map(|(pointer, values)| {
            let (value, _) = values.iter().find(|(_, m)| **m == meaning)?;
            Some(Refusal { status, field: Some((pointer.clone(), value.clone())) })
        }),
    })
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
