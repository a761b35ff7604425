//! Rows as docker's lists print them: as a table, as JSON, or each by a template.
//!
//! In: `--format`, what the columns are called, a JSON object a row. Out: text.
//! Imports: `template`, `table`. As Docker: `cli/command/formatter`.

use serde_json::{Map, Value};

use super::table::Table;
use super::template::{Fault, Filling, Template, go_json};

/// The key of a row under which its labels are, for `{{.Label "name"}}`; it is no field of its own.
pub const LABEL: &str = "Label";

/// What a list can show: fields with the headings they have in tables, and docker's name for the whole in errors.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// `*formatter.imageContext`
    pub kind: &'static str,
    /// Field and heading.
    pub all: &'static [(&'static str, &'static str)],
    /// Narrowest column of a table.
    pub width: usize,
}

/// How rows are printed.
#[derive(Debug, Clone)]
pub enum Format {
    /// The usual table.
    Table,
    /// An object a row.
    Json,
    /// A line a row, by a template; with headings if it is a table.
    Template {
        /// Whether it is a table.
        table: bool,
        /// A line.
        template: Template,
    },
}

impl Format {
    /// Reads `--format`: `table`, `json`, `table TEMPLATE`, `TEMPLATE`. Nothing is `table`.
    ///
    /// # Errors
    /// A template that is none.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let table = text.strip_prefix("table");
        match text.trim() {
            "" | "table" => return Ok(Self::Table),
            "json" => return Ok(Self::Json),
            _ => {}
        }
        let source = table.unwrap_or(text);
        // A shell leaves `\t` as it is.
        let source = source
            .trim_matches(' ')
            .replace("\\t", "\t")
            .replace("\\n", "\n");
        Ok(Self::Template {
            table: table.is_some(),
            template: Template::parse(&source)?,
        })
    }
    /// The text of rows. `shown` are the fields of the usual table.
    ///
    /// # Errors
    /// A field that is not there, a function that can't do with its values.
    pub fn text(
        &self,
        fields: &Fields,
        shown: &[&str],
        rows: &[Map<String, Value>],
    ) -> Result<String, Fault> {
        let headings = || -> Map<String, Value> {
            let all = fields.all.iter();
            all.map(|(field, heading)| ((*field).to_owned(), Value::from(*heading)))
                .collect()
        };
        match self {
            Self::Json => Ok(rows.iter().map(line).collect()),
            Self::Table => {
                let headings = headings();
                let cells = |row: &Map<String, Value>| -> Vec<String> {
                    let cell = |field: &&str| row.get(*field).map(super::template::printed);
                    shown
                        .iter()
                        .map(|field| cell(field).unwrap_or_default())
                        .collect()
                };
                let head = cells(&headings);
                let head: Vec<&str> = head.iter().map(String::as_str).collect();
                let mut table = Table::new(fields.width, &head);
                for row in rows {
                    table.row(cells(row));
                }
                Ok(table.text())
            }
            Self::Template { table, template } => {
                let fill = |row: &Map<String, Value>, filling| {
                    let mut row = row.clone();
                    let labels = match row.shift_remove(LABEL) {
                        Some(Value::Object(labels)) => labels,
                        _ => Map::new(),
                    };
                    template.fill_labelled(&Value::Object(row), &labels, fields.kind, filling)
                };
                let mut lines = Vec::new();
                if *table {
                    lines.push(fill(&headings(), Filling::Headings)?);
                }
                for row in rows {
                    lines.push(fill(row, Filling::Value)?);
                }
                if !table {
                    return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
                }
                let mut lines = lines
                    .iter()
                    .map(|line| line.split('\t').collect::<Vec<_>>());
                let mut table = Table::new(fields.width, &lines.next().unwrap_or_default());
                for line in lines {
                    table.row(line.into_iter().map(str::to_owned));
                }
                Ok(table.text())
            }
        }
    }
}

/// A row as a line of JSON, its keys in order.
fn line(row: &Map<String, Value>) -> String {
    let mut row = row.clone();
    row.shift_remove(LABEL);
    row.sort_keys();
    go_json(&Value::Object(row)) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields {
        kind: "*formatter.imageContext",
        all: &[("ID", "IMAGE ID"), ("Name", "NAME")],
        width: 10,
    };

    fn shown(format: &str) -> String {
        let rows: Vec<Map<String, Value>> = [("1", "<none>"), ("22222222222", "b")]
            .iter()
            .map(|(id, name)| {
                [("Name".into(), (*name).into()), ("ID".into(), (*id).into())]
                    .into_iter()
                    .collect()
            })
            .collect();
        let text =
            Format::parse(format).and_then(|format| format.text(&FIELDS, &["ID", "Name"], &rows));
        text.unwrap_or_else(|fault| fault.to_string())
    }

    #[test]
    fn the_four_forms_are_those_of_docker() {
        assert_eq!(
            shown("table"),
            "IMAGE ID      NAME\n1             <none>\n22222222222   b\n"
        );
        assert_eq!(shown(""), shown("table"));
        let json = "{\"ID\":\"1\",\"Name\":\"\\u003cnone\\u003e\"}\n{\"ID\":\"22222222222\",\"Name\":\"b\"}\n";
        assert_eq!(shown("json"), json);
        assert_eq!(shown("{{json .}}"), json);
        assert_eq!(shown("{{.ID}}={{.Name}}"), "1=<none>\n22222222222=b\n");
        assert_eq!(
            shown(r"table {{.Name}}\t{{upper .ID}}"),
            "NAME      IMAGE ID\n<none>    1\nb         22222222222\n"
        );
        let fault = "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.imageContext";
        assert_eq!(shown("{{.Nope}}"), fault);
        assert_eq!(shown("tabel"), "tabel\ntabel\n");
    }
}
