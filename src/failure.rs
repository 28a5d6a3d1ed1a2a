//! How a command fails: with an exit code that a script can tell apart, and a text that says what to do.

use std::io::Write as _;
use std::process::ExitCode;

/// The exit code that says that something outside is missing, or not as it has to be.
pub const EXIT_OUTSIDE: u8 = 3;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// Problems were found, and are told already.
    Problems,
    /// The command was called in a way that makes no sense.
    Usage(String),
    /// Something outside is missing: a broker, a registry, a port, a tool.
    Outside(anyhow::Error),
}

impl Failure {
    /// The exit code of the process.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Problems => 1,
            Self::Usage(_) => 2,
            Self::Outside(_) => EXIT_OUTSIDE,
        })
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Outside(error.into())
    }
}

/// Tells a failure on standard error, with what caused it.
pub fn say(failure: &Failure) {
    let text = match failure {
        Failure::Problems => return,
        Failure::Usage(usage) => usage.clone(),
        Failure::Outside(error) => format!("{error:#}"),
    };
    // Nobody is left to tell that standard error is closed.
    let _ = writeln!(std::io::stderr(), "tieline: {text}");
}

/// Writes to standard output. A reader that has gone (`tieline check | head`) is no failure.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
