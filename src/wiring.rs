//! The wiring of a process: what its services share, and what it is called among the replicas.

use std::sync::Arc;

use tieline_bus::Bus;
use tieline_runtime::consumer::{Wiring, WiringError};
use tieline_runtime::kafka::Connection;

/// Makes the clients of a bus. None of them connects yet.
///
/// # Errors
/// When one cannot be made of its definition.
pub fn wire(bus: Bus, connection: Connection) -> Result<Arc<Wiring>, WiringError> {
    Ok(Arc::new(Wiring::new(bus, connection, instance())?))
}

/// Names this replica. The same name after a restart lets Kafka abort at once what the last run left open; two processes
/// of one name at the same time would fence each other.
fn instance() -> String {
    std::env::var("TIELINE_INSTANCE").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{}", host.trim(), std::process::id())
    })
}
