//! The Kafka that all tests share. Each test has a bus, and so topics and groups, of its own name.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use tieline_sandbox::broker::kafka::{Kafka, Options};

/// One node, started at the first use. It ends with this process.
pub fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| match Kafka::start(Options::one_node()) {
        Ok(kafka) => kafka,
        Err(error) => panic!("{error}"),
    })
}

/// Three nodes: each partition lies on all of them, and two have to have a record before it is acknowledged.
pub fn three_nodes() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| match Kafka::start(Options { nodes: 3, secure: false }) {
        Ok(kafka) => kafka,
        Err(error) => panic!("{error}"),
    })
}

/// An address of which the kernel chooses the port.
pub fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}
