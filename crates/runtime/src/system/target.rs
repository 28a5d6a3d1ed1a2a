//! Makes an operation and its parameters an HTTP request, so that no value can change what is called.
//!
//! Values come from events: from whoever can write a deal's title. In a path they are percent-encoded down to the
//! unreserved characters of RFC 3986, so that none can leave its segment; what a client or server would resolve or drop
//! (an empty segment, `.`, `..`) is refused. In a query the same; in a header only visible ASCII and spaces are let through.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap,
    HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use reqwest::{Method, Url};
use tieline_bus::System;
use tieline_schema::contract::{Operation, Parameter, Place};
use uuid::fmt::Hyphenated;

use super::Request;

/// What a value keeps in a path or query: the unreserved characters (RFC 3986, section 2.3).
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the contract's own text keeps in a path: `pchar` and `/` (RFC 3986, section 3.3). It may hold escapes already.
const LITERAL: &AsciiSet = &VALUE
    .remove(b'/')
    .remove(b'%')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Headers that a parameter can never set: they frame the message, or are ours to set.
const RESERVED: [HeaderName; 12] = [
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    TE,
    TRAILER,
    UPGRADE,
    AUTHORIZATION,
    COOKIE,
    ACCEPT,
    ACCEPT_ENCODING,
    CONTENT_TYPE,
];

/// The header of a trace (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Room for this many headers is made at once: ours, the credential, and those that the client adds.
const HEADERS: usize = 12;

/// Longest URL that is sent. Servers refuse longer ones (most at 8 KiB), so that a value that makes one is refused here.
const URL_BYTES_MAX: usize = 8 * 1024;

/// Why an address of a system is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BaseError {
    /// Not a URL.
    #[error("it is not a URL")]
    NotAUrl,
    /// Another scheme.
    #[error("it is neither http nor https")]
    Scheme,
    /// A URL with more than scheme, host, port and path.
    #[error("it has a {0}, which has no place there")]
    Extra(&'static str),
}

/// Why no request can be made. It names parameters, never their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// The contract requires a parameter that is not given.
    #[error("the parameter `{0}` is required and not given")]
    Missing(String),
    /// A parameter that the contract does not have.
    #[error("the operation has no parameter `{0}`")]
    Unknown(String),
    /// A path's value that is empty, or would be taken for the folder or the one above.
    #[error("the parameter `{0}` is empty, `.` or `..`, which a path cannot hold")]
    Segment(String),
    /// A header's value with a character that a header cannot have.
    #[error("the parameter `{0}` has a character that a header cannot have")]
    HeaderValue(String),
    /// A header that is not a parameter's to set.
    #[error("the header `{0}` cannot be set by a parameter")]
    Reserved(String),
    /// The contract's text is not what a request can have.
    #[error("the contract's {0} is not what HTTP allows")]
    Contract(&'static str),
    /// Too long for a URL.
    #[error("the URL would have {0} bytes, and 8192 are the most")]
    TooLong(usize),
}

/// The address of a system, checked.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    url: Url,
}

impl Base {
    /// Checks an address.
    pub(crate) fn parse(text: &str) -> Result<Self, BaseError> {
        let url = Url::parse(text).map_err(|_| BaseError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BaseError::Scheme);
        }
        if !url.has_host() {
            return Err(BaseError::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseError::Extra("user"));
        }
        if url.query().is_some() {
            return Err(BaseError::Extra("query"));
        }
        if url.fragment().is_some() {
            return Err(BaseError::Extra("fragment"));
        }
        Ok(Self { url })
    }

    /// The URL of an operation with these parameters.
    fn url(&self, operation: &Operation, parameters: &[(String, String)]) -> Result<Url, TargetError> {
        let path = format!("{}{}", self.url.path().trim_end_matches('/'), path(operation, parameters)?);
        let query = query(operation, parameters);
        let mut url = self.url.clone();
        url.set_path(&path);
        url.set_query(query.as_deref());
        // What the URL's own rules made of it must be what we wrote: the last line of defence.
        if url.path() != path || url.query() != query.as_deref() {
            return Err(TargetError::Contract("path"));
        }
        match url.as_str().len() {
            length if length > URL_BYTES_MAX => Err(TargetError::TooLong(length)),
            _ => Ok(url),
        }
    }
}

/// Makes the request, without a credential.
pub(crate) fn request(base: &Base, system: &System, request: &Request) -> Result<reqwest::Request, TargetError> {
    let operation = &request.operation;
    check_names(system, request)?;
    let method = Method::from_bytes(operation.method.as_bytes()).map_err(|_| TargetError::Contract("method"))?;
    let mut made = reqwest::Request::new(method, base.url(operation, &request.parameters)?);
    *made.headers_mut() = headers(system, request)?;
    if let Some(body) = &request.body {
        *made.body_mut() = Some(body.clone().into());
    }
    Ok(made)
}

