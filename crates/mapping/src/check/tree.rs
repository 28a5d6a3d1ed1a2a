//! The tree of a mapping against the type of its target: each field that the target demands is set, none that it does
//! not know, and each leaf fits.

use std::sync::Arc;

use tieline_schema::types::{Field, Kind, Record, Type};

use super::accept::{Constraint, NullRule, Residual, accept};
use super::residual::OwnedId;
use super::{Checker, LoopVar, Root, Typed, describe, symbols};
use crate::item::Item;
use crate::layout::WantId;
use crate::lexer::Source;
use crate::program::{Program, Scope, Slot};
use crate::yaml::{Node, NodeValue};
use crate::{Diagnostic, Span, suggest};

/// A checked tree.
#[derive(Debug)]
pub(crate) enum Tree {
    /// Fields, in the order of the file.
    Record(Vec<TreeField>),
    /// Items, one after another.
    List { items: Vec<Item<Tree>>, min: u32, max: Option<u32>, path: Box<str> },
    /// A value.
    Leaf(Leaf),
    /// A record or list that is copied, or null where this is null.
    Maybe { value: Program, null: NullRule, path: Box<str>, tree: Box<Tree> },
}

/// A field of a record.
#[derive(Debug)]
pub(crate) struct TreeField {
    pub(crate) name: String,
    pub(crate) tree: Tree,
}

/// A value and what its place demands.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) path: Box<str>,
    pub(crate) program: Program,
    pub(crate) null: NullRule,
    pub(crate) checks: Vec<Constraint>,
}

/// A place in the target.
#[derive(Debug, Clone)]
pub(super) struct Place<'t> {
    /// Its path from the top: `lines[].sku`.
    path: String,
    /// What it takes.
    ty: &'t Type,
    /// What becomes of null.
    null: NullRule,
    /// Where to point when it is missing.
    at: Span,
}

/// What checks a tree: the target's name and the residuals that are owned.
pub(super) struct Against<'n> {
    target: &'n str,
    owned: Option<OwnedId>,
}

impl Checker {
    /// Checks a whole tree.
    pub(crate) fn mapping(&mut self, node: &Node, target: &Type, label: &str, residual: Option<&Node>) -> Option<Tree> {
        let mut against = Against { target: label, owned: self.read_residual(residual) };
        let at = match &node.value {
            NodeValue::Mapping(entries) => entries.first().map_or(node.span, |(key, _)| key.span),
            NodeValue::Sequence(_) | NodeValue::Scalar { .. } => node.span,
        };
        let null = if target.nullable { NullRule::Write } else { NullRule::Refuse };
        self.tree(node, &Place { path: String::new(), ty: target, null, at }, &mut against)
    }

    /// Checks one expression against a type; `what` names the place.
    pub(crate) fn value(&mut self, node: &Node, expected: &Type, what: &str, residual: Option<&Node>) -> Option<Leaf> {
        let mut against = Against { target: what, owned: self.read_residual(residual) };
        let expr = self.parse(node)?;
        let typed = self.check(&expr)?;
        let null = if expected.nullable { NullRule::Write } else { NullRule::Refuse };
        let place = Place { path: what.to_owned(), ty: expected, null, at: node.span };
        self.leaf(typed, &place, &mut against)
    }

    fn tree(&mut self, node: &Node, place: &Place<'_>, against: &mut Against<'_>) -> Option<Tree> {
        match &node.value {
            NodeValue::Scalar { .. } => {
                let expr = self.parse(node)?;
                let typed = self.check(&expr)?;
                self.fit(typed, place, against)
            }
            NodeValue::Mapping(entries) => self.record(node, entries, place, against),
            NodeValue::Sequence(nodes) => self.list(node, nodes, place, against),
        }
    }

