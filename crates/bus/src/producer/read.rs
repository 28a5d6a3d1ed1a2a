//! Reads `producers/NAME/producer.yaml`, and compiles its rules.

use std::sync::Arc;
use std::time::Duration;

use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Compiler, Examined, Given, Layout, Promise, Severity, Span, Target};
use tieline_schema::contract::Validator;
use tieline_schema::types::{Kind, Type};

use super::{Digest, Encoding, Hmac, Producer, Publish, Source, Verify, Webhook};
use crate::consumer::declared;
use crate::fields::Fields;
use crate::folder::{DataFile, DefinitionFile};
use crate::known::Everything;
use crate::values::{bytes, choice, duration, header, list, text};
use crate::{Event, Secret, certain, examples, variables};

/// The header with a delivery's id, unless declared: Standard Webhooks' own.
const ID_HEADER: &str = "webhook-id";

/// Most bytes of a body, unless declared.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Most bytes of a body that can be declared.
///
/// A body that cannot be mapped becomes a dead letter, whose topic takes records of 3 MiB. There it may stand in base 64,
/// so that 2 MiB of it are 2.67 MiB. A third of a MiB is left for the rest: headers of 16 KiB, which JSON can write six
/// times as long, and the reason. A body that could not be kept would be refused after it was verified.
const BODY_BYTES_CEILING: usize = 2 * 1024 * 1024;

/// Fewest and most bytes of a Standard Webhooks secret, as its specification asks for (version 1.0.0, section "Signature
/// scheme"): 192 to 512 bits.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// How far a timestamp may be from now, unless declared: what Standard Webhooks recommends.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// A rule as it is declared.
struct Rule<'a> {
    when: Option<&'a Node>,
    event: Option<Arc<Event>>,
    id: Option<&'a Node>,
    key: Option<&'a Node>,
    time: Option<&'a Node>,
    payload: Option<&'a Node>,
    residual: Option<&'a Node>,
}

impl Producer {
    /// Reads the file.
    pub(crate) fn read(file: &DefinitionFile<'_>, node: &Node, name: &str, all: &Everything) -> Option<Self> {
        // The names of secrets differ between environments; what is published does not.
        let node = &variables::fill_below(file, node, &["source", "webhook", "verify"]);
        let mut fields = Fields::of(file, node, "a producer")?;
        let purpose = fields.required("purpose", text);
        let owner = fields.required("owner", text);
        let source = fields.required("source", Source::read);
        let event_source = fields.optional("event_source", text).unwrap_or_else(|| format!("/{}/{name}", all.bus));
        let tables = fields.node("tables");
        let rules = fields.required("publish", list(|file, node| Rule::read(file, node, all)));
        fields.finish();

        let source = source?;
        let Source::Webhook(webhook) = &source;
        let (layout, publish) = compile(file, webhook, tables, &rules?);
        Some(Self {
            name: name.to_owned(),
            purpose: purpose?,
            owner: owner?,
            source,
            layout,
            publish: publish?,
            event_source,
        })
    }
}

impl Source {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`source`")?;
        let webhook = fields.required("webhook", Webhook::read);
        fields.finish();
        webhook.map(Self::Webhook)
    }
}

impl Webhook {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`webhook`")?;
        let path = fields.required("path", path);
        let contract = fields.required("contract", contract);
        let verify = fields.required("verify", Verify::read);
        let id_header = fields.optional("id_header", header).map(|h| h.to_ascii_lowercase());
        let body_bytes_max = fields.optional("body_bytes_max", body_bytes).unwrap_or(BODY_BYTES_MAX);
        fields.finish();
        Some(Self {
            path: path?,
            contract: Arc::new(contract?),
            verify: verify?,
            id_header: id_header.unwrap_or_else(|| ID_HEADER.to_owned()),
            body_bytes_max,
        })
    }
}

fn body_bytes(file: &DefinitionFile<'_>, node: &Node) -> Option<usize> {
    let most = bytes("16MiB")(file, node)?;
    if most > BODY_BYTES_CEILING {
        let message = "a body of more than 2 MiB that cannot be mapped could not be kept as a dead letter";
        let help = "write `2MiB` at most: dead letters have 3 MiB, and a body in base 64 is a third longer";
        file.error("bus/wrong-value", node.span, message, help);
        return None;
    }
    Some(most)
}

/// `/hooks/crm`: segments of characters that need no escape in a URL.
fn path(file: &DefinitionFile<'_>, node: &Node) -> Option<String> {
    let path = text(file, node)?;
    let segment = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c));
    let good = path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment));
    if !good {
        file.error("bus/wrong-value", node.span, "this has to be a path, such as `/hooks/crm`", "");
    }
    good.then_some(path)
}