/// What is given must be the operation's; what it requires must be given, or be set by the system's definition.
fn check_names(system: &System, request: &Request) -> Result<(), TargetError> {
    let (operation, given) = (&request.operation, &request.parameters);
    if let Some((name, _)) = given.iter().find(|(name, _)| !operation.parameters.iter().any(|p| p.name == *name)) {
        return Err(TargetError::Unknown(name.clone()));
    }
    let missing = |p: &&Parameter| p.required && value(given, &p.name).is_none() && !system.gives(p);
    match operation.parameters.iter().find(missing) {
        Some(missing) => Err(TargetError::Missing(missing.name.clone())),
        None => Ok(()),
    }
}

fn value<'a>(given: &'a [(String, String)], name: &str) -> Option<&'a str> {
    given.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn of_place(operation: &Operation, place: Place) -> impl Iterator<Item = &Parameter> {
    operation.parameters.iter().filter(move |p| p.place == place)
}

/// The template with its values put in, percent-encoded.
fn path(operation: &Operation, given: &[(String, String)]) -> Result<String, TargetError> {
    let mut path = String::with_capacity(operation.path.len() + 32);
    let mut rest = operation.path.as_str();
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(TargetError::Contract("path"))?;
        if !of_place(operation, Place::Path).any(|p| p.name == name) {
            return Err(TargetError::Contract("path"));
        }
        let value = value(given, name).ok_or_else(|| TargetError::Missing(name.to_owned()))?;
        if matches!(value, "" | "." | "..") {
            return Err(TargetError::Segment(name.to_owned()));
        }
        path.extend(utf8_percent_encode(literal, LITERAL));
        path.extend(utf8_percent_encode(value, VALUE));
        rest = after;
    }
    path.extend(utf8_percent_encode(rest, LITERAL));
    if !path.starts_with('/') {
        return Err(TargetError::Contract("path"));
    }
    Ok(path)
}

/// The query, in the contract's order; none without parameters.
fn query(operation: &Operation, given: &[(String, String)]) -> Option<String> {
    let mut query = String::new();
    for parameter in of_place(operation, Place::Query) {
        for (name, value) in given.iter().filter(|(name, _)| *name == parameter.name) {
            if !query.is_empty() {
                query.push('&');
            }
            query.extend(utf8_percent_encode(name, VALUE));
            query.push('=');
            query.extend(utf8_percent_encode(value, VALUE));
        }
    }
    (!query.is_empty()).then_some(query)
}

fn headers(system: &System, request: &Request) -> Result<HeaderMap, TargetError> {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    for (name, value) in &request.headers {
        set(&mut headers, name, value)?;
    }
    for parameter in of_place(&request.operation, Place::Header) {
        if let Some(value) = value(&request.parameters, &parameter.name) {
            set(&mut headers, &parameter.name, value)?;
        }
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // A body has the size that it has: nothing is inflated here.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if request.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(version) = &system.version {
        insert(&mut headers, &version.header, &version.expect, "version")?;
    }
    if let (Some(header), Some(key)) = (system.idempotency.header(), request.idempotency_key) {
        let mut bare = [0; Hyphenated::LENGTH];
        let bare: &str = key.hyphenated().encode_lower(&mut bare);
        let value = if header.quoted { &format!("\"{bare}\"") } else { bare };
        insert(&mut headers, &header.name, value, "idempotency header")?;
    }
    // A trace that is not well-formed is not worth a refusal.
    if let Some(Ok(trace)) = request.traceparent.as_deref().map(HeaderValue::from_str) {
        headers.insert(TRACEPARENT, trace);
    }
    Ok(headers)
}

/// Sets a header from a parameter: a value that data decides.
fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), TargetError> {
    let header = HeaderName::try_from(name).map_err(|_| TargetError::Contract("header name"))?;
    if RESERVED.contains(&header) {
        return Err(TargetError::Reserved(name.to_owned()));
    }
    if !value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(TargetError::HeaderValue(name.to_owned()));
    }
    let value = HeaderValue::from_str(value).map_err(|_| TargetError::HeaderValue(name.to_owned()))?;
    headers.insert(header, value);
    Ok(())
}

/// Sets a header from the definition.
fn insert(headers: &mut HeaderMap, name: &str, value: &str, what: &'static str) -> Result<(), TargetError> {
    let name = HeaderName::try_from(name).map_err(|_| TargetError::Contract(what))?;
    headers.insert(name, HeaderValue::from_str(value).map_err(|_| TargetError::Contract(what))?);
    Ok(())
}
