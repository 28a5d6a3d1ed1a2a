//! What people get to see of an answer: shortened, on one line, and without the secrets that we know.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Most bytes of an excerpt: enough for an error's message, little enough for twenty of them beside a dead letter.
pub(crate) const EXCERPT_BYTES_MAX: usize = 512;

/// How much of an answer is looked at for an excerpt: secrets are replaced by something shorter, so it is more than is kept.
const LOOKED_AT_BYTES_MAX: usize = 16 * 1024;

/// What stands in the place of a secret.
const MASK: &str = "[secret]";

/// Tokens that are remembered, newest last: what is under way when one is renewed may still answer with the old one.
const TOKENS_MAX: usize = 4;

/// A beginning of a secret of at least this many bytes is taken out at the end of a text that was cut.
const PREFIX_BYTES_MIN: usize = 4;

/// Knows the secrets of one system, and takes them out of texts.
#[derive(Default)]
pub(crate) struct Redactor {
    fixed: Vec<String>,
    tokens: Mutex<VecDeque<Vec<String>>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor(…)")
    }
}

impl Redactor {
    /// Knows the secrets of this credential.
    pub(crate) fn new(credential: &tieline_bus::Credential) -> Self {
        use tieline_bus::Credential;
        let secrets = match credential {
            Credential::None => Vec::new(),
            Credential::OAuth2 { client_id, client_secret, .. } => basic_and(client_id, client_secret.expose()),
            Credential::ApiKey { key, .. } => vec![key.expose().to_owned()],
            Credential::Basic { username, password } => basic_and(username, password.expose()),
            Credential::Bearer { token } => vec![token.expose().to_owned()],
        };
        Self { fixed: secrets.iter().flat_map(|s| spellings(s)).collect(), tokens: Mutex::default() }
    }

    /// Knows this token too; the oldest of many is forgotten.
    pub(crate) fn learn(&self, token: &str) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.push_back(spellings(token));
        if tokens.len() > TOKENS_MAX {
            tokens.pop_front();
        }
    }

    /// The beginning of an answer as people may see it: at most [`EXCERPT_BYTES_MAX`], control characters escaped.
    pub(crate) fn excerpt(&self, bytes: &[u8]) -> String {
        let bytes = &bytes[..bytes.len().min(LOOKED_AT_BYTES_MAX)];
        escaped(&self.redacted(&String::from_utf8_lossy(bytes)))
    }

    fn redacted(&self, text: &str) -> String {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let mut secrets: Vec<&str> =
            self.fixed.iter().chain(tokens.iter().flatten()).map(String::as_str).filter(|s| !s.is_empty()).collect();
        // The longest first: else one that holds another would be left in pieces.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        let mut text = text.to_owned();
        for secret in &secrets {
            if text.contains(secret) {
                text = text.replace(secret, MASK);
            }
        }
        let cut = secrets.iter().map(|s| beginning_at_end(&text, s)).max().unwrap_or(0);
        if cut >= PREFIX_BYTES_MIN {
            text.truncate(text.len() - cut);
            text.push_str(MASK);
        }
        text
    }
}

/// A password, and the value of the Basic header that holds it.
fn basic_and(username: &str, password: &str) -> Vec<String> {
    vec![password.to_owned(), BASE64_STANDARD.encode(format!("{username}:{password}"))]
}

/// A secret as it is, as JSON writes it, as a form or URL writes it, and as a JSON pointer does (RFC 6901, section 3).
fn spellings(secret: &str) -> Vec<String> {
    let pointer = secret.replace('~', "~0").replace('/', "~1");
    let json = serde_json::Value::from(secret).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let url = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let mut all = vec![secret.to_owned(), json, url, pointer];
    all.dedup();
    all
}

/// How many bytes at the end of a text are the beginning of a secret.
fn beginning_at_end(text: &str, secret: &str) -> usize {
    (1..secret.len()).rev().find(|&n| secret.is_char_boundary(n) && text.ends_with(&secret[..n])).unwrap_or(0)
}

/// Escapes what would move a terminal's cursor, break a line of a log or turn the direction of reading, and shortens.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(EXCERPT_BYTES_MAX));
    for c in text.chars() {
        let before = out.len();
        if c.is_control() || is_bidirectional(c) || c == '\u{2028}' || c == '\u{2029}' {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > EXCERPT_BYTES_MAX - '…'.len_utf8() {
            out.truncate(before);
            out.push('…');
            break;
        }
    }
    out
}

/// The characters that change the direction of what follows (Unicode Technical Report 36, section 2.7).
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use tieline_bus::{Credential, Secret};

    fn redactor(key: &str) -> Redactor {
        Redactor::new(&Credential::ApiKey { header: "x-key".into(), key: Secret::new(key.into()) })
    }

    #[test]
    fn a_secret_is_taken_out_however_it_is_written() {
        let r = redactor("ca\"nary/1");
        assert_eq!(r.excerpt(br#"you sent ca"nary/1"#), "you sent [secret]");
        assert_eq!(r.excerpt(br#"{"sent":"ca\"nary/1"}"#), r#"{"sent":"[secret]"}"#);
        assert_eq!(r.excerpt(b"key=ca%22nary%2F1&x"), "key=[secret]&x");
        assert_eq!(r.excerpt(b"/errors/ca\"nary~11/0"), "/errors/[secret]/0");
    }

    #[test]
    fn a_basic_header_is_taken_out_as_a_whole() {
        let r = Redactor::new(&Credential::Basic { username: "bus".into(), password: Secret::new("canary".into()) });
        let header = BASE64_STANDARD.encode("bus:canary");
        assert_eq!(
            r.excerpt(format!("Basic {header} is wrong, and so is canary").as_bytes()),
            "Basic [secret] is wrong, and so is [secret]"
        );
    }

    #[test]
    fn a_secret_across_the_cut_leaves_no_beginning() {
        let r = redactor("canary-secret-value");
        assert_eq!(r.excerpt(b"you sent canary-sec"), "you sent [secret]");
        let long = format!("{}canary-secret-value", "x".repeat(EXCERPT_BYTES_MAX - 8));
        assert!(!r.excerpt(long.as_bytes()).contains("canary"));
    }

    #[test]
    fn a_token_that_is_learnt_is_taken_out_and_so_is_the_one_before() {
        let r = Redactor::default();
        r.learn("token-one");
        r.learn("token-two");
        assert_eq!(r.excerpt(b"token-one token-two"), "[secret] [secret]");
    }

    #[test]
    fn an_excerpt_is_one_bounded_line() {
        let r = Redactor::default();
        assert_eq!(r.excerpt(b"a\r\n\x1b[31mb\xe2\x80\xae"), "a\\r\\n\\u{1b}[31mb\\u{202e}");
        let long = r.excerpt("é\n".repeat(1_000).as_bytes());
        assert!(long.len() <= EXCERPT_BYTES_MAX && long.ends_with('…'), "{}", long.len());
        assert_eq!(r.excerpt(&[0xff, b'x']), "\u{fffd}x");
    }
}
