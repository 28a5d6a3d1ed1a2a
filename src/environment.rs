//! Where variables and secrets come from in service: the process's environment, and files.

use std::path::PathBuf;

use tieline_bus::Environment;

/// The process's environment. A secret `crm-token` is the file of that name in the folder that `TIELINE_SECRETS_DIR` names,
/// else the variable `TIELINE_SECRET_CRM_TOKEN`.
#[derive(Debug)]
pub struct ProcessEnvironment {
    secrets_dir: Option<PathBuf>,
}

impl ProcessEnvironment {
    /// Looks where secrets are.
    pub fn new() -> Self {
        Self { secrets_dir: std::env::var_os("TIELINE_SECRETS_DIR").map(PathBuf::from) }
    }
}

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn secret(&self, name: &str) -> Option<String> {
        let file = self.secrets_dir.as_ref().map(|dir| dir.join(name));
        let in_file = file.and_then(|file| std::fs::read_to_string(file).ok());
        // A file of a mounted secret often ends with a line break that is not part of it.
        in_file
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .or_else(|| std::env::var(variable_of(name)).ok())
    }

    fn secret_help(&self, name: &str) -> String {
        format!(
            "write it to a file `{name}` in the folder that TIELINE_SECRETS_DIR names, or set {}",
            variable_of(name)
        )
    }
}

fn variable_of(secret: &str) -> String {
    let name: String =
        secret.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("TIELINE_SECRET_{name}")
}

/// For commands that send nothing: a secret that is not there does not keep a definition from being checked.
#[derive(Debug)]
pub struct WithoutSecrets<E>(pub E);

impl<E: Environment> Environment for WithoutSecrets<E> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name)
    }

    fn secret(&self, name: &str) -> Option<String> {
        // `whsec_` and base 64, so that it is well-formed as any kind of secret.
        self.0.secret(name).or_else(|| Some("whsec_cGxhY2Vob2xkZXItbm90LWEtc2VjcmV0".to_owned()))
    }
}
