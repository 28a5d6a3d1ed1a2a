//! Few rows in which any two values of any two fields meet: most mistakes need no more than two things to come together.

use super::fields::Choice;

/// Most rows of one mapping: real ones need fewer than 150.
const ROWS_MAX: usize = 1_000;

/// Which pairs of choices have not met yet. A field that stays as it is counts as a choice too.
struct Unmet {
    /// The number of choices, over all columns.
    count: usize,
    /// Whether a pair has yet to meet, by both numbers.
    pairs: Vec<bool>,
    /// How many each choice has yet to meet.
    open: Vec<usize>,
}

impl Unmet {
    /// All pairs between the columns; each column is a range of numbers.
    fn new(columns: &[std::ops::Range<usize>]) -> Self {
        let count = columns.last().map_or(0, |c| c.end);
        let mut unmet = Self { count, pairs: vec![false; count * count], open: vec![0; count] };
        for (at, a) in columns.iter().enumerate() {
            for (x, y) in columns[..at].iter().flat_map(|b| b.clone()).flat_map(|y| a.clone().map(move |x| (x, y))) {
                unmet.pairs[x * count + y] = true;
                unmet.pairs[y * count + x] = true;
                unmet.open[x] += 1;
                unmet.open[y] += 1;
            }
        }
        unmet
    }

    fn meet(&mut self, x: usize, y: usize) {
        if self.has(x, y) {
            self.pairs[x * self.count + y] = false;
            self.pairs[y * self.count + x] = false;
            self.open[x] -= 1;
            self.open[y] -= 1;
        }
    }

    fn has(&self, x: usize, y: usize) -> bool {
        self.pairs[x * self.count + y]
    }

    /// Of the choices of a column, the one that would meet most of the row, and else most of the others.
    fn best(&self, column: std::ops::Range<usize>, row: &[usize]) -> usize {
        let first = column.start;
        let met = |x: usize| row.iter().filter(|y| self.has(x, **y)).count();
        // The first of the best, so that the same columns give the same rows.
        column.max_by_key(|x| (met(*x), self.open[*x], std::cmp::Reverse(*x))).unwrap_or(first)
    }
}

/// The rows, made greedily: each takes, column by column, the choice that meets most of what it has not met.
pub(super) fn rows(choices: &[Vec<Choice>]) -> Vec<Vec<Choice>> {
    let choices: Vec<&Vec<Choice>> = choices.iter().filter(|c| !c.is_empty()).collect();
    let mut columns = Vec::new();
    for column in &choices {
        let start = columns.last().map_or(0, |c: &std::ops::Range<usize>| c.end);
        columns.push(start..start + column.len() + 1);
    }
    let mut unmet = Unmet::new(&columns);
    let mut rows = Vec::new();
    while rows.len() < ROWS_MAX {
        let Some(first) = unmet.open.iter().position(|open| *open > 0) else { break };
        let mut row = vec![first];
        for column in columns.iter().filter(|c| !c.contains(&first)) {
            row.push(unmet.best(column.clone(), &row));
        }
        for (at, x) in row.iter().enumerate() {
            row[..at].iter().for_each(|y| unmet.meet(*x, *y));
        }
        row.sort_unstable();
        let choice = |(number, (range, column)): (&usize, (&std::ops::Range<usize>, &&Vec<Choice>))| {
            column.get(number - range.start).copied()
        };
        rows.push(row.iter().zip(columns.iter().zip(&choices)).filter_map(choice).collect());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(counts: &[usize]) -> Vec<Vec<Choice>> {
        let column = |(field, n): (usize, &usize)| (0..*n).map(|value| Choice { field, value }).collect();
        counts.iter().enumerate().map(column).collect()
    }

    #[test]
    fn any_two_values_of_any_two_fields_meet_in_a_row() {
        let columns = columns(&[3, 1, 6, 0, 2, 2, 4, 1, 5]);
        let rows = rows(&columns);
        for (i, j) in (0..columns.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
            for (x, y) in columns[i].iter().flat_map(|x| columns[j].iter().map(move |y| (x, y))) {
                assert!(rows.iter().any(|row| row.contains(x) && row.contains(y)), "{x:?} {y:?}");
            }
        }
        assert!(rows.iter().all(|row| row.is_sorted_by_key(|c| c.field)), "whoever holds another comes first");
        assert!(rows.len() <= 60, "{} rows, where 42 is the least that can be", rows.len());
    }

    #[test]
    fn a_lone_field_needs_no_rows() {
        assert_eq!(rows(&columns(&[])), Vec::<Vec<Choice>>::new());
        assert_eq!(rows(&columns(&[0, 5])), Vec::<Vec<Choice>>::new());
    }
}
