//! The forecast of a run: records, tokens, memory, bytes on disk, time.

use crate::checkpoint::Checkpoint;
use crate::numerals::{bytes, count, grouped};
use crate::output::free_bytes;
use crate::pipeline::input::scan::Scan;
use crate::pipeline::job::{Caches, Job};
use crate::pipeline::plan::Plan;
use crate::pipeline::plan::{resources, throughput};
use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a run will take.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast {
    /// As it was given.
    model: String,
    /// As it was given.
    adapter: Option<String>,
    out: String,
    /// Numbers of the layers that are written.
    layers: Vec<usize>,
    files: u64,
    /// `I/N`.
    shard: Option<String>,
    /// Those with a row.
    records: u64,
    /// Records with distinct sequences: only these are computed.
    distinct_records: u64,
    /// Distinct records that an interrupted run has computed.
    restored_records: u64,
    /// Their residues.
    restored_residues: u64,
    skipped: u64,
    /// Of all records.
    residues: u64,
    /// Of all forward passes.
    tokens: u64,
    /// Tokens of the longest forward pass over one sequence.
    longest: usize,
    memory_bytes: u64,
    disk_bytes: u64,
    /// On the file system of the output.
    free_bytes: Option<u64>,
    threads: usize,
    seconds: f64,
}

impl Forecast {
    /// Measures by running one block of the model for a moment.
    ///
    /// # Errors
    /// A checkpoint that is damaged where samples need it.
    pub(crate) fn new(
        job: &Job,
        caches: &Caches,
        plan: &Plan,
        checkpoint: &Arc<Checkpoint>,
        scan: &Scan,
        reading: Duration,
    ) -> Result<Forecast> {
        Ok(Forecast {
            model: job.model.asked.clone(),
            adapter: job
                .model
                .adapter
                .as_ref()
                .map(|adapter| adapter.asked.clone()),
            out: job.output.folder.display().to_string(),
            layers: plan.layout.layers.clone(),
            files: resources::files(plan, scan),
            shard: job.inputs.shard.map(|shard| shard.to_string()),
            records: scan.records,
            distinct_records: scan.work.records,
            restored_records: scan.restored.records,
            restored_residues: scan.restored.residues,
            skipped: scan.skipped,
            residues: scan.residues,
            tokens: scan.left.passes.tokens(),
            longest: scan.longest,
            memory_bytes: resources::memory(job, plan, scan),
            disk_bytes: resources::disk(plan, scan, job.inputs.shard.is_some()),
            free_bytes: free_bytes(&job.output.folder),
            threads: job.compute.threads,
            seconds: throughput::forecast(job, caches, plan, checkpoint, scan, reading)?
                .as_secs_f64(),
        })
    }

    /// One JSON object in one line.
    pub fn json(&self) -> String {
        // Strings and numbers: JSON can hold them all.
        let mut object = serde_json::json!({ "event": "forecast" });
        if let (Some(all), Ok(Value::Object(fields))) =
            (object.as_object_mut(), serde_json::to_value(self))
        {
            all.extend(fields);
        }
        object.to_string()
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<String> = self.layers.iter().map(usize::to_string).collect();
        writeln!(f, "model         {}", self.model)?;
        if let Some(adapter) = &self.adapter {
            writeln!(f, "adapter       {adapter}")?;
        }
        writeln!(f, "layers        {}", layers.join(", "))?;
        writeln!(
            f,
            "output        {} ({})",
            self.out,
            count(self.files, "file")
        )?;
        if let Some(shard) = &self.shard {
            writeln!(f, "shard         {}", shard.replace('/', " of "))?;
        }
        writeln!(f, "records       {}", grouped(self.records))?;
        if self.distinct_records < self.records {
            writeln!(
                f,
                "distinct      {} (the other records are copies: not computed again)",
                grouped(self.distinct_records)
            )?;
        }
        if self.restored_records > 0 {
            writeln!(
                f,
                "restored      {}, {} (an earlier run computed them: not computed again)",
                count(self.restored_records, "record"),
                count(self.restored_residues, "residue")
            )?;
        }
        writeln!(f, "skipped       {}", grouped(self.skipped))?;
        writeln!(f, "residues      {}", grouped(self.residues))?;
        writeln!(f, "tokens        {}", grouped(self.tokens))?;
        writeln!(f, "padding       0 (batches are packed)")?;
        writeln!(f, "longest       {}", count(self.longest as u64, "token"))?;
        writeln!(
            f,
            "memory        about {} at most",
            bytes(self.memory_bytes)
        )?;
        write!(f, "disk          {}", bytes(self.disk_bytes))?;
        match self.free_bytes {
            Some(free) => writeln!(f, " ({} free)", bytes(free))?,
            None => writeln!(f)?,
        }
        let threads = count(self.threads as u64, "thread");
        writeln!(
            f,
            "time          about {} on {threads}",
            seconds(self.seconds)
        )
    }
}

