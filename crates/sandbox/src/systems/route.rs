//! Which operation of a contract a request is for.

use std::collections::BTreeMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use tieline_schema::contract::Operation;

/// What a request is for.
#[derive(Debug)]
pub enum Route {
    /// An operation.
    Operation(Match),
    /// A path that the contract has, but with these methods only.
    OtherMethods(Vec<String>),
    /// No path of the contract.
    Unknown,
}

/// An operation with the values of its path's parameters.
#[derive(Debug)]
pub struct Match {
    /// The operation.
    pub operation: Arc<Operation>,
    /// Its path's parameters, decoded.
    pub parameters: BTreeMap<String, String>,
}

/// Finds the operation of a request. Where two templates fit, the one with fewer parameters is meant (OpenAPI 3.1,
/// "Path Templating Matching").
pub fn find(operations: &[Arc<Operation>], method: &str, path: &str) -> Route {
    let mut fitting: Vec<Match> = Vec::new();
    for operation in operations {
        if let Some(parameters) = fit(&operation.path, path) {
            fitting.push(Match { operation: operation.clone(), parameters });
        }
    }
    let Some(fewest) = fitting.iter().map(|m| m.parameters.len()).min() else { return Route::Unknown };
    fitting.retain(|m| m.parameters.len() == fewest);
    let methods = fitting.iter().map(|m| m.operation.method.clone()).collect();
    match fitting.into_iter().find(|m| m.operation.method == method) {
        Some(found) => Route::Operation(found),
        None => Route::OtherMethods(methods),
    }
}

fn fit(template: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) => match parameter(wanted) {
                Some(_) if given.is_empty() => return None,
                Some(name) => {
                    let value = percent_decode_str(given).decode_utf8().ok()?;
                    parameters.insert(name.to_owned(), value.into_owned());
                }
                None if wanted == given => {}
                None => return None,
            },
            (Some(_), None) | (None, Some(_)) => return None,
        }
    }
}

/// The name of the parameter that a part of a template is.
pub fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_template_fits_part_by_part_and_its_values_are_decoded() {
        let values = fit("/v3/accounts/{account_id}/notes", "/v3/accounts/A%2F77/notes").unwrap();
        assert_eq!(values["account_id"], "A/77");
        for other in ["/v3/accounts/A-77", "/v3/accounts//notes", "/v3/accounts/A-77/notes/1", "/v3/users/A/notes"] {
            assert!(fit("/v3/accounts/{account_id}/notes", other).is_none(), "{other}");
        }
    }
}
