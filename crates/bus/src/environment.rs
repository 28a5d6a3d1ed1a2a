//! Where variables and secrets come from.

/// Where variables and secrets come from, and where systems are when they are not where their definition says.
pub trait Environment {
    /// The value of `${name}`.
    fn variable(&self, name: &str) -> Option<String>;

    /// The value of `secret:name`.
    fn secret(&self, name: &str) -> Option<String>;

    /// Another address for a system, without a trailing slash: how `tieline dev` points systems to stand-ins. Where the
    /// token endpoint of the system lies under its declared address, it moves along.
    fn base_url(&self, _system: &str) -> Option<String> {
        None
    }

    /// How somebody sets a variable that is missing; for a hint.
    fn variable_help(&self, name: &str) -> String {
        format!("set it, `export {name}=…`, or write a default, `${{{name}:-…}}`")
    }

    /// How somebody sets a secret that is missing; for a hint.
    fn secret_help(&self, name: &str) -> String {
        format!("write it to a file `{name}` in the folder that TIELINE_SECRETS_DIR names")
    }
}
