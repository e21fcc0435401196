//! `map.html`: the map as one page that needs no network. The page and its script are beside this
//! file; the data are put into it as JSON.

use super::annotations::{Annotation, Values};
use super::projections::{Projections, Settings};
use crate::output::Record;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

const PAGE: &str = include_str!("map_page/page.html");
const STYLE: &str = include_str!("map_page/page.css");
const SCRIPT: &str = concat!(
    include_str!("map_page/drawing.js"),
    include_str!("map_page/page.js")
);

/// What a page shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents<'a> {
    /// The name of the output folder.
    pub(super) title: &'a str,
    pub(super) model: &'a str,
    pub(super) array: &'a str,
    pub(super) records: &'a [Record],
    pub(super) projections: &'a Projections,
    pub(super) settings: &'a Settings,
    pub(super) annotations: &'a [Annotation],
    /// The column that gives the colours at first; None for the length.
    pub(super) colour: Option<&'a str>,
}

/// The data as the script reads them.
#[derive(Serialize)]
struct Data<'a> {
    title: &'a str,
    model: &'a str,
    array: &'a str,
    explained: &'a [f64],
    neighbours: usize,
    seed: String,
    projections: Vec<ProjectionData>,
    ids: Vec<String>,
    descriptions: Vec<String>,
    lengths: Vec<u64>,
    columns: Vec<ColumnData<'a>>,
    colour: Option<&'a str>,
}

#[derive(Serialize)]
struct ProjectionData {
    method: &'static str,
    dims: usize,
    /// f32, little-endian, in Base64.
    values: String,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ColumnData<'a> {
    Numbers {
        name: &'a str,
        numbers: &'a [Option<f64>],
    },
    Levels {
        name: &'a str,
        levels: &'a [String],
        /// -1 where there is none.
        values: Vec<i64>,
    },
}

impl<'a> ColumnData<'a> {
    fn new(annotation: &'a Annotation) -> Self {
        let name = &annotation.name;
        match &annotation.values {
            Values::Numbers(numbers) => Self::Numbers { name, numbers },
            Values::Levels(levels, values) => Self::Levels {
                name,
                levels,
                values: values
                    .iter()
                    .map(|level| level.map_or(-1, |level| level as i64))
                    .collect(),
            },
        }
    }
}

/// The page.
pub(super) fn encode(contents: &Contents) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let records = contents.records;
    let data = Data {
        title: contents.title,
        model: contents.model,
        array: contents.array,
        explained: &contents.projections.explained,
        neighbours: contents.settings.neighbours,
        // JavaScript has no integers of 64 bits.
        seed: contents.settings.seed.to_string(),
        projections: contents
            .projections
            .all
            .iter()
            .map(|one| {
                let bytes: Vec<u8> = one
                    .values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                ProjectionData {
                    method: one.method,
                    dims: one.dims,
                    values: BASE64_STANDARD.encode(bytes),
                }
            })
            .collect(),
        ids: records.iter().map(|record| text(&record.id)).collect(),
        descriptions: records
            .iter()
            .map(|record| text(&record.description))
            .collect(),
        lengths: records.iter().map(|record| record.length).collect(),
        columns: contents.annotations.iter().map(ColumnData::new).collect(),
        colour: contents.colour,
    };
    fill(
        PAGE,
        &[
            ("title", &escape(contents.title)),
            ("style", STYLE),
            ("data", &json(&data)),
            ("script", SCRIPT),
        ],
    )
}

/// Data for a script within a page.
pub(super) fn json(data: &impl Serialize) -> String {
    // Numbers and text always make JSON. In a page, `<` would end it or open a comment.
    serde_json::to_string(data)
        .unwrap_or_default()
        .replace('<', "\\u003c")
}

/// The page with values in the places of their names. Values are not searched for names.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    for (name, value) in values {
        let Some((before, after)) = rest.split_once(&format!("{{{{{name}}}}}")) else {
            continue;
        };
        page.push_str(before);
        page.push_str(value);
        rest = after;
    }
    page.push_str(rest);
    page
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::projections::Projection;

    fn page(title: &str, id: &str) -> String {
        let records = [Record {
            id: id.as_bytes().to_vec(),
            description: b"{{script}} \xff".to_vec(),
            length: 7,
            ..Record::default()
        }];
        let projections = Projections {
            all: vec![Projection {
                method: "PCA",
                dims: 2,
                values: vec![1.0, -2.0],
            }],
            explained: vec![0.5, 0.25, 0.0],
        };
        let annotations = [
            Annotation {
                name: "score".into(),
                values: Values::Numbers(vec![None]),
            },
            Annotation {
                name: "family".into(),
                values: Values::Levels(vec!["a".into()], vec![Some(0)]),
            },
        ];
        encode(&Contents {
            title,
            model: "tiny",
            array: "mean.layer2",
            records: &records,
            projections: &projections,
            settings: &Settings::default(),
            annotations: &annotations,
            colour: Some("family"),
        })
    }

    #[test]
    fn literal_data() {
        let page = page("emb", "P1");
        let (_, data) = page.split_once("type=\"application/json\">").unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        assert_eq!(
            data,
            "{\"title\":\"emb\",\"model\":\"tiny\",\"array\":\"mean.layer2\",\
             \"explained\":[0.5,0.25,0.0],\"neighbours\":15,\"seed\":\"0\",\
             \"projections\":[{\"method\":\"PCA\",\"dims\":2,\"values\":\"AACAPwAAAMA=\"}],\
             \"ids\":[\"P1\"],\"descriptions\":[\"{{script}} \u{fffd}\"],\"lengths\":[7],\
             \"columns\":[{\"name\":\"score\",\"numbers\":[null]},\
             {\"name\":\"family\",\"levels\":[\"a\"],\"values\":[0]}],\"colour\":\"family\"}"
        );
    }

    #[test]
    fn text_cannot_end_the_data() {
        let page = page("</title><b>", "</script><script>alert(1)</script><!--");
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(page.contains("<title>&lt;/title&gt;&lt;b&gt;</title>"));
        assert!(!page.contains("http://") && !page.contains("https://"));
    }
}
