//! Output for people: aligned tables on standard output, progress on standard error.

use std::io::{self, Write};

/// Rows of text under a heading.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self {
            rows: vec![columns.iter().map(|&c| c.to_owned()).collect()],
        }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.rows[0].len());
        self.rows.push(cells);
    }

    /// A Markdown table with aligned columns: readable as it is, and ready for a page.
    pub(crate) fn markdown(&self) -> String {
        let width = |c: usize| {
            self.rows
                .iter()
                .map(|r| r[c].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(|c| width(c).max(3)).collect();
        let mut text = String::new();
        for (i, row) in self.rows.iter().enumerate() {
            for (c, cell) in row.iter().enumerate() {
                let space = " ".repeat(widths[c] - cell.chars().count());
                // The first column holds names, the others figures.
                let cell = if c == 0 {
                    format!("{cell}{space}")
                } else {
                    format!("{space}{cell}")
                };
                text += &format!("| {cell} ");
            }
            text += "|\n";
            if i == 0 {
                for (c, &width) in widths.iter().enumerate() {
                    let rule = "-".repeat(width + 1);
                    text += &if c == 0 {
                        format!("|-{rule}")
                    } else {
                        format!("|{rule}:")
                    };
                }
                text += "|\n";
            }
        }
        text
    }
}

/// Prints a table to standard output.
pub(crate) fn print(table: &Table) {
    say(&table.markdown());
}

/// Prints text to standard output; a reader who has gone away is no error of ours.
pub(crate) fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Tells on standard error what is going on.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_figures_stand_right() {
        let mut table = Table::new(&["case", "us"]);
        table.row(vec!["a".into(), "12.5".into()]);
        table.row(vec!["longer".into(), "3".into()]);
        let expected = "\
            | case   |   us |\n\
            |--------|-----:|\n\
            | a      | 12.5 |\n\
            | longer |    3 |\n";
        assert_eq!(table.markdown(), expected);
    }
}
