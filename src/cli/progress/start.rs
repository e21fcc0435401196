//! What is known when computing begins.

use super::numbers::{Names, parts, things};
use esm_embed::numerals::grouped;
use esm_embed::pipeline::{Computing, Counted, Totals};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What computes, and what has to be computed.
#[derive(Debug)]
pub struct Start {
    /// `cpu`, or the kinds of GPUs.
    device: String,
    /// None on GPUs.
    cpu_path: Option<String>,
    dtype: String,
    totals: Totals,
}

impl Start {
    pub fn new(computing: Computing<'_>, totals: Totals) -> Start {
        let Computing { device, dtype } = computing;
        Start {
            device: device.to_string(),
            cpu_path: (!device.is_gpu()).then(|| device.path.to_string()),
            dtype: dtype.to_string(),
            totals,
        }
    }

    /// One line for people.
    pub fn plain(&self) -> String {
        let totals = &self.totals;
        let (Some(records), Some(residues)) = (totals.records, totals.residues) else {
            return "embedding a stream of records".to_owned();
        };
        let counted = totals.counted;
        let both = |records, residues| {
            format!("{}, {}", things(counted, records), parts(counted, residues))
        };
        let copies = match totals.duplicates {
            0 => String::new(),
            1 => "; 1 more record repeats one of these sequences".to_owned(),
            more => format!("; {} more records repeat these sequences", grouped(more)),
        };
        let restored = match totals.restored_records {
            0 => String::new(),
            records => format!(
                "; already finished: {}",
                both(records, totals.restored_residues)
            ),
        };
        format!(
            "{} {}{restored}{copies}",
            match counted {
                Counted::Records => "embedding",
                Counted::Passes => "computing",
            },
            both(
                records.saturating_sub(totals.restored_records),
                residues.saturating_sub(totals.restored_residues)
            )
        )
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (totals, names) = (&self.totals, Names::of(self.totals.counted));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("device", &self.device)?;
        map.serialize_entry("cpu_path", &self.cpu_path)?;
        map.serialize_entry("dtype", &self.dtype)?;
        map.serialize_entry(&format!("{}_total", names.things), &totals.records)?;
        map.serialize_entry(&format!("{}_total", names.parts), &totals.residues)?;
        if totals.counted == Counted::Records {
            map.serialize_entry("duplicates", &totals.duplicates)?;
        }
        map.serialize_entry(
            &format!("{}_restored", names.things),
            &totals.restored_records,
        )?;
        map.serialize_entry(
            &format!("{}_restored", names.parts),
            &totals.restored_residues,
        )?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::example::{TOTALS, computing};
    use super::*;
    use esm_embed::device::Device;
    use esm_embed::ops::CpuPath;

    #[test]
    fn passes_and_tokens() {
        let cpu = Device::cpu(CpuPath::Avx2);
        let totals = Totals {
            counted: Counted::Passes,
            restored_records: 9,
            restored_residues: 900,
            ..TOTALS
        };
        let start = Start::new(computing(&cpu), totals);
        assert_eq!(
            start.plain(),
            "computing 1 pass, 100 tokens; already finished: 9 passes, 900 tokens"
        );
        assert_eq!(
            serde_json::to_string(&start).unwrap(),
            concat!(
                r#"{"device":"cpu","cpu_path":"avx2","dtype":"f32","passes_total":10,"#,
                r#""tokens_total":1000,"passes_restored":9,"tokens_restored":900}"#
            )
        );
    }
}
