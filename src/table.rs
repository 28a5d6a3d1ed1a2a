//! Tables for people: columns as wide as they have to be, and no control character of anybody's data.

/// Most characters of a cell that is not the last one of its row.
const CELL_MAX: usize = 48;

/// Writes a table. Cells of events' data may hold anything: what a terminal would obey is replaced.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let last = head.len().saturating_sub(1);
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let shown: Vec<Vec<String>> = std::iter::once(&head)
        .chain(rows)
        .map(|row| row.iter().enumerate().map(|(n, cell)| shown(cell, n == last)).collect())
        .collect();
    let width = |column: usize| shown.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    shown.iter().map(line).collect()
}

/// A text of somebody's data, fit for a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

fn shown(cell: &str, whole: bool) -> String {
    let cell = plain(cell);
    if whole || cell.chars().count() <= CELL_MAX {
        return cell;
    }
    cell.chars().take(CELL_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_in_line_and_nothing_in_them_moves_the_cursor() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["a", "\u{1b}[2Jé", "why\nnot"]), row(["longer", &"x".repeat(60), &"y".repeat(60)])];
        let text = table(&["KEY", "REASON", "DETAIL"], &rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], format!("a       ·[2Jé{}  why·not", " ".repeat(CELL_MAX - 5)));
        assert_eq!(lines[2], format!("longer  {}…  {}", "x".repeat(CELL_MAX - 1), "y".repeat(60)));
        assert_eq!(lines.len(), 3);
    }
}