    fn record(
        &mut self,
        node: &Node,
        entries: &[(Node, Node)],
        place: &Place<'_>,
        against: &mut Against<'_>,
    ) -> Option<Tree> {
        let any = Type::of(Kind::Any).or_null();
        let target = place.ty;
        let record = match &target.kind {
            Kind::Record(record) => Some(record.clone()),
            Kind::Map(_) | Kind::Any => None,
            other => {
                let message = format!("{} must be {}, but this is a record", name(place), describe::wanted(other));
                let at = entries.first().map_or(node.span, |(key, _)| key.span);
                self.report(Diagnostic::error("mapping/wrong-type", at, message));
                return None;
            }
        };
        let mut fields = Vec::new();
        let mut whole = true;
        for (key, value) in entries {
            let NodeValue::Scalar { text, quoted } = &key.value else { continue };
            if !quoted && matches!(text.as_str(), "for" | "when") {
                let message = format!("`{text}` belongs to the item of a list");
                let help = format!("a field of this name is quoted: `\"{text}\"`");
                self.report(Diagnostic::error("mapping/syntax", key.span, message).help(help));
                whole = false;
                continue;
            }
            let path = below(&place.path, text);
            let (ty, null) = match (&record, &target.kind) {
                (Some(record), _) => match record.field(text) {
                    Some(field) => (&field.ty, null_rule(field)),
                    None if self.unlisted(record, text, key.span, against) => (&any, NullRule::Write),
                    None => {
                        whole = false;
                        continue;
                    }
                },
                (None, Kind::Map(value)) if value.nullable => (&**value, NullRule::Write),
                (None, Kind::Map(value)) => (&**value, NullRule::Omit),
                (None, _) => (&any, NullRule::Write),
            };
            match self.tree(value, &Place { path, ty, null, at: key.span }, against) {
                Some(tree) => fields.push(TreeField { name: text.clone(), tree }),
                None => whole = false,
            }
        }
        if let Some(record) = record {
            let is_set = |field: &Field| {
                entries.iter().any(|(k, _)| matches!(&k.value, NodeValue::Scalar { text, .. } if *text == field.name))
            };
            whole &= self.required(&record, place, against, is_set);
        }
        whole.then_some(Tree::Record(fields))
    }

    /// Whether a field that an open record does not list may be set: not where it looks like a slip of the finger.
    fn unlisted(&mut self, record: &Record, text: &str, span: Span, against: &Against<'_>) -> bool {
        let names = record.fields.iter().map(|f| f.name.as_str());
        let near = suggest::nearest(text, names.clone());
        let message = format!("{} has no field `{text}`", against.target);
        if record.open && near.is_none() {
            let help = "it is sent, since other fields are accepted".to_owned();
            self.report(Diagnostic::warning("mapping/unlisted-field", span, message).help(help));
            return true;
        }
        self.report(Diagnostic::error("mapping/unknown-target-field", span, message).help(suggest::help(text, names)));
        false
    }

    fn required(
        &mut self,
        record: &Record,
        place: &Place<'_>,
        against: &Against<'_>,
        is_set: impl Fn(&Field) -> bool,
    ) -> bool {
        let mut whole = true;
        for field in record.fields.iter().filter(|f| f.required && !is_set(f)) {
            let path = below(&place.path, &field.name);
            let wants = match &field.ty.kind {
                Kind::Text(text) if text.values.is_none() && text.format.is_none() => "a text".to_owned(),
                kind => describe::kind(kind),
            };
            let help = format!("add `{}: …` ({} wants {wants})", field.name, against.target);
            let message = format!("required field `{path}` is never set");
            self.report(Diagnostic::error("mapping/missing-required", place.at, message).help(help));
            whole = false;
        }
        whole
    }

    fn list(&mut self, node: &Node, nodes: &[Node], place: &Place<'_>, against: &mut Against<'_>) -> Option<Tree> {
        let any = Type::of(Kind::Any).or_null();
        let (item, min, max) = match &place.ty.kind {
            Kind::List { item, min_items, max_items } => (&**item, *min_items, *max_items),
            Kind::Any => (&any, 0, None),
            other => {
                let message = format!("{} must be {}, but this is a list", name(place), describe::wanted(other));
                self.report(Diagnostic::error("mapping/wrong-type", node.span, message));
                return None;
            }
        };
        let null = if item.nullable { NullRule::Write } else { NullRule::Refuse };
        let mut items = Vec::new();
        let (mut least, mut most) = (0u32, Some(0u32));
        for node in nodes {
            let at = match &node.value {
                NodeValue::Mapping(entries) => entries.first().map_or(node.span, |(key, _)| key.span),
                NodeValue::Sequence(_) | NodeValue::Scalar { .. } => node.span,
            };
            let inner = Place { path: format!("{}[]", place.path), ty: item, null, at };
            if let Some((item, few, many)) = self.item(node, &inner, against) {
                least = least.saturating_add(few);
                most = most.zip(many).map(|(a, b)| a.saturating_add(b));
                items.push(item);
            }
        }
        let whole = items.len() == nodes.len() && self.counts(place, (min, max), (least, most), against);
        whole.then(|| Tree::List { items, min, max, path: place.path.as_str().into() })
    }

