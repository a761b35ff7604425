//! Columns of text, laid out as docker does.
//!
//! Imports: nothing. As Docker: `text/tabwriter` with three blanks between columns, or as many as are asked for.

/// Rows below a headline.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    min_width: usize,
    gap: usize,
}

impl Table {
    /// A table with a headline. No column but the last is narrower than `min_width` characters.
    pub fn new(min_width: usize, head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()],
            min_width,
            gap: 3,
        }
    }
    /// So many blanks between columns in place of three.
    #[must_use]
    pub fn gap(mut self, blanks: usize) -> Self {
        self.gap = blanks;
        self
    }
    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
    /// The text, each line with its end. The last column is not padded.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let longest = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|c| c.chars().count());
            (longest.max().unwrap_or(0) + self.gap).max(self.min_width)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (at, cell) in row.iter().enumerate() {
                text.push_str(cell);
                if at + 1 < row.len() {
                    let gap = widths
                        .get(at)
                        .copied()
                        .unwrap_or(0)
                        .saturating_sub(cell.chars().count());
                    text.extend(std::iter::repeat_n(' ', gap));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell_and_three_blanks() {
        let mut table = Table::new(10, &["NAME", "STATUS", "PORTS"]);
        table.row(["demo-äpi-12345".into(), "Up".into(), String::new()]);
        let want = "NAME             STATUS    PORTS\ndemo-äpi-12345   Up        \n";
        assert_eq!(table.text(), want);
    }
}
