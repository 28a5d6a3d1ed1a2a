//! Items of a list that a tree makes: one, or one for each item of another list. The checker makes them, each writer puts
//! its own trees in, and both are run alike.

use crate::RunError;
use crate::program::Program;
use crate::run::Env;

/// Some items of a list: one, or one for each of another list.
#[derive(Debug)]
pub(crate) struct Item<T> {
    /// The list that is looped over; null has no items.
    pub(crate) each: Option<Program>,
    /// Which turns make an item; all, without one.
    pub(crate) when: Option<Program>,
    /// What an item is.
    pub(crate) tree: T,
}

impl<T> Item<T> {
    /// One item, always.
    pub(crate) fn one(tree: T) -> Self {
        Self { each: None, when: None, tree }
    }

    /// Writes what `write` makes of each turn that `when` lets through.
    pub(crate) fn each<'e>(
        &'e self,
        env: &mut Env<'e>,
        mut write: impl FnMut(&'e T, &mut Env<'e>) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let mut turn = |env: &mut Env<'e>| {
            let wanted = match &self.when {
                Some(when) => when.holds(env).map_err(|fault| RunError::leaf("when", fault))?,
                None => true,
            };
            if wanted { write(&self.tree, env) } else { Ok(()) }
        };
        match &self.each {
            None => turn(env),
            Some(list) => env.each(list, turn),
        }
    }
}