    /// Whether so many items are enough and not too many, or left to run time.
    fn counts(
        &mut self,
        place: &Place<'_>,
        (min, max): (u32, Option<u32>),
        (least, most): (u32, Option<u32>),
        against: &mut Against<'_>,
    ) -> bool {
        let message = if least < min {
            format!("takes {min} items at least, but this can have fewer")
        } else if let Some(max) = max.filter(|max| most.is_none_or(|m| m > *max)) {
            format!("takes {max} items at most, but this can have more")
        } else {
            return true;
        };
        if self.owns(against.owned, &place.path) {
            return true;
        }
        let help = format!("own it: `residual: {{ {}: dead-letter }}`", place.path);
        let message = format!("{} {message}", name(place));
        self.report(Diagnostic::error("mapping/items", place.at, message).help(help));
        false
    }

    /// An item of a list: its tree, and how few and many it can be.
    fn item(
        &mut self,
        node: &Node,
        place: &Place<'_>,
        against: &mut Against<'_>,
    ) -> Option<(Item<Tree>, u32, Option<u32>)> {
        let plain =
            |key: &Node, word: &str| matches!(&key.value, NodeValue::Scalar { text, quoted: false } if text == word);
        let NodeValue::Mapping(entries) = &node.value else {
            return self.tree(node, place, against).map(|tree| (Item::one(tree), 1, Some(1)));
        };
        let directive = |word: &str| entries.iter().find(|(k, _)| plain(k, word)).map(|(_, v)| v);
        let (each, when) = (directive("for"), directive("when"));
        if each.is_none() && when.is_none() {
            return self.tree(node, place, against).map(|tree| (Item::one(tree), 1, Some(1)));
        }
        let facts = self.facts.len();
        let loops = self.loops.len();
        let checked = self.directed(node, entries, (each, when), place, against);
        self.facts.truncate(facts);
        self.loops.truncate(loops);
        checked
    }

    fn directed(
        &mut self,
        node: &Node,
        entries: &[(Node, Node)],
        (each, when): (Option<&Node>, Option<&Node>),
        place: &Place<'_>,
        against: &mut Against<'_>,
    ) -> Option<(Item<Tree>, u32, Option<u32>)> {
        let (mut few, mut many) = (1, Some(1));
        let each = match each {
            None => None,
            Some(node) => {
                let (list, min, max) = self.for_clause(node)?;
                (few, many) = (min, max);
                Some(list)
            }
        };
        let when = match when {
            None => None,
            Some(node) => {
                few = 0;
                Some(self.condition(node)?)
            }
        };
        let is_directive = |key: &Node| matches!(&key.value, NodeValue::Scalar { text, quoted: false } if text == "for" || text == "when");
        let rest: Vec<(Node, Node)> = entries.iter().filter(|(k, _)| !is_directive(k)).cloned().collect();
        let scalar = !matches!(place.ty.kind, Kind::Record(_) | Kind::Map(_));
        let tree = match rest.as_slice() {
            [(key, value)] if scalar && matches!(&key.value, NodeValue::Scalar { text, .. } if text == "item") => {
                self.tree(value, place, against)?
            }
            _fields if scalar && place.ty.kind != Kind::Any => {
                let message = format!("the items of {} are single values", name(place));
                let help = "write the value as `item: $…`".to_owned();
                self.report(Diagnostic::error("mapping/wrong-type", node.span, message).help(help));
                return None;
            }
            fields => self.record(node, fields, place, against)?,
        };
        Some((Item { each, when, tree }, few, many))
    }

    /// Binds the variable of a loop; the caller unbinds it.
    fn for_clause(&mut self, node: &Node) -> Option<(Program, u32, Option<u32>)> {
        let NodeValue::Scalar { text, quoted } = &node.value else {
            let message = "a loop is written `for: $item in .list`";
            self.report(Diagnostic::error("mapping/syntax", node.span, message));
            return None;
        };
        let source = Source::new(text, *quoted, node.span);
        let clause = self.parsed(source, crate::parser::for_clause(source))?;
        if self.names.contains_key(&clause.name) || self.loops.iter().any(|l| l.name == clause.name) {
            let message = format!("`${}` has a meaning already", clause.name);
            self.report(
                Diagnostic::error("mapping/name-taken", node.span, message).help("take another name".to_owned()),
            );
            return None;
        }
        let typed = self.check(&clause.list)?;
        let Kind::List { item, min_items, max_items } = typed.ty.kind.clone() else {
            let message = format!("a loop goes over a list, but this is {}", describe::kind(&typed.ty.kind));
            self.report(Diagnostic::error("mapping/wrong-type", typed.span, message));
            return None;
        };
        let min = if typed.ty.nullable { 0 } else { min_items };
        let want = self.item_want(&typed);
        self.loops.push(LoopVar { name: clause.name, ty: *item, want });
        Some((typed.program, min, max_items))
    }

