//! Any text as a definition of a bus that is good but for it: problems that stand in it and can be shown, or a bus.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;
use tieline_bus::{Bus, Environment, render};
use tieline_mapping::Severity;

/// The files that are written anew, of what `tieline init` makes.
const FILES: [&str; 5] = [
    "consumers/order-invoice/consumer.yaml",
    "producers/shop-webhooks/producer.yaml",
    "systems/billing/system.yaml",
    "tieline.yaml",
    "systems/billing/openapi.yaml",
];

struct Given;

impl Environment for Given {
    fn variable(&self, _name: &str) -> Option<String> {
        Some("given".to_owned())
    }

    fn secret(&self, _name: &str) -> Option<String> {
        Some("whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5".to_owned())
    }
}

/// A good bus, once for the process; each text is tried in place of one of its files.
static GOOD: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    copy(&root().join("src/init"), dir.path());
    dir
});

/// The first byte chooses the file.
pub fn run(bytes: &[u8]) {
    let [which, text @ ..] = bytes else { return };
    let file = FILES[usize::from(*which) % FILES.len()];
    let path = GOOD.path().join(file);
    let good = std::fs::read(&path).expect("it is there");
    std::fs::write(&path, text).expect("written");
    let loaded = Bus::load(GOOD.path(), &Given);
    let shown = render::human(GOOD.path(), &loaded.problems);
    let listed = render::json(GOOD.path(), &loaded.problems);
    std::fs::write(&path, good).expect("written back");

    let sound = loaded.problems.iter().all(|problem| problem.diagnostic.severity < Severity::Error);
    assert_eq!(loaded.bus.is_some(), sound, "{shown}");
    assert!(serde_json::from_str::<serde_json::Value>(&listed).is_ok(), "{listed}");
    for problem in &loaded.problems {
        let span = problem.diagnostic.span;
        let end = if problem.file == Path::new(file) { text.len() } else { usize::MAX };
        assert!(span.start <= span.end && span.end <= end, "{problem:?} stands outside of {end} bytes");
        assert!(!problem.diagnostic.message.is_empty(), "{problem:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("it is there").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            let text = std::fs::read_to_string(&path).expect("a text");
            std::fs::write(target, text.replace("BUS_NAME", "fuzzed")).expect("written");
        }
    }
}

/// Of this repository, from its own tests and from `fuzz/`.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().find(|dir| dir.join("src/init").is_dir());
    root.expect("in the repository").to_owned()
}
