//! Follows a path through a type, and gives what it leads to a slot.

use tieline_schema::types::{Kind, Record, Type};

use super::{Checker, Root, Typed, symbols};
use crate::ast::{Path, Segment, Step};
use crate::layout::{Layout, ROOT, WantId};
use crate::program::{Program, Scope, Slot};
use crate::{Diagnostic, Span, suggest};

/// How far a path has been followed.
struct Walk {
    root: Root,
    scope: Scope,
    want: WantId,
    ty: Type,
    null_because: Option<String>,
    /// The list that a `[]` went into, and its type's nullability.
    list: Option<(WantId, bool)>,
}

impl Checker {
    pub(super) fn path(&mut self, path: &Path, span: Span) -> Option<Typed> {
        self.paths.push((span, path.text()));
        let mut walk = match self.start(path, span)? {
            Start::Walk(walk) => walk,
            Start::Value(typed) => return Some(typed),
        };
        let mut steps: Vec<String> = Vec::new();
        self.know(path, &steps, &mut walk);
        for (at, segment) in path.segments.iter().enumerate() {
            match &segment.step {
                Step::Field(name) => {
                    self.field(path, at, segment, name, &mut walk)?;
                    steps.push(name.clone());
                }
                Step::Items => {
                    self.enter_items(path, at, segment, &mut walk)?;
                    steps.push("[]".to_owned());
                }
            }
            self.know(path, &steps, &mut walk);
        }
        Some(self.place(walk, span))
    }