    /// Fits a value to a place: a single one as a leaf, a record or list part by part.
    fn fit(&mut self, typed: Typed, place: &Place<'_>, against: &mut Against<'_>) -> Option<Tree> {
        let own;
        let place = match (&typed.ty.kind, &place.ty.kind) {
            // Nothing is demanded, so that all there is goes.
            (Kind::Record(_) | Kind::List { .. }, Kind::Any) => {
                own = typed.ty.clone();
                &Place { ty: &own, ..place.clone() }
            }
            (_, _) => place,
        };
        match (&typed.ty.kind, &place.ty.kind) {
            (Kind::Record(from), Kind::Record(to)) if typed.want.is_some() => {
                let (from, to) = (from.clone(), to.clone());
                self.maybe(typed, place, |c, typed| c.copy_record(typed, &from, &to, place, against))
            }
            (Kind::List { .. }, Kind::List { .. }) => self.fit_list(typed, place, against),
            (_, _) => self.leaf(typed, place, against).map(Tree::Leaf),
        }
    }

    fn fit_list(&mut self, typed: Typed, place: &Place<'_>, against: &mut Against<'_>) -> Option<Tree> {
        let (Kind::List { item: from, min_items, max_items }, Kind::List { item: to, min_items: min, max_items: max }) =
            (&typed.ty.kind, &place.ty.kind)
        else {
            return None;
        };
        let (from, counts, min, max) = ((**from).clone(), (*min_items, *max_items), *min, *max);
        let whole = self.counts(place, (min, max), counts, against);
        let tree = |item| Tree::List { items: vec![item], min, max, path: place.path.as_str().into() };
        if let Some((root, scope, want)) = typed.want {
            return self.maybe(typed, place, |c, typed| {
                let slot = c.layout_of(root).slot(want);
                let list = Program::Slot(Slot { scope, slot, symbols: None });
                let item = c.item_want(typed);
                let item = c.copy_list(list, item, (from, to), place, typed.span, against)?;
                whole.then(|| tree(item))
            });
        }
        if typed.ty.nullable {
            let message = "a list that is made here and can be null has no place";
            let help = "write a loop, for which null has no items: `- for: $item in …` and `item: $item`".to_owned();
            self.report(Diagnostic::error("mapping/null-refused", typed.span, message).help(help));
            return None;
        }
        let item = self.item_want(&typed);
        let item = self.copy_list(typed.program, item, (from, to), place, typed.span, against)?;
        whole.then(|| tree(item))
    }

    /// Guards what is copied against null.
    fn maybe(
        &mut self,
        typed: Typed,
        place: &Place<'_>,
        copy: impl FnOnce(&mut Self, &Typed) -> Option<Tree>,
    ) -> Option<Tree> {
        let fits = self.null_fits(&typed, place);
        let tree = copy(self, &typed)?;
        fits.then(|| Tree::Maybe {
            value: typed.program,
            null: place.null,
            path: place.path.as_str().into(),
            tree: Box::new(tree),
        })
    }

    fn copy_record(
        &mut self,
        typed: &Typed,
        from: &Arc<Record>,
        to: &Arc<Record>,
        place: &Place<'_>,
        against: &mut Against<'_>,
    ) -> Option<Tree> {
        let (root, scope, want) = typed.want?;
        let mut fields = Vec::new();
        let set = |field: &Field| from.field(&field.name).is_some();
        let mut whole = self.required(to, &Place { at: typed.span, ..place.clone() }, against, set);
        for target in &to.fields {
            let Some(source) = from.field(&target.name) else { continue };
            let absent = !source.required && from.name.is_none();
            let ty = Type { nullable: source.ty.nullable || absent, ..source.ty.clone() };
            let want = self.layout_of(root).field(want, &source.name, &ty);
            let path = below(&place.path, &target.name);
            let value = self.part(root, scope, want, ty, typed.span, &path);
            let inner = Place { path, ty: &target.ty, null: null_rule(target), at: place.at };
            match self.fit(value, &inner, against) {
                Some(tree) => fields.push(TreeField { name: target.name.clone(), tree }),
                None => whole = false,
            }
        }
        whole.then_some(Tree::Record(fields))
    }

