//! A producer: a source adapter and its mapping, as `producers/NAME/producer.yaml` declares it.

use std::sync::Arc;
use std::time::Duration;

use tieline_mapping::{Expression, Filter, Layout, Mapping};
use tieline_schema::contract::Validator;

use crate::{Event, Secret};

mod read;

/// A producer, checked and compiled.
#[derive(Debug)]
pub struct Producer {
    /// Its name: that of its folder.
    pub name: String,
    /// What it is for, in a sentence.
    pub purpose: String,
    /// Who to ask.
    pub owner: String,
    /// Where what it publishes comes from.
    pub source: Source,
    /// What all of its expressions read of a body, picked out together.
    pub layout: Layout,
    /// What it publishes: the first rule whose `when` holds; a body that no rule takes is acknowledged and counted.
    pub publish: Vec<Publish>,
    /// CloudEvents' `source` of its events: `/BUS/PRODUCER` unless declared.
    pub event_source: String,
}

/// Where a producer's bodies come from.
#[derive(Debug)]
pub enum Source {
    /// A system that calls us.
    Webhook(Webhook),
}

/// A system that calls us.
#[derive(Debug)]
pub struct Webhook {
    /// The path that it posts to, `/hooks/crm`.
    pub path: String,
    /// What a body promises to be.
    pub contract: Arc<Validator>,
    /// How a call proves who sent it.
    pub verify: Verify,
    /// The name of the header with the delivery's id, in lower case.
    /// Default `webhook-id`.
    pub id_header: String,
    /// Most bytes of a body. Default 1 MiB.
    pub body_bytes_max: usize,
}

/// How a webhook proves who sent it.
#[derive(Debug, Clone)]
pub enum Verify {
    /// Standard Webhooks, `v1` (HMAC-SHA256): `webhook-id`, `webhook-timestamp`, `webhook-signature`. The secret is
    /// `whsec_` and base 64. Several secrets while they are rotated.
    StandardWebhooks {
        /// The secrets that are accepted.
        secrets: Vec<Secret>,
        /// How far the timestamp may be from now. Default 5 min.
        tolerance: Duration,
    },
    /// An HMAC scheme, declared.
    Hmac(Hmac),
}

/// An HMAC scheme as vendors have them.
#[derive(Debug, Clone)]
pub struct Hmac {
    /// The secrets that are accepted, as their UTF-8 bytes.
    pub secrets: Vec<Secret>,
    /// The digest.
    pub digest: Digest,
    /// The header with the signature, in lower case.
    pub header: String,
    /// What stands before the signature in the header (`sha256=`).
    pub prefix: String,
    /// How the signature is written.
    pub encoding: Encoding,
    /// The header with the time of sending (seconds since the Unix epoch), and how far it may be from now. With one,
    /// what is signed is `TIMESTAMP.BODY`; without, the body alone.
    pub timestamp: Option<(String, Duration)>,
}

/// The digest of an HMAC scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// SHA-1, for old systems only.
    Sha1,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Lower- or upper-case hexadecimal.
    Hex,
    /// Base 64, standard alphabet.
    Base64,
}

/// A rule: which bodies become which event.
#[derive(Debug)]
pub struct Publish {
    /// Which bodies it takes; all, without one.
    pub when: Option<Filter>,
    /// The event's type.
    pub event: Arc<Event>,
    /// The event's id, CloudEvents' `id`. Reads the body and `$header`.
    pub id: Expression,
    /// The event's key, and CloudEvents' `subject`.
    pub key: Expression,
    /// When it happened, CloudEvents' `time`; the time of receipt without one. A timestamp.
    pub time: Option<Expression>,
    /// The payload.
    pub payload: Mapping,
}
