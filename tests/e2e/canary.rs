//! Secrets that are recognised wherever they turn up: in clear text, in base 64, in hexadecimal, as a list of bytes.
//!
//! What a bus of these tests is given as a secret is a canary, one for each kind. Whatever Tieline writes is looked through
//! for all of them, in every test and without its doing: what its commands print (`process::tieline`), what its services log
//! and show on their admin port ([`crate::process::Process`]), and its topics ([`crate::written::Topics`]). A secret that
//! shows fails the test which it shows in, with its place; it is not repeated there.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// A kind of secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    ClientSecret,
    AccessToken,
    BearerToken,
    WebhookKey,
    KafkaPassword,
    Password,
    ApiKey,
}

/// A secret that shows, and the byte at which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub canary: Canary,
    pub at: usize,
}

impl Canary {
    const ALL: [Self; 7] = [
        Self::ClientSecret,
        Self::AccessToken,
        Self::BearerToken,
        Self::WebhookKey,
        Self::KafkaPassword,
        Self::Password,
        Self::ApiKey,
    ];

    /// The part of it that is looked for. Letters and digits alone: so neither JSON nor a URL, a shell or `{:?}` writes it
    /// otherwise.
    const fn mark(self) -> &'static str {
        match self {
            Self::ClientSecret => "cnry4ClientSecret7f3a9e",
            Self::AccessToken => tieline_sandbox::systems::TOKEN_MARK,
            Self::BearerToken => "cnry4BearerToken7f3a9e",
            Self::WebhookKey => "cnry4WebhookKey7f3a9e",
            Self::KafkaPassword => "cnry4KafkaPassword7f3a9e",
            Self::Password => "cnry4Password7f3a9e",
            Self::ApiKey => "cnry4ApiKeyValue7f3a9e",
        }
    }

    /// The secret. Its mark comes twice, so that half of it is still recognised, and between them is what JSON, forms, URLs
    /// and shells write otherwise, where such a secret may have that: who takes out only the exact text is found out.
    pub fn value(self) -> String {
        let mark = self.mark();
        match self {
            // RFC 6750, section 2.1, has these and no others.
            Self::AccessToken | Self::BearerToken => format!("{mark}~+/{mark}"),
            // As Standard Webhooks writes a key.
            Self::WebhookKey => format!("whsec_{}", STANDARD.encode(mark.repeat(2))),
            Self::ClientSecret | Self::KafkaPassword | Self::Password | Self::ApiKey => {
                format!("{mark}+/=&%\"\\'$ {mark}")
            }
        }
    }
}

/// The first canary in this, if there is one.
pub fn shown(bytes: &[u8]) -> Option<Shown> {
    static NEEDLES: OnceLock<Needles> = OnceLock::new();
    NEEDLES.get_or_init(Needles::new).first(bytes)
}

/// Fails the test if a secret shows in this. One that has failed already is told of it beside its own failure.
pub fn none_in(place: &str, bytes: &[u8]) {
    if let Some(Shown { canary, at }) = shown(bytes) {
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        leaked(&format!("{canary:?} shows in {place}, line {line}"));
    }
}

/// Fails the test: a secret shows here.
pub fn leaked(what: &str) {
    if std::thread::panicking() {
        eprintln!("a secret: {what}");
    } else {
        panic!("a secret: {what}");
    }
}

/// All marks in all spellings, looked for at once (Wu and Manber, 1994): most bytes are never looked at, since tests write
/// hundreds of MB and are built without optimisation.
struct Needles {
    all: Vec<(Vec<u8>, Canary)>,
    /// The length of the shortest: of the others, as much is looked for first.
    window: usize,
    /// By the last two bytes of a window: how far on the next one can be that may hold the beginning of a needle.
    shift: Vec<u8>,
}

impl Needles {
    fn new() -> Self {
        let spelt = |canary: Canary| spellings(canary.mark()).into_iter().map(move |spelling| (spelling, canary));
        let all: Vec<_> = Canary::ALL.into_iter().flat_map(spelt).collect();
        let window = all.iter().map(|(needle, _)| needle.len()).min().expect("needles");
        let mut shift = vec![u8::try_from(window - 1).expect("short marks"); 1 << 16];
        for (needle, _) in &all {
            for (at, pair) in needle[..window].windows(2).enumerate() {
                let shift = &mut shift[usize::from(u16::from_be_bytes([pair[0], pair[1]]))];
                *shift = (*shift).min(u8::try_from(window - 2 - at).expect("short marks"));
            }
        }
        Self { all, window, shift }
    }

    fn first(&self, bytes: &[u8]) -> Option<Shown> {
        let mut end = self.window;
        while end <= bytes.len() {
            let last = u16::from_be_bytes([bytes[end - 2], bytes[end - 1]]);
            let shift = usize::from(self.shift[usize::from(last)]);
            if shift == 0 {
                let at = end - self.window;
                if let Some((_, canary)) = self.all.iter().find(|(needle, _)| bytes[at..].starts_with(needle)) {
                    return Some(Shown { canary: *canary, at });
                }
            }
            end += shift.max(1);
        }
        None
    }
}

/// How an accident writes a text: as it is, within something in base 64 (of either alphabet, wherever it begins there: a
/// Basic header holds a user's name before it), in hexadecimal, with each byte escaped for a URL, and as a list of bytes.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let hex = |upper: bool| -> String {
        let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        bytes.iter().map(digits).collect()
    };
    let escaped = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    let list = bytes.iter().map(u8::to_string).collect::<Vec<_>>();
    let mut all = vec![text.to_owned(), hex(false), hex(true), escaped, list.join(", "), list.join(",")];
    for before in 0..3 {
        let padded = [vec![0; before], bytes.to_vec()].concat();
        for encoded in [STANDARD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            // The characters that hold nothing but bits of the text.
            let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
            all.push(encoded[from..to].to_owned());
        }
    }
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(String::into_bytes).collect()
}

#[test]
fn a_secret_is_recognised_however_it_is_written() {
    for canary in Canary::ALL {
        assert!(shown(canary.value().as_bytes()).is_some_and(|shown| shown.canary == canary), "{canary:?}");
        let secret = match canary {
            Canary::WebhookKey => canary.mark().repeat(2), // its value is this in base 64
            _ => canary.value(),
        };
        let basic = |user: &str| STANDARD.encode(format!("{user}:{secret}"));
        let written = [
            secret.clone(),
            secret[..secret.len() / 2 + 1].to_owned(),
            secret[secret.len() / 2 - 1..].to_owned(),
            serde_json::json!({ "echo": secret }).to_string(),
            format!("{secret:?}"),
            format!("{:?}", secret.as_bytes()),
            secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
            basic("bus"),
            basic("tieline"),
            basic("a-user"),
            URL_SAFE_NO_PAD.encode(format!("??>{secret}")),
        ];
        for text in written {
            let line = format!("{{\"level\":\"INFO\",\"message\":\"asked for {text} and more\"}}");
            let shown = shown(line.as_bytes());
            assert!(shown.is_some_and(|shown| shown.canary == canary), "{canary:?} is not recognised in {text}");
        }
    }
    let harmless = "the secrets are not cnry4, nor is Password7f3a9e one: 99, 110, 114, 121, 52; Y25yeTQ=";
    assert_eq!(shown(harmless.as_bytes()), None);
}