    fn copy_list(
        &mut self,
        list: Program,
        item: Option<(Root, WantId)>,
        (from, to): (Type, &Type),
        place: &Place<'_>,
        span: Span,
        against: &mut Against<'_>,
    ) -> Option<Item<Tree>> {
        let depth = self.loops.len();
        let path = format!("{}[]", place.path);
        let value = match item {
            Some((root, item)) => self.part(root, Scope::Loop(depth), item, from.clone(), span, &path),
            None => {
                let program = Program::Slot(Slot { scope: Scope::Loop(depth), slot: 0, symbols: None });
                Typed::new(program, from.clone(), span)
            }
        };
        // A name that no one can write, so that nothing is hidden by it.
        self.loops.push(LoopVar { name: format!("[{depth}]"), ty: from, want: None });
        let null = if to.nullable { NullRule::Write } else { NullRule::Refuse };
        let inner = Place { path, ty: to, null, at: place.at };
        let tree = self.fit(value, &inner, against);
        self.loops.pop();
        Some(Item { each: Some(list), when: None, tree: tree? })
    }

    /// A part of something that lies in slots.
    fn part(&mut self, root: Root, scope: Scope, want: usize, ty: Type, span: Span, path: &str) -> Typed {
        let layout = self.layout_of(root);
        let slot = layout.slot(want);
        let symbols = symbols(&layout.want(want).ty);
        let nullable = ty.nullable;
        let mut typed = Typed::new(Program::Slot(Slot { scope, slot, symbols }), ty, span);
        typed.want = Some((root, scope, want));
        typed.null_because = nullable.then(|| path.to_owned());
        typed
    }

    fn null_fits(&mut self, typed: &Typed, place: &Place<'_>) -> bool {
        if !typed.ty.nullable || place.null != NullRule::Refuse {
            return true;
        }
        let why = typed.null_because.as_deref().unwrap_or("it");
        let message = format!("{} is required and refuses null, but this can be null: `{why}` can be", name(place));
        let help = "give a default: `… ?? …`, or filter such events out: `when: … != null`".to_owned();
        self.report(Diagnostic::error("mapping/null-refused", typed.span, message).help(help));
        false
    }

    fn leaf(&mut self, mut typed: Typed, place: &Place<'_>, against: &mut Against<'_>) -> Option<Leaf> {
        super::expression::literal_time(&place.ty.kind, &mut typed);
        let fits = self.null_fits(&typed, place);
        let residuals = match accept(&typed.ty.kind, &place.ty.kind) {
            Ok(residuals) => residuals,
            Err(refusal) => {
                let help = self.row_help(&typed, place).map_or(refusal.help.clone(), |row| {
                    Some(refusal.help.as_ref().map_or_else(|| row.clone(), |help| format!("{help}; {row}")))
                });
                let message = format!("{} {}", name(place), refusal.message);
                self.report(Diagnostic::error(refusal.code, typed.span, message).help(help));
                return None;
            }
        };
        let mut checks = Vec::new();
        let mut whole = fits;
        for Residual { refusal, constraint } in residuals {
            if each_proves(&typed.branches, &place.ty.kind, &constraint) {
                continue;
            }
            if self.owns(against.owned, &place.path) {
                checks.push(constraint);
                continue;
            }
            let own = format!("own it: `residual: {{ {}: dead-letter }}`", place.path);
            let help = refusal.help.map_or(own.clone(), |help| format!("{help}, or {own}"));
            let message = format!("{} {}", name(place), refusal.message);
            self.report(Diagnostic::error(refusal.code, typed.span, message).help(help));
            whole = false;
        }
        whole.then(|| Leaf { path: place.path.as_str().into(), program: typed.program, null: place.null, checks })
    }

    /// Which rows of a table lead to what is not accepted.
    fn row_help(&self, typed: &Typed, place: &Place<'_>) -> Option<String> {
        let (Kind::Text(from), Kind::Text(to)) = (&typed.ty.kind, &place.ty.kind) else { return None };
        let (table, accepted) = (typed.table.as_ref()?, to.values.as_ref()?);
        let refused = from.values.as_ref()?.iter().find(|v| !accepted.contains(v))?;
        let row = self.tables.rows_to(table, refused).into_iter().next()?;
        Some(format!("row {row} of table `{table}`"))
    }
}

/// Whether the value is one of several, and each of them is proven to fit by its own type: what they have in common says
/// less, since two texts with two patterns have none.
fn each_proves(branches: &[Kind], target: &Kind, constraint: &Constraint) -> bool {
    let proves = |branch: &Kind| {
        let left = accept(branch, target);
        left.is_ok_and(|left| !left.iter().any(|residual| residual.constraint.demands_like(constraint)))
    };
    !branches.is_empty() && branches.iter().all(proves)
}

fn name(place: &Place<'_>) -> String {
    if place.path.is_empty() { "the whole".to_owned() } else { format!("`{}`", place.path) }
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn null_rule(field: &Field) -> NullRule {
    match (field.ty.nullable, field.required) {
        (true, _) => NullRule::Write,
        (false, false) => NullRule::Omit,
        (false, true) => NullRule::Refuse,
    }
}
