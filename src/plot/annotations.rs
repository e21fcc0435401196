//! What else is known about the records: a table with one line for each, whose first column is the id.

use super::error::PlotError;
use crate::output::Record;
use std::collections::HashMap;
use std::path::Path;

/// A column of a table, record by record.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// What pandas and R write where a column of numbers has no value.
const MISSING: [&str; 5] = ["na", "nan", "n/a", "null", "none"];

/// The values of a column; None where the table has none.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Numbers.
    Numbers(Vec<Option<f64>>),
    /// Text: each different one, in the order of the records, and its number for each record.
    Levels(Vec<String>, Vec<Option<usize>>),
}

impl Values {
    /// Numbers if every value is one, otherwise text. An empty value counts as absent, and so do words
    /// such as `NA` among numbers.
    fn of(texts: &[Option<&str>]) -> Self {
        let texts: Vec<Option<&str>> = texts
            .iter()
            .map(|text| text.map(str::trim).filter(|text| !text.is_empty()))
            .collect();
        let number = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
        let numbers: Vec<Option<f64>> = texts.iter().map(|text| text.and_then(number)).collect();
        let is_missing = |text: &str| MISSING.iter().any(|word| text.eq_ignore_ascii_case(word));
        let are_numbers = texts
            .iter()
            .zip(&numbers)
            .all(|(text, number)| text.is_none_or(is_missing) || number.is_some());
        if are_numbers && numbers.iter().any(Option::is_some) {
            return Self::Numbers(numbers);
        }
        let (mut levels, mut known) = (Vec::new(), HashMap::new());
        let mut level = |text: &str| {
            *known.entry(text.to_owned()).or_insert_with(|| {
                levels.push(text.to_owned());
                levels.len() - 1
            })
        };
        let values = texts.iter().map(|text| text.map(&mut level)).collect();
        Self::Levels(levels, values)
    }

    /// The value of a record as text.
    pub(super) fn text(&self, record: usize) -> Option<String> {
        match self {
            Values::Numbers(numbers) => numbers
                .get(record)
                .copied()
                .flatten()
                .map(|n| n.to_string()),
            Values::Levels(levels, values) => {
                let level = values.get(record).copied().flatten()?;
                levels.get(level).cloned()
            }
        }
    }
}

/// The names, those that are taken already with a number behind them.
pub(super) fn unique(names: impl Iterator<Item = String>, taken: &[&str]) -> Vec<String> {
    let mut seen: HashMap<String, u64> = taken.iter().map(|&name| (name.into(), 1)).collect();
    let mut unique = |name: String| {
        let mut numbered = name.clone();
        loop {
            let uses = seen.entry(numbered.clone()).or_insert(0);
            *uses += 1;
            if *uses == 1 {
                return numbered;
            }
            numbered = format!("{name}_{uses}");
        }
    };
    names.map(&mut unique).collect()
}

