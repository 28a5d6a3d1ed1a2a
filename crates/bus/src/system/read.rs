//! Reads `systems/NAME/system.yaml`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline_mapping::suggest;
use tieline_mapping::yaml::Node;
use tieline_schema::contract::Contract;

use super::idempotency::read_look_ups;
use super::{AnswerClass, ClientAuth, Credential, Idempotency, Limits, System, Version};
use crate::fields::Fields;
use crate::folder::{DataFile, DefinitionFile};
use crate::values::{address, bytes, choice, duration, header, list, named, status, text};
use crate::variables;

/// The time for a whole call, unless declared.
const DEADLINE: Duration = Duration::from_secs(10);

/// Most bytes kept of a response's body, unless declared.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Statuses by operation, then status, with their places for the checks.
type Answers<'a> = Vec<(String, &'a Node, Vec<(String, &'a Node, AnswerClass)>)>;

impl System {
    /// Reads the file, whose variables are put in.
    pub(crate) fn read(file: &DefinitionFile<'_>, node: &Node, name: &str) -> Option<Self> {
        let mut fields = Fields::of(file, node, "a system")?;
        let purpose = fields.required("purpose", text);
        let owner = fields.required("owner", text);
        let base_url = fields.required("base_url", address);
        let contract = fields.required("contract", contract);
        let credential = fields.optional("credential", |file, node| {
            Credential::read(file, node, &["oauth2", "api_key", "basic", "bearer"])
        });
        let idempotency = fields.node("idempotency").map(|node| Idempotency::read(file, node));
        let deadline = fields.optional("deadline", duration("1ms"..="10m")).unwrap_or(DEADLINE);
        let response_bytes_max = fields.optional("response_bytes_max", bytes("16MiB")).unwrap_or(RESPONSE_BYTES_MAX);
        let version = fields.optional("version", Version::read);
        let limits = fields.optional("limits", Limits::read).unwrap_or_default();
        let answers = fields.optional("answers", named(answers_of_operation)).unwrap_or_default();
        fields.finish();

        let contract = contract?;
        let answers = check_answers(file, name, &contract, answers);
        let (idempotency, look_ups) = idempotency.unwrap_or_else(|| Some((Idempotency::default(), None)))?;
        let (base_url, credential) = moved(file, name, base_url?, credential.unwrap_or(Credential::None));
        let mut system = Self {
            name: name.to_owned(),
            purpose: purpose?,
            owner: owner?,
            base_url,
            contract: Arc::new(contract),
            credential,
            idempotency,
            deadline,
            response_bytes_max,
            version,
            answers,
            limits,
        };
        if let Some(node) = look_ups {
            system.idempotency.look_ups = read_look_ups(file, node, &system)?;
        }
        Some(system)
    }
}

/// Where the environment has another address for the system: that, and the token endpoint moved along.
fn moved(file: &DefinitionFile<'_>, name: &str, declared: String, mut credential: Credential) -> (String, Credential) {
    let Some(address) = file.folder.environment.base_url(name) else { return (declared, credential) };
    let address = address.trim_end_matches('/').to_owned();
    if let Credential::OAuth2 { token_url, .. } = &mut credential
        && let Some(path) = token_url.strip_prefix(&declared).filter(|path| path.starts_with('/'))
    {
        *token_url = format!("{address}{path}");
    }
    (address, credential)
}

fn contract(file: &DefinitionFile<'_>, node: &Node) -> Option<Contract> {
    let DataFile { file, value, node } = file.beside(node)?;
    let data = DataFile { file, value: serde_json::Value::Null, node };
    match Contract::parse(value) {
        Ok(contract) => Some(contract),
        Err(errors) => {
            for error in errors {
                data.file.error("contract/invalid", data.place(&error.pointer), error.problem, "");
            }
            None
        }
    }
}

impl Credential {
    /// Reads one of these kinds of credential.
    pub(crate) fn read(file: &DefinitionFile<'_>, node: &Node, kinds: &[&'static str]) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`credential`")?;
        let variant = fields.variant(kinds);
        fields.finish();
        let (kind, node) = variant?;
        let mut fields = Fields::of(file, node, format!("`{kind}`"))?;
        match kind {
            "oauth2" => {
                let token_url = fields.required("token_url", address);
                let client_id = fields.required("client_id", text);
                let client_secret = fields.required("client_secret", variables::secret);
                let client_auth = fields.optional("client_auth", choice(ClientAuth::WORDS)).unwrap_or_default();
                let scopes = fields.optional("scopes", list(text)).unwrap_or_default();
                fields.finish();
                Some(Self::OAuth2 {
                    token_url: token_url?,
                    client_id: client_id?,
                    client_secret: client_secret?,
                    client_auth,
                    scopes,
                })
            }
            "api_key" => {
                let header = fields.required("header", header);
                let key = fields.required("key", variables::secret);
                fields.finish();
                Some(Self::ApiKey { header: header?, key: key? })
            }
            "basic" => {
                let username = fields.required("username", text);
                let password = fields.required("password", variables::secret);
                fields.finish();
                Some(Self::Basic { username: username?, password: password? })
            }
            _ => {
                let token = fields.required("token", variables::secret);
                fields.finish();
                Some(Self::Bearer { token: token? })
            }
        }
    }
}

impl ClientAuth {
    const WORDS: &'static [(&'static str, Self)] =
        &[("client_secret_basic", Self::Basic), ("client_secret_post", Self::Post)];
}

impl Version {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`version`")?;
        let header = fields.required("header", header);
        let expect = fields.required("expect", text);
        fields.finish();
        Some(Self { header: header?, expect: expect? })
    }
}

impl AnswerClass {
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("applied", Self::Applied),
        ("refused", Self::Refused),
        ("not_applied", Self::NotApplied),
        ("unknown", Self::Unknown),
        ("throttled", Self::Throttled),
        ("absent_or_forbidden", Self::AbsentOrForbidden),
        ("credential", Self::Credential),
        ("misconfigured", Self::Misconfigured),
    ];
}

fn answers_of_operation<'a>(
    file: &'a DefinitionFile<'a>,
    node: &'a Node,
    _operation: &str,
) -> Option<Vec<(String, &'a Node, AnswerClass)>> {
    named(|file, node, _: &str| choice(AnswerClass::WORDS)(file, node))(file, node)
}

/// Operations have to be those of the contract, statuses have to be statuses.
fn check_answers(
    file: &DefinitionFile<'_>,
    system: &str,
    contract: &Contract,
    answers: Answers<'_>,
) -> BTreeMap<String, BTreeMap<u16, AnswerClass>> {
    let mut checked = BTreeMap::new();
    for (operation, key, statuses) in answers {
        if operation != "*" && contract.operation(&operation).is_none() {
            let names = contract.operations.iter().map(|o| o.id.as_str());
            let message = format!("the contract of {system} has no operation `{operation}`");
            file.error(
                "bus/unknown-operation",
                key.span,
                message,
                suggest::help(&operation, names).unwrap_or_default(),
            );
        }
        let statuses = statuses.into_iter().filter_map(|(name, key, class)| Some((status(file, key, &name)?, class)));
        checked.insert(operation, statuses.collect());
    }
    checked
}
