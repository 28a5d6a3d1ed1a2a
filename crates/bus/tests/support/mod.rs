//! A small good bus in `tests/bus`, copied and broken in one place.

#![allow(dead_code)] // each test binary uses a part of it

use std::path::Path;

use tempfile::TempDir;
use tieline_bus::{Bus, Environment, Loaded};

/// What a test does to a copy of the good bus.
pub enum Edit<'a> {
    /// Replaces a snippet that is there once.
    Replace(&'a str, &'a str, &'a str),
    /// Writes a file.
    Write(&'a str, &'a [u8]),
    /// Removes a file or a folder.
    Remove(&'a str),
    /// Copies a file.
    Copy(&'a str, &'a str),
}

/// A copy of the good bus.
pub struct Copy(TempDir);

impl Copy {
    pub fn new(edits: &[Edit<'_>]) -> Self {
        let dir = TempDir::new().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bus"), dir.path());
        let bus = Self(dir);
        edits.iter().for_each(|edit| bus.edit(edit));
        bus
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn load(&self) -> Loaded {
        Bus::load(self.dir(), &Known)
    }

    fn edit(&self, edit: &Edit<'_>) {
        let at = |path: &str| self.dir().join(path);
        match edit {
            Edit::Replace(path, from, to) => {
                let text = std::fs::read_to_string(at(path)).unwrap();
                assert_eq!(text.matches(from).count(), 1, "`{from}` is in {path} once");
                std::fs::write(at(path), text.replace(from, to)).unwrap();
            }
            Edit::Write(path, text) => {
                std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
                std::fs::write(at(path), text).unwrap();
            }
            Edit::Remove(path) if at(path).is_dir() => std::fs::remove_dir_all(at(path)).unwrap(),
            Edit::Remove(path) => std::fs::remove_file(at(path)).unwrap(),
            Edit::Copy(from, to) => {
                std::fs::create_dir_all(at(to).parent().unwrap()).unwrap();
                std::fs::copy(at(from), at(to)).unwrap();
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What the good bus needs. Every secret is a canary that no output may hold.
pub struct Known;

pub const CANARY: &str = "canary-7f3a";

impl Environment for Known {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "ERP_URL").then(|| "https://erp.example.com/api".to_owned())
    }

    fn secret(&self, name: &str) -> Option<String> {
        let known = ["kafka-password", "erp-client-secret", "crm-webhook-secret"];
        known.contains(&name).then(|| format!("{CANARY}-{name}"))
    }
}
