//! Translation tables: data, not expressions. Text on both sides; a row `otherwise` is for all else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::program::Rows;
use crate::yaml::{Node, NodeValue};
use crate::{Diagnostic, Span};

/// The tables of a definition, and which of their rows are used.
#[derive(Debug, Default)]
pub(crate) struct Tables(BTreeMap<String, Table>);

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its rows.
    pub(crate) rows: Arc<Rows>,
    span: Span,
    row_spans: BTreeMap<String, Span>,
    used: bool,
    used_rows: BTreeSet<String>,
}

impl Tables {
    /// Reads `tables:`.
    pub(crate) fn read(&mut self, node: &Node) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        let NodeValue::Mapping(entries) = &node.value else {
            return vec![Diagnostic::error("mapping/table", node.span, "tables are written `name: { FROM: to }`")];
        };
        for (name, table) in entries {
            let NodeValue::Scalar { text, .. } = &name.value else { continue };
            if let Some(read) = read_table(name.span, table, &mut problems) {
                self.0.insert(text.clone(), read);
            }
        }
        problems
    }

    /// The table of this name, which counts as used.
    pub(crate) fn take_use(&mut self, name: &str) -> Option<&Table> {
        let table = self.0.get_mut(name)?;
        table.used = true;
        Some(table)
    }

    /// Notes that these texts are looked up.
    pub(crate) fn use_rows(&mut self, name: &str, texts: &[String]) {
        if let Some(table) = self.0.get_mut(name) {
            table.used_rows.extend(texts.iter().cloned());
        }
    }

    /// Notes that any text may be looked up.
    pub(crate) fn use_all(&mut self, name: &str) {
        if let Some(table) = self.0.get_mut(name) {
            table.used_rows.extend(table.row_spans.keys().cloned());
        }
    }

    /// The names there are.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The rows that lead to this text: for messages.
    pub(crate) fn rows_to(&self, name: &str, to: &str) -> Vec<String> {
        let rows = self.0.get(name).map(|t| t.rows.rows.iter().filter(|(_, t)| t == to).map(|(from, _)| from.clone()));
        rows.map(Iterator::collect).unwrap_or_default()
    }

    /// Warns of tables and rows that nothing uses.
    pub(crate) fn unused(&self) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        for (name, table) in &self.0 {
            if !table.used {
                let message = format!("table `{name}` is never used");
                problems.push(
                    Diagnostic::warning("mapping/unused-table", table.span, message).help("remove it".to_owned()),
                );
                continue;
            }
            for (row, span) in table.row_spans.iter().filter(|(row, _)| !table.used_rows.contains(*row)) {
                let message = format!("`{row}` never comes, so that this row of table `{name}` is never used");
                problems.push(Diagnostic::warning("mapping/unused-row", *span, message).help("remove it".to_owned()));
            }
        }
        problems
    }
}

fn read_table(span: Span, node: &Node, problems: &mut Vec<Diagnostic>) -> Option<Table> {
    let NodeValue::Mapping(entries) = &node.value else {
        problems.push(Diagnostic::error("mapping/table", node.span, "a table is written `{ FROM: to }`, a row a line"));
        return None;
    };
    let mut rows = Rows::default();
    let mut row_spans = BTreeMap::new();
    for (from, to) in entries {
        let (NodeValue::Scalar { text: key, quoted }, NodeValue::Scalar { text: value, quoted: value_quoted }) =
            (&from.value, &to.value)
        else {
            problems.push(Diagnostic::error("mapping/table", to.span, "a row has a text on both sides"));
            continue;
        };
        if value.is_empty() && !value_quoted {
            let help = "an empty text is written `\"\"`".to_owned();
            problems.push(Diagnostic::error("mapping/table", from.span, "this row leads to nothing").help(help));
            continue;
        }
        if key == "otherwise" && !quoted {
            rows.otherwise = Some(value.clone());
        } else {
            rows.rows.push((key.clone(), value.clone()));
            row_spans.insert(key.clone(), from.span);
        }
    }
    Some(Table { rows: Arc::new(rows), span, row_spans, used: false, used_rows: BTreeSet::new() })
}