/// The columns of a table for these records, and how many of them the table has.
///
/// A record is found by its whole id or, for an id such as `sp|P12345|NAME`, by the accession. Of
/// several lines for a record, the first counts.
///
/// # Errors
/// When the file cannot be read, is not a table of tab-separated text, or has none of the records.
pub fn read(path: &Path, records: &[Record]) -> Result<(Vec<Annotation>, usize), PlotError> {
    let wrong = |what: String| PlotError::Table {
        path: path.to_path_buf(),
        what,
    };
    let bytes = std::fs::read(path).map_err(|error| PlotError::io(path, error))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8 text".into()))?;
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
    let (_, header) = lines.next().ok_or_else(|| wrong("it is empty".into()))?;
    let names: Vec<&str> = header.split('\t').map(str::trim).collect();
    if names.len() < 2 {
        return Err(wrong(
            "its first line has only one column; columns are separated by tabs".into(),
        ));
    }
    let mut by_id = HashMap::new();
    for (number, line) in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        if fields.len() != names.len() {
            let what = format!(
                "line {number} has {} columns, the first line {}",
                fields.len(),
                names.len()
            );
            return Err(wrong(what));
        }
        if let Some(id) = fields.first() {
            by_id.entry(id.trim()).or_insert(fields);
        }
    }
    let found: Vec<Option<&Vec<&str>>> = records
        .iter()
        .map(|record| {
            let id = std::str::from_utf8(&record.id).ok()?;
            let accession = id.split('|').nth(1);
            by_id.get(id).or_else(|| by_id.get(accession?))
        })
        .collect();
    let known = found.iter().flatten().count();
    if known == 0 && !records.is_empty() {
        return Err(wrong(
            "its first column has none of the ids of the records".into(),
        ));
    }
    let named = (1..).zip(&names).skip(1).map(|(number, name)| match *name {
        "" => format!("column {number}"),
        name => name.to_owned(),
    });
    let unique = unique(named, &[]);
    let column = |(at, name): (usize, String)| {
        let texts: Vec<Option<&str>> = found
            .iter()
            .map(|fields| fields.and_then(|fields| fields.get(at).copied()))
            .collect();
        Annotation {
            name,
            values: Values::of(&texts),
        }
    };
    Ok(((1..).zip(unique).map(column).collect(), known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &[u8]) -> Result<(Vec<Annotation>, usize), String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("t.tsv");
        std::fs::write(&path, text).unwrap();
        let records = ["P1", "sp|P2|X", "P3"].map(|id| Record {
            id: id.as_bytes().to_vec(),
            ..Record::default()
        });
        read(&path, &records).map_err(|error| {
            let text = error.to_string();
            text.replace(path.to_str().unwrap(), "t.tsv")
        })
    }

    #[test]
    fn numbers_and_text() {
        let text =
            "\u{feff}id\tscore\tfamily\r\nP2\t-1.5\tb\r\n\r\nP1\t2\ta \r\nP2\t7\tc\r\nQ\tx\ty\r\n";
        let (columns, known) = read_text(text.as_bytes()).unwrap();
        let numbers = Annotation {
            name: "score".into(),
            values: Values::Numbers(vec![Some(2.0), Some(-1.5), None]),
        };
        let levels = Annotation {
            name: "family".into(),
            values: Values::Levels(vec!["a".into(), "b".into()], vec![Some(0), Some(1), None]),
        };
        assert_eq!(
            (columns[1].values.text(1), columns[1].values.text(2)),
            (Some("b".into()), None)
        );
        assert_eq!((columns, known), (vec![numbers, levels], 2));
        let (columns, _) = read_text(b"id\tx\nP1\t1\nP3\tinf\n").unwrap();
        let text = Values::Levels(vec!["1".into(), "inf".into()], vec![Some(0), None, Some(1)]);
        assert_eq!(columns[0].values, text);
        let (columns, _) = read_text(b"id\tx\ty\nP1\tNaN\tNA\nP2\t3\ta\nP3\tN/A\tNA\n").unwrap();
        assert_eq!(
            columns[0].values,
            Values::Numbers(vec![None, Some(3.0), None])
        );
        let text = Values::Levels(
            vec!["NA".into(), "a".into()],
            vec![Some(0), Some(1), Some(0)],
        );
        assert_eq!(columns[1].values, text);
        let (columns, _) = read_text(b"id\tx\nP1\tNA\n").unwrap();
        assert_eq!(
            columns[0].values,
            Values::Levels(vec!["NA".into()], vec![Some(0), None, None])
        );
        let (columns, _) = read_text(b"id\tx\nP1\t\n").unwrap();
        assert_eq!(columns[0].values, Values::Levels(vec![], vec![None; 3]));
    }

    #[test]
    fn names_of_columns_are_unique() {
        let (columns, _) = read_text(b"id\tx\tx\t\tx_2\nP1\t1\t2\t3\t4\n").unwrap();
        let names: Vec<&str> = columns.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["x", "x_2", "column 4", "x_2_2"]);
    }

    #[test]
    fn other_files_are_explained() {
        for (text, what) in [
            (&b""[..], "it is empty"),
            (b"\xff\n", "it is not UTF-8 text"),
            (
                b"id,x\nP1,2\n",
                "its first line has only one column; columns are separated by tabs",
            ),
            (
                b"id\tx\nP1\t2\nP2\n",
                "line 3 has 1 columns, the first line 2",
            ),
            (
                b"id\tx\nZ\t2\n",
                "its first column has none of the ids of the records",
            ),
        ] {
            let error = read_text(text).unwrap_err();
            assert_eq!(
                error.split('\n').next(),
                Some(&*format!("t.tsv: {what}")),
                "{error}"
            );
            assert!(error.contains("\nhint: "), "{error}");
        }
    }
}
