//! `map.tsv`: the coordinates of every record.

use super::projections::Projections;
use crate::output::{Record, escape};
use std::io::Write;

/// The table: id, length, and the coordinates in every projection, those of PCA once.
pub(super) fn encode(records: &[Record], projections: &Projections) -> Vec<u8> {
    let all = &projections.all;
    let shown: Vec<_> = all
        .iter()
        .filter(|one| (one.method, one.dims) != ("PCA", 2))
        .collect();
    let mut table = b"id\tlength".to_vec();
    for one in &shown {
        for dim in 1..=one.dims {
            let method = one.method.to_ascii_lowercase();
            let name = match one.method {
                "PCA" => format!("\t{method}_{dim}"),
                _ => format!("\t{method}{}_{dim}", one.dims),
            };
            table.extend_from_slice(name.as_bytes());
        }
    }
    table.push(b'\n');
    for (row, record) in records.iter().enumerate() {
        escape(&record.id, &mut table);
        // Writing into memory cannot fail.
        let _ = write!(table, "\t{}", record.length);
        for one in &shown {
            let values = one.values.iter().skip(row * one.dims).take(one.dims);
            for value in values {
                let _ = write!(table, "\t{value}");
            }
        }
        table.push(b'\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::projections::Projection;

    #[test]
    fn literal_table() {
        let records = [("a\tb", 7), ("P2", 9)].map(|(id, length)| Record {
            id: id.as_bytes().to_vec(),
            length,
            ..Record::default()
        });
        let projection = |method, dims, first: f32| Projection {
            method,
            dims,
            values: (0..2 * dims).map(|at| first + at as f32 / 8.0).collect(),
        };
        let projections = Projections {
            all: vec![
                projection("UMAP", 2, 1.0),
                projection("PCA", 2, 3.0),
                projection("PCA", 3, -4.0),
            ],
            explained: vec![0.5, 0.25, 0.125],
        };
        assert_eq!(
            String::from_utf8(encode(&records, &projections)).unwrap(),
            "id\tlength\tumap2_1\tumap2_2\tpca_1\tpca_2\tpca_3\n\
             a\\tb\t7\t1\t1.125\t-4\t-3.875\t-3.75\n\
             P2\t9\t1.25\t1.375\t-3.625\t-3.5\t-3.375\n"
        );
    }
}
