//! The credentials that are one fixed header: API key, Basic, bearer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tieline_bus::Credential;

/// Why a credential cannot be sent. It says nothing of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The header has no valid name.
    #[error("the name of the credential's header is not one that HTTP allows")]
    Name,
    /// The value has characters that a header cannot have.
    #[error("the credential has a character that a header cannot have (a line break at its end?)")]
    Value,
    /// The token endpoint's address is none.
    #[error("`token_url` is not an http or https URL")]
    TokenUrl,
}

/// The header that proves who we are; none for no credential, nor for one that has to be fetched first.
pub(crate) fn fixed_header(credential: &Credential) -> Result<Option<(HeaderName, HeaderValue)>, CredentialError> {
    match credential {
        Credential::None | Credential::OAuth2 { .. } => Ok(None),
        Credential::ApiKey { header, key } => {
            let name = HeaderName::try_from(header.as_str()).map_err(|_| CredentialError::Name)?;
            Ok(Some((name, secret_value(key.expose())?)))
        }
        Credential::Basic { username, password } => {
            Ok(Some((AUTHORIZATION, basic_value(username, password.expose())?)))
        }
        Credential::Bearer { token } => Ok(Some((AUTHORIZATION, secret_value(&format!("Bearer {}", token.expose()))?))),
    }
}

/// The value of a Basic header (RFC 7617).
pub(crate) fn basic_value(username: &str, password: &str) -> Result<HeaderValue, CredentialError> {
    secret_value(&format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
}

/// A header's value that no `Debug` shows.
pub(crate) fn secret_value(value: &str) -> Result<HeaderValue, CredentialError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| CredentialError::Value)?;
    value.set_sensitive(true);
    Ok(value)
}
