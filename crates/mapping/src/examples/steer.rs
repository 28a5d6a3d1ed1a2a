//! Makes events that a filter lets through, instead of waiting for one: for each of its alternatives, the choices that make
//! its conditions hold one after another.

use super::Examples;
use super::fields::{Choice, and};
use crate::Filter;
use crate::condition::Atom;

/// The choices of each alternative of the filter that could be satisfied. Where there is no filter, the one that needs
/// none.
pub(super) fn steered(examples: &Examples<'_>, singles: &[Choice]) -> Vec<Vec<Choice>> {
    let Some(when) = examples.examined.when else {
        return examples.seen(&[], |_, _| Vec::new()).into_iter().collect();
    };
    when.alternatives().into_iter().filter_map(|atoms| satisfy(examples, when, atoms, singles)).collect()
}

/// Takes one condition after another. One that cannot be met beside those before it goes to the front, and all begins
/// anew: what leaves no choice (`.a == 'X'`) has to come before what leaves many (`.a == .b`).
fn satisfy(
    examples: &Examples<'_>,
    when: &Filter,
    mut atoms: Vec<Atom<'_>>,
    singles: &[Choice],
) -> Option<Vec<Choice>> {
    for _ in 0..=atoms.len() {
        match one_after_another(examples, when, &atoms, singles) {
            Ok(choices) => return Some(choices),
            Err(unmet) => atoms[..=unmet].rotate_right(1),
        }
    }
    None
}

/// The choices, or the number of the condition that no value of one field meets.
fn one_after_another(
    examples: &Examples<'_>,
    when: &Filter,
    atoms: &[Atom<'_>],
    singles: &[Choice],
) -> Result<Vec<Choice>, usize> {
    let mut choices = Vec::new();
    for met in 0..atoms.len() {
        let agrees = |choices: &Vec<Choice>| {
            let seen = examples.seen(choices, |event, names| when.agrees(&atoms[..=met], event, names));
            matches!(seen, Some(Ok(true)))
        };
        if !agrees(&choices) {
            let mut others = singles.iter().map(|choice| and(&choices, *choice));
            choices = others.find(agrees).ok_or(met)?;
        }
    }
    Ok(choices)
}