    fn start(&mut self, path: &Path, span: Span) -> Option<Start> {
        let Some(name) = &path.name else {
            let ty = self.layout.want(ROOT).ty.clone();
            return Some(Start::at(Root::Event, Scope::Event, ROOT, ty, "."));
        };
        if let Some(depth) = self.loops.iter().position(|l| l.name == *name) {
            let variable = self.loops[depth].clone();
            if let Some((root, want)) = variable.want {
                return Some(Start::at(root, Scope::Loop(depth), want, variable.ty, &format!("${name}")));
            }
            if let Some(segment) = path.segments.first() {
                let is = super::describe::kind(&variable.ty.kind);
                let message = format!("`${name}` is {is} and has no fields");
                self.report(Diagnostic::error("mapping/unknown-field", segment.span, message));
                return None;
            }
            let nullable = variable.ty.nullable;
            let program = Program::Slot(Slot { scope: Scope::Loop(depth), slot: 0, symbols: None });
            let mut typed = Typed::new(program, variable.ty, span);
            typed.null_because = nullable.then(|| format!("${name}"));
            return Some(Start::Value(typed));
        }
        let Some(declared) = self.names.get_mut(name) else {
            let known: Vec<String> = self.loops.iter().map(|l| &l.name).chain(self.names.keys()).cloned().collect();
            let known: Vec<String> = known.iter().map(|n| format!("${n}")).collect();
            let help = suggest::help(&format!("${name}"), known.iter().map(String::as_str));
            let help = help.map(|h| h.replace("it has", "there is"));
            self.report(
                Diagnostic::error("mapping/unknown-name", span, format!("there is no `${name}` here")).help(help),
            );
            return None;
        };
        declared.used = true;
        let ty = declared.ty.clone();
        let at = self.unit.names.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
            self.unit.names.push((name.clone(), Layout::new(ty.clone())));
            self.unit.names.len() - 1
        });
        Some(Start::at(Root::Name(at), Scope::Name(at), ROOT, ty, &format!("${name}")))
    }

    /// Puts what is known of the value into its type.
    fn know(&self, path: &Path, steps: &[String], walk: &mut Walk) {
        if self.is_not_null(path.name.as_deref(), steps) {
            walk.ty.nullable = false;
            walk.null_because = None;
        }
        self.narrow(path.name.as_deref(), steps, &mut walk.ty);
    }

    fn field(&mut self, path: &Path, at: usize, segment: &Segment, name: &str, walk: &mut Walk) -> Option<()> {
        let mut ty = match &walk.ty.kind {
            Kind::Record(record) => match record.field(name) {
                Some(field) => {
                    let absent = !field.required && !is_avro(record);
                    Type { nullable: field.ty.nullable || absent, ..field.ty.clone() }
                }
                None => {
                    let problem = self.unknown_field(path, at, segment, name, record);
                    self.report(problem);
                    return None;
                }
            },
            Kind::Map(value) => Type { nullable: true, ..(**value).clone() },
            Kind::Any => Type::of(Kind::Any).or_null(),
            other => {
                let whole = path.text_of(at);
                let message = format!("`{whole}` is {} and has no fields", super::describe::kind(other));
                let help = matches!(other, Kind::List { .. }).then(|| {
                    format!("the field of each item is `{whole}[].{name}`; a loop is `- for: $item in {whole}`")
                });
                self.report(Diagnostic::error("mapping/unknown-field", segment.span, message).help(help));
                return None;
            }
        };
        if ty.nullable && walk.null_because.is_none() {
            walk.null_because = Some(path.text_of(at + 1));
        }
        walk.want = self.layout_of(walk.root).field(walk.want, name, &ty);
        ty.nullable |= walk.ty.nullable;
        walk.ty = ty;
        Some(())
    }

    fn unknown_field(&self, path: &Path, at: usize, segment: &Segment, name: &str, record: &Record) -> Diagnostic {
        let names = record.fields.iter().map(|f| f.name.as_str());
        let label = match &path.name {
            None => self.label.clone(),
            Some(n) => self.names.get(n).map_or_else(|| self.label.clone(), |n| n.label.clone()),
        };
        let message = match (at, &path.name) {
            (0, None) => format!("the event has no field `{name}`"),
            (_, _) => format!("`{}` has no field `{name}`", path.text_of(at)),
        };
        let mut help = suggest::nearest(name, names.clone()).map(|near| format!("did you mean `{near}`?"));
        if let (0, None, Some(item)) = (at, &path.name, self.item_at_hand())
            && matches!(&item.kind, Kind::Record(record) if record.field(name).is_some())
        {
            help = Some(format!("a field of the item at hand is `$item.{name}`"));
        }
        if help.is_none()
            && let Some((left, _)) = name.split_once('-')
            && record.field(left).is_some()
        {
            help = Some("a dash belongs to a name: put spaces around a minus".to_owned());
        }
        let help = help.or_else(|| suggest::help(name, names));
        Diagnostic::error("mapping/unknown-field", segment.span, message).label(format!("not in {label}")).help(help)
    }

    fn enter_items(&mut self, path: &Path, at: usize, segment: &Segment, walk: &mut Walk) -> Option<()> {
        let Kind::List { item, .. } = walk.ty.kind.clone() else {
            let message = format!("`{}` is {}, not a list", path.text_of(at), super::describe::kind(&walk.ty.kind));
            self.report(Diagnostic::error("mapping/wrong-type", segment.span, message));
            return None;
        };
        if walk.list.is_some() {
            let help = "one `[]` is the most; use loops".to_owned();
            let message = "lists of lists cannot be flattened";
            self.report(Diagnostic::error("mapping/wrong-type", segment.span, message).help(help));
            return None;
        }
        walk.list = Some((walk.want, walk.ty.nullable));
        walk.want = self.layout_of(walk.root).item(walk.want, &item);
        walk.ty = *item;
        if walk.ty.nullable && walk.null_because.is_none() {
            walk.null_because = Some(path.text_of(at + 1));
        }
        Some(())
    }

    /// Gives the value a slot.
    fn place(&mut self, walk: Walk, span: Span) -> Typed {
        let layout = self.layout_of(walk.root);
        let slot = layout.slot(walk.want);
        let slot_symbols = symbols(&layout.want(walk.want).ty);
        let Some((list, list_nullable)) = walk.list else {
            if let Kind::List { item, .. } = &walk.ty.kind {
                layout.item(walk.want, item);
            }
            let program = Program::Slot(Slot { scope: walk.scope, slot, symbols: slot_symbols });
            let mut typed = Typed::new(program, walk.ty, span);
            typed.null_because = walk.null_because;
            typed.want = Some((walk.root, walk.scope, walk.want));
            return typed;
        };
        let list_slot = layout.slot(list);
        let list = Program::Slot(Slot { scope: walk.scope, slot: list_slot, symbols: None });
        let program = Program::Items { list: Box::new(list), slot, symbols: slot_symbols };
        let kind = Kind::List { item: Box::new(walk.ty), min_items: 0, max_items: None };
        let mut typed = Typed::new(program, Type { kind, nullable: list_nullable }, span);
        typed.null_because = walk.null_because;
        typed
    }
}

/// Where a path begins.
enum Start {
    Walk(Walk),
    /// A loop's item that an expression made: it has no parts.
    Value(Typed),
}

impl Start {
    fn at(root: Root, scope: Scope, want: WantId, ty: Type, text: &str) -> Self {
        let null_because = ty.nullable.then(|| text.to_owned());
        Self::Walk(Walk { root, scope, want, ty, null_because, list: None })
    }
}

/// A field of an Avro record is always there: what its writer left out has its default. Only Avro's records have names.
fn is_avro(record: &Record) -> bool {
    record.name.is_some()
}
