//! `map.parquetbundle`: the map for ProtSpace, as three tables in the Parquet format, one after the
//! other with a delimiter between them.

use super::annotations::{self, Annotation};
use super::projections::{Projection, Projections, Settings};
use crate::output::Record;
use crate::parquet::{self, Column, Values};

const DELIMITER: &str = "---PARQUET_DELIMITER---";

/// The file.
pub(super) fn encode(
    records: &[Record],
    model: &str,
    projections: &Projections,
    settings: &Settings,
    annotations: &[Annotation],
) -> Vec<u8> {
    let ids = identifiers(records);
    let names: Vec<String> = projections
        .all
        .iter()
        .map(|one| without_delimiter(&format!("{model} — {}", one.name())))
        .collect();
    [
        annotation_table(&ids, records, annotations),
        metadata_table(&names, projections, settings),
        data_table(&ids, &names, projections),
    ]
    .join(DELIMITER.as_bytes())
}

/// The ids, each once: ProtSpace finds the points of a record by its id.
fn identifiers(records: &[Record]) -> Vec<String> {
    let id = |record: &Record| without_delimiter(&String::from_utf8_lossy(&record.id));
    annotations::unique(records.iter().map(id), &[])
}

/// Text that cannot be taken for the end of a table.
fn without_delimiter(text: &str) -> String {
    text.replace(DELIMITER, "")
}

fn annotation_table(ids: &[String], records: &[Record], annotations: &[Annotation]) -> Vec<u8> {
    let names = annotations.iter().map(|one| without_delimiter(&one.name));
    let names = annotations::unique(names, &["identifier", "length"]);
    let texts: Vec<Vec<Option<String>>> = annotations
        .iter()
        .map(|one| {
            let text = |record| one.values.text(record).map(|text| without_delimiter(&text));
            (0..ids.len()).map(text).collect()
        })
        .collect();
    let lengths = records
        .iter()
        .map(|record| i32::try_from(record.length).ok());
    let mut columns = vec![
        Column {
            name: "identifier",
            values: all_of(ids),
        },
        Column {
            name: "length",
            values: Values::Integers(lengths.collect()),
        },
    ];
    for ((one, name), texts) in annotations.iter().zip(&names).zip(&texts) {
        let values = match &one.values {
            annotations::Values::Numbers(numbers) => Values::Doubles(numbers.clone()),
            annotations::Values::Levels(..) => {
                Values::Text(texts.iter().map(Option::as_deref).collect())
            }
        };
        columns.push(Column { name, values });
    }
    parquet::encode(&columns)
}

fn metadata_table(names: &[String], projections: &Projections, settings: &Settings) -> Vec<u8> {
    let infos: Vec<String> = projections
        .all
        .iter()
        .map(|one| info(one, projections, settings))
        .collect();
    parquet::encode(&[
        Column {
            name: "projection_name",
            values: all_of(names),
        },
        Column {
            name: "dimensions",
            values: Values::Integers(
                projections
                    .all
                    .iter()
                    .map(|one| Some(one.dims as i32))
                    .collect(),
            ),
        },
        Column {
            name: "info_json",
            values: all_of(&infos),
        },
    ])
}

/// How a projection was made, as JSON.
fn info(projection: &Projection, projections: &Projections, settings: &Settings) -> String {
    let info = match projection.method {
        "PCA" => serde_json::json!({
            "explained_variance_ratio":
                projections.explained.iter().take(projection.dims).collect::<Vec<_>>(),
        }),
        _ => serde_json::json!({
            "n_neighbors": settings.neighbours,
            "min_dist": 0.1,
            "metric": "euclidean",
            "random_state": settings.seed,
        }),
    };
    info.to_string()
}

fn data_table(ids: &[String], names: &[String], projections: &Projections) -> Vec<u8> {
    let all = || projections.all.iter().zip(names);
    let coordinate = |dim: usize| {
        let of = move |one: &Projection| -> Vec<Option<f32>> {
            let row = |row| (dim < one.dims).then(|| one.values.get(row * one.dims + dim).copied());
            (0..ids.len()).map(|at| row(at).flatten()).collect()
        };
        Values::Floats(projections.all.iter().flat_map(of).collect())
    };
    let repeated = |(_, name): (&Projection, &String)| vec![Some(name.clone()); ids.len()];
    let projection_names: Vec<Option<String>> = all().flat_map(repeated).collect();
    let identifiers = all().flat_map(|_| ids.iter().map(|id| Some(id.as_str())));
    parquet::encode(&[
        Column {
            name: "projection_name",
            values: Values::Text(projection_names.iter().map(Option::as_deref).collect()),
        },
        Column {
            name: "identifier",
            values: Values::Text(identifiers.collect()),
        },
        Column {
            name: "x",
            values: coordinate(0),
        },
        Column {
            name: "y",
            values: coordinate(1),
        },
        Column {
            name: "z",
            values: coordinate(2),
        },
    ])
}

fn all_of(texts: &[String]) -> Values<'_> {
    Values::Text(texts.iter().map(|text| Some(text.as_str())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(ids: &[&str]) -> Vec<Record> {
        let record = |id: &&str| Record {
            id: id.as_bytes().to_vec(),
            length: 7,
            ..Record::default()
        };
        ids.iter().map(record).collect()
    }

    #[test]
    fn identifiers_are_unique() {
        let ids = identifiers(&records(&[
            "a",
            "b",
            "a",
            "a_2",
            "a",
            "---PARQUET_DELIMITER---",
        ]));
        assert_eq!(ids, ["a", "b", "a_2", "a_2_2", "a_3", ""]);
    }

    #[test]
    fn three_tables_whatever_is_in_the_text() {
        let records = records(&["a---PARQUET_DELIMITER---", "b"]);
        let nasty = Annotation {
            name: format!("x{DELIMITER}"),
            values: annotations::Values::Levels(vec![format!("{DELIMITER}y")], vec![Some(0), None]),
        };
        let projections = Projections {
            all: vec![Projection {
                method: "PCA",
                dims: 2,
                values: vec![1.0, 2.0, 3.0, 4.0],
            }],
            explained: vec![0.5, 0.25, 0.125],
        };
        let bundle = encode(
            &records,
            DELIMITER,
            &projections,
            &Settings::default(),
            &[nasty],
        );
        let text = String::from_utf8_lossy(&bundle);
        let tables: Vec<&str> = text.split(DELIMITER).collect();
        assert_eq!(tables.len(), 3);
        for table in &tables {
            assert!(table.starts_with("PAR1") && table.ends_with("PAR1"));
        }
        for (table, column) in [(0, "identifier"), (0, "length"), (1, "info_json"), (2, "z")] {
            assert!(tables[table].contains(column), "{column}");
        }
        assert!(tables[1].contains("{\"explained_variance_ratio\":[0.5,0.25]}"));
    }
}