fn contract(file: &DefinitionFile<'_>, node: &Node) -> Option<Validator> {
    let DataFile { file, value, node } = file.beside(node)?;
    let data = DataFile { file, value: serde_json::Value::Null, node };
    Validator::compile(value)
        .map_err(|error| data.file.error("contract/invalid", data.place(&error.pointer), error.problem, ""))
        .ok()
}

impl Verify {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`verify`")?;
        let variant = fields.variant(&["standard_webhooks", "hmac"]);
        fields.finish();
        match variant? {
            ("standard_webhooks", node) => Self::standard_webhooks(file, node),
            (_, node) => Hmac::read(file, node).map(Self::Hmac),
        }
    }

    fn standard_webhooks(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`standard_webhooks`")?;
        let secrets = fields.required("secret", standard_webhooks_secrets);
        let tolerance = fields.optional("tolerance", duration("1s"..="1h")).unwrap_or(TOLERANCE);
        fields.finish();
        Some(Self::StandardWebhooks { secrets: secrets?, tolerance })
    }
}

impl Hmac {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`hmac`")?;
        let secrets = fields.required("secret", secrets);
        let digest = fields.required("digest", choice(Digest::WORDS));
        let header = fields.required("header", header).map(|h| h.to_ascii_lowercase());
        let prefix = fields.optional("prefix", text).unwrap_or_default();
        let encoding = fields.required("encoding", choice(Encoding::WORDS));
        let timestamp = fields.optional("timestamp", timestamp);
        fields.finish();
        Some(Self { secrets: secrets?, digest: digest?, header: header?, prefix, encoding: encoding?, timestamp })
    }
}

impl Digest {
    const WORDS: &'static [(&'static str, Self)] =
        &[("sha256", Self::Sha256), ("sha512", Self::Sha512), ("sha1", Self::Sha1)];
}

impl Encoding {
    const WORDS: &'static [(&'static str, Self)] = &[("hex", Self::Hex), ("base64", Self::Base64)];
}

/// One secret, or several while they are rotated.
fn secrets(file: &DefinitionFile<'_>, node: &Node) -> Option<Vec<Secret>> {
    match &node.value {
        NodeValue::Sequence(items) if items.is_empty() => {
            file.error("bus/wrong-value", node.span, "this has to be a secret, or a list of them", "");
            None
        }
        NodeValue::Sequence(items) => {
            let secrets: Vec<_> = items.iter().map(|item| variables::secret(file, item)).collect();
            secrets.into_iter().collect()
        }
        NodeValue::Scalar { .. } | NodeValue::Mapping(_) => variables::secret(file, node).map(|secret| vec![secret]),
    }
}

/// The same, and a warning of each that is not as Standard Webhooks asks for. One that stands in the open is to be
/// replaced anyway, and its line is not to be shown.
fn standard_webhooks_secrets(file: &DefinitionFile<'_>, node: &Node) -> Option<Vec<Secret>> {
    let secrets = secrets(file, node)?;
    let nodes = match &node.value {
        NodeValue::Sequence(items) => items.as_slice(),
        NodeValue::Scalar { .. } | NodeValue::Mapping(_) => std::slice::from_ref(node),
    };
    for (node, secret) in nodes.iter().zip(&secrets).filter(|(node, _)| !variables::stands_in_file(file, node)) {
        let problem = match secret_bytes(secret.expose()) {
            None => "is not `whsec_` and base 64, so that no signature can be checked with it",
            Some(bytes) if bytes < *SECRET_BYTES.start() => {
                "has fewer than the 24 bytes that Standard Webhooks asks for"
            }
            Some(bytes) if bytes > *SECRET_BYTES.end() => "has more than the 64 bytes that Standard Webhooks asks for",
            Some(_) => continue,
        };
        let help = "make one with `echo \"whsec_$(head -c 32 /dev/urandom | base64)\"`, and give it to the sender";
        file.warning("bus/webhook-secret", node.span, format!("the value of this secret {problem}"), help);
    }
    Some(secrets)
}

/// How many bytes a secret has: `whsec_` and base 64, whose padding people lose on the way.
fn secret_bytes(secret: &str) -> Option<usize> {
    let digits = secret.strip_prefix("whsec_")?.trim_end_matches('=');
    let is_base64 = digits.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/'));
    (is_base64 && !digits.is_empty() && digits.len() % 4 != 1).then_some(digits.len() * 3 / 4)
}

