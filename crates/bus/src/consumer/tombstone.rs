//! What a tombstone means: a record with a key and no value, by which a topic says that the thing of this key is gone.
//!
//! It is no event: there is nothing to filter by, to look up with, or to make a follow-up event of. So `on_tombstone`
//! sees the key alone, as `$key`, and makes one call of the same system.

use std::sync::Arc;

use serde_json::Value;
use tieline_mapping::{Bounds, Compiler, Frame, Layout, RunError, Severity};
use tieline_schema::types::{Kind, Record, Type};

use super::Call;
use super::read::DeclaredCall;
use crate::certain;
use crate::folder::DefinitionFile;

/// The call that a tombstone makes.
#[derive(Debug)]
pub struct Tombstone {
    /// The call. Its expressions read [`Tombstone::KEY`] and nothing else.
    pub call: Call,
    layout: Layout,
}

impl Tombstone {
    /// The name under which its expressions find the record's key, a text.
    pub const KEY: &'static str = "key";

    /// What its expressions are run over: nothing, since a tombstone has no value.
    ///
    /// # Errors
    /// Never in service: there is nothing that could be of another type.
    pub fn frame(&self) -> Result<Frame<'static>, RunError> {
        static NOTHING: Value = Value::Null;
        self.layout.read_json(&NOTHING, &Bounds::default())
    }

    /// Whether an answer with this status says that what the tombstone ends is not there, so that nothing is left to do:
    /// 404 and 410 to a DELETE, unless the system's `answers` say what they mean.
    ///
    /// A DELETE whose answer was lost is answered with 404 when it is made again, so that 404 has to be an end of it.
    #[must_use]
    pub fn is_met_by(&self, status: u16) -> bool {
        let (system, operation) = (&self.call.system, &self.call.operation);
        let said = |name: &str| system.answers.get(name).is_some_and(|answers| answers.contains_key(&status));
        operation.method == "DELETE" && matches!(status, 404 | 410) && !said(&operation.id) && !said("*")
    }
}

impl DeclaredCall<'_> {
    /// Compiles it as the call of a tombstone.
    pub(super) fn compile_tombstone(&self, file: &DefinitionFile<'_>) -> Option<Tombstone> {
        let target = self.target.as_ref()?;
        if matches!(target.operation.method.as_str(), "GET" | "HEAD") {
            let message = format!("`{}` is a {}, which changes nothing", target.operation.id, target.operation.method);
            let help = "name the operation that ends what has this key, such as a DELETE; without `on_tombstone` it is skipped";
            file.error("bus/tombstone-asks", target.at, message, help);
            return None;
        }
        let mut compiler = nothing_but_the_key();
        let call = self.compile(file, &mut compiler, None);
        let reads_key = compiler.reads_name(Tombstone::KEY);
        let (layout, problems) = compiler.finish();
        let sound = problems.iter().all(|p| p.severity < Severity::Error);
        certain::report(file, problems, true);
        // Where something else is wrong with it, that may be why.
        if !reads_key && !file.has_errors() {
            let message = "nothing here reads `$key`, so that each tombstone would do the same";
            let help = "`$key` is the key of the record, a text: give it to the parameter that says what is gone";
            file.error("bus/tombstone-without-key", self.at, message, help);
        }
        Some(Tombstone { call: call.filter(|_| sound && reads_key)?, layout })
    }
}

/// Compiles expressions that see the key of a record, and of its value that there is none.
fn nothing_but_the_key() -> Compiler {
    let nothing = Record { name: None, fields: Vec::new(), open: false };
    let mut compiler =
        Compiler::new(Type::of(Kind::Record(Arc::new(nothing))), "a tombstone, which has only `$key`".to_owned());
    compiler.bind(Tombstone::KEY, Type::text(), "the key of a tombstone");
    compiler
}