/// A time in seconds, and in words where it is long.
fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let minutes = whole.div_ceil(60);
    match whole {
        _ if seconds < 9.95 => format!("{:.1} s", seconds.max(0.1)),
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{} s ({minutes} min)", grouped(whole)),
        _ => format!(
            "{} s ({} h {} min)",
            grouped(whole),
            minutes / 60,
            minutes % 60
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast() -> Forecast {
        Forecast {
            model: "8M".into(),
            adapter: None,
            out: "emb".into(),
            layers: vec![0, 6],
            files: 1,
            shard: Some("2/3".into()),
            records: 87_820,
            distinct_records: 4_391,
            restored_records: 214,
            restored_residues: 66_012,
            skipped: 0,
            residues: 27_083_580,
            tokens: 1_362_961,
            longest: 2_050,
            memory_bytes: 3 << 20,
            disk_bytes: 5 << 30,
            free_bytes: None,
            threads: 1,
            seconds: 51.4,
        }
    }

    #[test]
    fn a_table_for_people() {
        assert_eq!(
            forecast().to_string(),
            "model         8M\n\
             layers        0, 6\n\
             output        emb (1 file)\n\
             shard         2 of 3\n\
             records       87,820\n\
             distinct      4,391 (the other records are copies: not computed again)\n\
             restored      214 records, 66,012 residues (an earlier run computed them: not \
             computed again)\n\
             skipped       0\n\
             residues      27,083,580\n\
             tokens        1,362,961\n\
             padding       0 (batches are packed)\n\
             longest       2,050 tokens\n\
             memory        about 3.1 MB at most\n\
             disk          5.4 GB\n\
             time          about 51 s on 1 thread\n"
        );
    }

    #[test]
    fn an_adapter_has_a_line() {
        let adapted = Forecast {
            adapter: Some("my_adapter".to_owned()),
            ..forecast()
        };
        let says = "model         8M\nadapter       my_adapter\nlayers ";
        assert!(adapted.to_string().starts_with(says), "{adapted}");
    }

    #[test]
    fn an_object_for_programs() {
        let object: Value = serde_json::from_str(&forecast().json()).unwrap();
        let expected = serde_json::json!({
            "event": "forecast", "model": "8M", "adapter": null, "out": "emb", "layers": [0, 6], "files": 1,
            "shard": "2/3", "records": 87_820, "distinct_records": 4_391,
            "restored_records": 214, "restored_residues": 66_012, "skipped": 0,
            "residues": 27_083_580, "tokens": 1_362_961, "longest": 2_050,
            "memory_bytes": 3 << 20, "disk_bytes": 5_u64 << 30, "free_bytes": null, "threads": 1,
            "seconds": 51.4,
        });
        assert_eq!(object, expected);
        assert!(!forecast().json().contains('\n'));
    }

    #[test]
    fn times_are_read_in_seconds() {
        let all = [0.0, 0.42, 9.96, 119.0, 150.0, 10_000.0];
        let expected = [
            "0.1 s",
            "0.4 s",
            "10 s",
            "119 s",
            "150 s (3 min)",
            "10,000 s (2 h 47 min)",
        ];
        assert_eq!(all.map(seconds), expected);
    }
}
