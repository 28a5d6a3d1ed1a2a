//! The list of mutations (`list.txt`), and how one is made.

use std::path::{Path, PathBuf};

/// A rule, and how it is broken.
pub struct Mutation {
    pub rule: String,
    pub how: String,
    pub hunks: Vec<Hunk>,
}

/// Lines of a file, and those in their place.
#[derive(Default)]
pub struct Hunk {
    pub file: String,
    from: Vec<String>,
    to: Vec<String>,
}

/// All of them, in the order of the list.
pub fn mutations() -> Vec<Mutation> {
    let mut mutations: Vec<Mutation> = Vec::new();
    for line in include_str!("list.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let hunk = |mutations: &mut Vec<Mutation>, add: fn(&mut Hunk, String), text: &str| {
            let hunk = mutations.last_mut().and_then(|mutation| mutation.hunks.last_mut()).expect("a file comes first");
            add(hunk, text.trim().to_owned());
        };
        match line.split_at(1) {
            ("@", file) => {
                let mutation = mutations.last_mut().expect("a rule comes first");
                mutation.hunks.push(Hunk { file: file.trim().to_owned(), ..Hunk::default() });
            }
            ("-", text) => hunk(&mut mutations, |hunk, text| hunk.from.push(text), text),
            ("+", text) => hunk(&mut mutations, |hunk, text| hunk.to.push(text), text),
            _ => {
                let (rule, how) = line.split_once(" | ").expect("a rule, and its mutation");
                mutations.push(Mutation { rule: rule.to_owned(), how: how.to_owned(), hunks: Vec::new() });
            }
        }
    }
    mutations
}

impl Hunk {
    /// The file, and its text with the lines replaced.
    pub fn make(&self, krate: &Path) -> Result<(PathBuf, String), String> {
        let path = krate.join("src").join(&self.file);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines: Vec<&str> = text.lines().collect();
        let is_there = |at: &usize| lines[*at..].iter().zip(&self.from).all(|(line, from)| line.trim() == from);
        let places: Vec<usize> = (0..=lines.len().saturating_sub(self.from.len())).filter(is_there).collect();
        let &[at] = places.as_slice() else {
            return Err(format!("{} has {} times: {}", self.file, places.len(), self.from.join(" / ")));
        };
        let to = self.to.iter().map(String::as_str);
        let mutated: Vec<&str> =
            lines[..at].iter().copied().chain(to).chain(lines[at + self.from.len()..].iter().copied()).collect();
        Ok((path, mutated.join("\n")))
    }
}