fn timestamp(file: &DefinitionFile<'_>, node: &Node) -> Option<(String, Duration)> {
    let mut fields = Fields::of(file, node, "`timestamp`")?;
    let header = fields.required("header", header).map(|h| h.to_ascii_lowercase());
    let tolerance = fields.optional("tolerance", duration("1s"..="1h")).unwrap_or(TOLERANCE);
    fields.finish();
    Some((header?, tolerance))
}

impl<'a> Rule<'a> {
    fn read(file: &'a DefinitionFile<'a>, node: &'a Node, all: &Everything) -> Option<Self> {
        let mut fields = Fields::of(file, node, "a rule of `publish`")?;
        let rule = Self {
            when: fields.node("when"),
            event: fields.required("event", |file, node| all.events.named(file, node)),
            id: fields.required_node("id"),
            key: fields.required_node("key"),
            time: fields.node("time"),
            payload: fields.required_node("payload"),
            residual: fields.node("residual"),
        };
        fields.finish();
        Some(rule)
    }
}

/// Compiles the rules, which read one body together. A rule without an event is passed over: that was reported.
fn compile(
    file: &DefinitionFile<'_>,
    webhook: &Webhook,
    tables: Option<&Node>,
    rules: &[Rule<'_>],
) -> (Layout, Option<Vec<Publish>>) {
    let mut compiler = Compiler::new(webhook.contract.ty.clone(), "the contract of the webhook".to_owned());
    compiler.bind("header", headers(), "the headers of the webhook");
    if let Some(tables) = tables {
        compiler.tables(tables);
    }
    let named = rules.iter().all(|rule| rule.event.is_some());
    let publish: Vec<Option<Publish>> = rules.iter().map(|rule| compile_rule(&mut compiler, webhook, rule)).collect();
    let (layout, problems) = compiler.finish();
    let sound = problems.iter().all(|p| p.severity < Severity::Error);
    certain::report(file, problems, named);
    let publish: Option<Vec<Publish>> = publish.into_iter().collect();
    for (rule, publish) in rules.iter().zip(publish.iter().flatten()).filter(|_| sound) {
        examine(file, webhook, &layout, rule, publish);
    }
    (layout, publish)
}

/// The type of `$header`: any header may be missing.
fn headers() -> Type {
    Type::of(Kind::Map(Box::new(Type::text().or_null())))
}

/// Runs examples of the body through a rule: what it publishes can be read back.
fn examine(file: &DefinitionFile<'_>, webhook: &Webhook, layout: &Layout, rule: &Rule<'_>, publish: &Publish) {
    let Some(node) = rule.payload else { return };
    let examined = Examined {
        event: Given::Json(webhook.contract.ty.clone(), vec![&webhook.contract]),
        layout,
        when: publish.when.as_ref(),
        mapping: &publish.payload,
        names: &[("header", Given::Json(headers(), Vec::new()))],
        promise: Promise::Event(&publish.event.schema),
    };
    examples::report(file, node, rule.when, &examined);
}

fn compile_rule(compiler: &mut Compiler, webhook: &Webhook, rule: &Rule<'_>) -> Option<Publish> {
    // What the filter of the rule before has proven does not hold here.
    compiler.forget();
    know_id_header(compiler, webhook);
    let when = rule.when.map(|node| compiler.filter(node));
    let event = rule.event.clone()?;
    let id = rule.id.and_then(|node| compiler.expression(node, &Type::text(), "id"));
    let key = rule.key.and_then(|node| compiler.expression(node, &Type::text(), "key"));
    let instant = Type::of(Kind::Timestamp).or_null();
    let time = rule.time.map(|node| compiler.expression(node, &instant, "time"));
    let label = format!("schemas/{}.avsc", event.name);
    let target = Target::Avro(&event.schema.avro, &event.schema.ty, &label);
    let payload = rule.payload.and_then(|node| compiler.mapping(node, target, rule.residual));
    Some(Publish {
        when: declared(when)?,
        event: event.clone(),
        id: id?,
        key: key?,
        time: declared(time)?,
        payload: payload?,
    })
}

/// A delivery without its id header is refused before anything is mapped, so that header is never null; any other can be.
fn know_id_header(compiler: &mut Compiler, webhook: &Webhook) {
    let is_name = webhook.id_header.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_name {
        let text = format!("$header.{} != null", webhook.id_header);
        let node = Node { span: Span::default(), value: NodeValue::Scalar { text, quoted: false } };
        // Only what it proves is of use.
        let _ = compiler.filter(&node);
    }
}
