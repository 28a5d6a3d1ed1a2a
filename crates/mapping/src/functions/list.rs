//! Functions of lists of scalars: `.lines[].sku`, `.tags`, `… | split(',')`.

use tieline_schema::types::{Kind, Text, Type};

use super::{Applied, Body, Function, Misuse, Use};
use crate::check::{Range, number_scale};
use crate::decimal::Decimal;
use crate::program::{Code, Fault, How};
use crate::value::Val;

/// Functions of lists.
pub(super) const LISTS: &[Function] = &[
    Function {
        name: "length",
        signature: "list or text | length → integer",
        doc: "How many items a list has, or characters a text.",
        example: ("'Überführung' | length", "11"),
        body: Body::Count,
    },
    Function {
        name: "count",
        signature: "list | count → integer",
        doc: "How many items a list has.",
        example: ("'a,b' | split(',') | count", "2"),
        body: Body::Count,
    },
    Function {
        name: "first",
        signature: "list | first → item or null",
        doc: "The first item; null for an empty list.",
        example: ("'a,b' | split(',') | first", "a"),
        body: Body::Plain(|u| end(u, |items| if items.is_empty() { None } else { Some(items.swap_remove(0)) })),
    },
    Function {
        name: "last",
        signature: "list | last → item or null",
        doc: "The last item; null for an empty list.",
        example: ("'a,b' | split(',') | last", "b"),
        body: Body::Plain(|u| end(u, |items| items.pop())),
    },
    Function {
        name: "where",
        signature: "list | where(condition of $item) → list",
        doc: "The items for which a condition holds, in their order. `$item` is the item at hand. What the condition \
            proves of it (`!= null`, `== 'X'`) holds of the items that stay.",
        example: (".lines | where($item.quantity > 2) | count", "1"),
        body: Body::PerItem(How::Where),
    },
    Function {
        name: "sort_by",
        signature: "list | sort_by(value of $item) → list; list | sort_by(value of $item, descending) → list",
        doc: "The items by a number, a date, an instant, a truth value or a text (by code points) of each, `$item`; the \
            greatest first with `descending`. Those with equal ones stay in their order, those with null come last.",
        example: (".lines | sort_by($item.quantity, descending) | each($item.quantity) | join(', ')", "3, 2"),
        body: Body::PerItem(How::SortBy { descending: false }),
    },
    Function {
        name: "each",
        signature: "list | each(value of $item) → list",
        doc: "What an expression makes of each item, `$item`.",
        example: ("'a,b' | split(',') | each($item | upper) | join(' ')", "A B"),
        body: Body::PerItem(How::Each),
    },
    Function {
        name: "join",
        signature: "list | join('between') → text",
        doc: "Writes the items one after another with a text between them; null ones are left out.",
        example: ("'a,b' | split(',') | join(' / ')", "a / b"),
        body: Body::Plain(join),
    },
    Function {
        name: "sum",
        signature: "list of numbers | sum → number",
        doc: "All items together, exactly; 0 for an empty list. Null ones are left out.",
        example: (".lines[].quantity | sum", "5"),
        body: Body::Plain(sum),
    },
    Function {
        name: "distinct",
        signature: "list | distinct → list",
        doc: "Each item once, in the order of its first coming.",
        example: ("'a,b,a' | split(',') | distinct | join(',')", "a,b"),
        body: Body::Plain(distinct),
    },
];

fn item<'a>(u: &'a Use<'_>) -> Result<&'a Type, Misuse> {
    match &u.input.kind {
        Kind::List { item, .. } => match &item.kind {
            Kind::Record(_) | Kind::List { .. } | Kind::Map(_) => {
                let help = Some("name a field of the items: `.lines[].sku`, or `… | each($item.sku)`".to_owned());
                Err(Misuse::Input { wants: "a list of single values", help })
            }
            _scalar => Ok(item),
        },
        _other => Err(u.wants("a list")),
    }
}

fn end(u: &Use<'_>, f: for<'x, 'v> fn(&'x mut Vec<Val<'v>>) -> Option<Val<'v>>) -> Result<Applied, Misuse> {
    u.none()?;
    let item = item(u)?;
    let code = Code::one(move |value| match value {
        Val::Items(mut items) => Ok(f(&mut items).unwrap_or(Val::Null)),
        other => Ok(other),
    });
    let filled = matches!(u.input.kind, Kind::List { min_items, .. } if min_items > 0);
    Ok(Applied { kind: item.kind.clone(), nullable: item.nullable || !filled, code })
}

fn join(u: &Use<'_>) -> Result<Applied, Misuse> {
    if crate::check::displayed(&item(u)?.kind).is_none() {
        return Err(u.wants("a list of texts or numbers"));
    }
    let between = u.text()?;
    let code = Code::one(move |value| match value {
        Val::Items(items) => {
            let mut out = Vec::new();
            for (at, item) in items.iter().filter(|i| !i.is_null()).enumerate() {
                if at > 0 {
                    out.extend_from_slice(between.as_bytes());
                }
                item.display(&mut out).map_err(Fault::Borrowed)?;
            }
            String::from_utf8(out).map(|t| Val::Text(t.into())).map_err(|_| Fault::Borrowed("is not UTF-8"))
        }
        other => Ok(other),
    });
    Ok(Applied { kind: Kind::Text(Text::default()), nullable: false, code })
}

fn sum(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    let item = item(u)?;
    let Some(scale) = number_scale(&item.kind) else {
        return Err(u.wants("a list of integers or decimals"));
    };
    let integers = matches!(item.kind, Kind::Integer { .. });
    let lower = Range::of(&item.kind).and_then(|r| r.min).filter(|m| m.unscaled() >= 0).map(|_| Decimal::ZERO);
    let range = Range { min: lower, max: None };
    let kind = if integers { range.integer() } else { range.decimal(scale) };
    const OVERFLOW: Fault = Fault::Borrowed("is beyond the numbers that can be counted exactly");
    let code = Code::one(move |value| match value {
        Val::Items(items) => {
            let start = Decimal::new(0, scale).unwrap_or(Decimal::ZERO);
            let total = items.iter().filter_map(Val::decimal).try_fold(start, Decimal::add).ok_or(OVERFLOW)?;
            if integers { total.to_integer().map(Val::Integer).ok_or(OVERFLOW) } else { Ok(Val::Decimal(total)) }
        }
        other => Ok(other),
    });
    Ok(Applied { kind, nullable: false, code })
}

fn distinct(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    let item = Box::new(item(u)?.clone());
    let Kind::List { min_items, max_items, .. } = u.input.kind else { return Err(u.wants("a list")) };
    let code = Code::one(|value| match value {
        Val::Items(items) => {
            let mut once: Vec<Val<'_>> = Vec::with_capacity(items.len());
            let mut seen = std::collections::HashSet::new();
            for item in items {
                let mut key = Vec::new();
                // What has no text (null) is told apart by its debug form, which is the same for equals.
                if item.display(&mut key).is_err() {
                    key = format!("{item:?}").into_bytes();
                }
                if seen.insert(key) {
                    once.push(item);
                }
            }
            Ok(Val::Items(once))
        }
        other => Ok(other),
    });
    // All can be the same.
    Ok(Applied { kind: Kind::List { item, min_items: min_items.min(1), max_items }, nullable: false, code })
}
