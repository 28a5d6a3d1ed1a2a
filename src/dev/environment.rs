//! Variables, secrets and addresses for a bus that runs with stand-ins.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tieline_bus::{Bus, Environment};
use tieline_sandbox::systems::Systems;

/// Makes what nobody has set: stand-ins accept the secrets that they were started with.
#[derive(Debug, Default)]
pub struct DevEnvironment {
    base_urls: BTreeMap<String, String>,
}

impl DevEnvironment {
    /// The same, with systems at their stand-ins' addresses.
    pub fn pointing_to(systems: &Systems, bus: &Bus) -> Self {
        let base_urls = bus.systems.keys().filter_map(|name| Some((name.clone(), systems.base_url(name)?)));
        Self { base_urls: base_urls.collect() }
    }
}

impl Environment for DevEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// Never a real secret: the same for a name on each machine, and well-formed for every scheme (`whsec_` and base 64).
    fn secret(&self, name: &str) -> Option<String> {
        Some(format!("whsec_{}", STANDARD.encode(Sha256::digest(format!("tieline dev {name}")))))
    }

    fn base_url(&self, system: &str) -> Option<String> {
        self.base_urls.get(system).cloned()
    }
}
