//! Tables of the commands' answers, for people.

use serde_json::Value;

/// Prints rows under their heads, each column as wide as its widest cell; `none` where there are no rows.
pub fn print(rows: Option<&Value>, columns: &[&str], none: &str, cell: impl Fn(&Value) -> String) {
    let rows = rows.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return println!("{none}");
    }
    let cells = rows
        .iter()
        .map(|row| columns.iter().map(|column| cell(row.get(*column).unwrap_or(&Value::Null))).collect());
    let heads = columns.iter().map(|column| column.to_uppercase()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
    let width =
        |at: usize| lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns.len()).map(|at| width(at).unwrap_or(0)).collect();
    for line in &lines {
        let padded: Vec<_> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    }
}
