//! The shards of an input, as they are at the moment.

use super::{Look, ShardState, look};
use crate::output::disk;
use crate::output::layout::{PARTIAL, RUN_JSON};
use crate::threads::Threads;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// More shards than any input has: numbers beyond that are not looked for.
const MOST_SHARDS: u64 = 1_000_000;

/// What a plan says of the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its folder.
    pub dir: PathBuf,
    /// Its digest.
    pub digest: String,
    /// Number of shards.
    pub shards: u64,
}

/// Output folders, as they are at the moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// Each folder, by its shard.
    pub looks: Vec<Look>,
    /// Numbers of shards of which there is no folder among these.
    pub absent: Vec<u64>,
    /// Bytes free for the first of them.
    pub free: Option<u64>,
}

/// Looks at output folders, and inside other folders for such folders: up to `threads` at once. Without folders,
/// those of the shards of the plan beside it are looked at.
pub fn survey(dirs: &[PathBuf], plan: Option<&Planned>, threads: usize) -> Survey {
    let threads = Threads::new(threads);
    let beside = match (dirs, plan) {
        ([], Some(plan)) => std::path::absolute(&plan.dir).ok(),
        _ => None,
    };
    let beside = beside.as_deref().and_then(Path::parent);
    let dirs: Vec<PathBuf> = match beside {
        None => dirs.iter().flat_map(|dir| folders_in(dir)).collect(),
        Some(home) => {
            let near = plan.and_then(|plan| plan.dir.parent());
            let mut dirs = outputs_in(home);
            // As the plan was named.
            if let Some(near) = near {
                dirs = dirs
                    .iter()
                    .filter_map(|dir| Some(near.join(dir.file_name()?)))
                    .collect();
            }
            dirs
        }
    };
    let see = |at: usize| Ok::<_, ()>(dirs.get(at).map(|dir| look(dir)));
    let looks = threads.map(dirs.len(), see).unwrap_or_default();
    let mut looks: Vec<Look> = looks.into_iter().flatten().collect();
    if let Some(plan) = plan {
        // What failed before it began recorded no plan.
        let is_other = |look: &Look| match &look.plan {
            Some(digest) => *digest != plan.digest,
            None => look.shard.is_some() && look.state != ShardState::Failed,
        };
        if beside.is_some() {
            looks.retain(|look| look.shard.is_some() && !is_other(look));
        }
        for look in looks.iter_mut().filter(|look| is_other(look)) {
            let dir = plan.dir.display();
            look.detail = Some(format!("it is not a shard of the plan in {dir}"));
            look.shard = None;
        }
    }
    let absent = absent(&mut looks, plan.map(|plan| plan.shards));
    looks.sort_by_cached_key(|look| (look.shard.map(|shard| shard.number), look.folder.clone()));
    note_doubled(&mut looks);
    note_mixed(&mut looks);
    Survey {
        looks,
        absent,
        free: dirs.first().and_then(|dir| disk::free_bytes(dir)),
    }
}

/// A folder; or the output folders in it, if it is not one itself.
fn folders_in(dir: &Path) -> Vec<PathBuf> {
    if is_output(dir) {
        return vec![dir.to_path_buf()];
    }
    match outputs_in(dir) {
        none if none.is_empty() => vec![dir.to_path_buf()],
        outputs => outputs,
    }
}

fn outputs_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut outputs: Vec<_> = paths.filter(|path| is_output(path)).collect();
    outputs.sort();
    outputs
}

fn is_output(dir: &Path) -> bool {
    let is_there = |name| matches!(disk::kind(&dir.join(name)), Ok(Some(_)));
    is_there(RUN_JSON) || is_there(PARTIAL)
}

/// The numbers of shards of which there is no folder. A folder with nothing in it is that of the shard whose
/// number ends its name.
fn absent(looks: &mut [Look], planned: Option<u64>) -> Vec<u64> {
    let all = looks.iter().filter_map(|look| Some(look.shard?.of));
    let all: BTreeSet<u64> = planned.into_iter().chain(all).collect();
    let mut all = all.into_iter();
    let (Some(of), None) = (all.next(), all.next()) else {
        return Vec::new();
    };
    if of > MOST_SHARDS {
        return Vec::new();
    }
    let there = looks.iter().filter_map(|look| Some(look.shard?.number));
    let there: BTreeSet<u64> = there.collect();
    let mut absent: BTreeSet<u64> = (1..=of).filter(|number| !there.contains(number)).collect();
    let is_unknown = |look: &&mut Look| look.shard.is_none() && look.state == ShardState::Missing;
    for look in looks.iter_mut().filter(is_unknown) {
        let number = number_in(&look.folder);
        if let Some(number) = number.filter(|number| absent.remove(number)) {
            look.shard = Some(crate::run_record::Shard { number, of });
        }
    }
    absent.into_iter().collect()
}

/// The last number in the name of a folder.
fn number_in(folder: &Path) -> Option<u64> {
    let name = folder.file_name()?.to_str()?;
    let end = name.rfind(|letter: char| letter.is_ascii_digit())?;
    let digits = name.get(..=end)?;
    let start = digits.rfind(|letter: char| !letter.is_ascii_digit());
    digits
        .get(start.map_or(0, |start| start + 1)..)?
        .parse()
        .ok()
}

/// Says of a shard that it is in several folders.
fn note_doubled(looks: &mut [Look]) {
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for look in looks {
        let Some(shard) = look.shard else { continue };
        match first.get(&(shard.number, shard.of)) {
            None => drop(first.insert((shard.number, shard.of), look.folder.clone())),
            Some(other) => note(look, format!("{} has this shard, too", other.display())),
        }
    }
}

/// Says of shards that they do not belong to the first one.
fn note_mixed(looks: &mut [Look]) {
    // What failed before it began recorded no plan.
    let is_known = |look: &Look| match look.state {
        ShardState::Missing => false,
        ShardState::Failed => look.plan.is_some(),
        _ => true,
    };
    let mut known = looks
        .iter_mut()
        .filter(|look| look.shard.is_some() && is_known(look));
    let Some(first) = known.next() else { return };
    let (plan, folder) = (&first.plan, first.folder.display());
    for look in known.filter(|look| look.plan != *plan) {
        let what = match (plan, &look.plan) {
            (Some(_), Some(_)) => "it is a shard of another plan than",
            (Some(_), None) => "it is a shard of no plan, unlike",
            (None, _) => "it is a shard of a plan, unlike",
        };
        note(look, format!("{what} {folder}"));
    }
}

/// Adds to what is known of a folder, in front.
fn note(look: &mut Look, mut what: String) {
    if let Some(detail) = look.detail.take() {
        what = format!("{what}; {detail}");
    }
    look.detail = Some(what);
}

impl Survey {
    /// How many shards are in this state.
    pub fn number(&self, state: ShardState) -> usize {
        let looks = self.looks.iter().filter(|look| look.state == state);
        let absent = match state {
            ShardState::Missing => self.absent.len(),
            _ => 0,
        };
        looks.count() + absent
    }

    /// Records that are done.
    pub fn records(&self) -> u64 {
        self.sum(|look| look.records)
    }

    /// Their residues.
    pub fn residues(&self) -> u64 {
        self.sum(|look| look.residues)
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.sum(|look| look.bytes)
    }

    fn sum(&self, of: fn(&Look) -> u64) -> u64 {
        self.looks.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Residues a second of all running shards; `None` if none is known to compute.
    pub fn residues_per_second(&self) -> Option<f64> {
        let rates = self
            .looks
            .iter()
            .filter_map(|look| look.residues_per_second);
        rates.reduce(|sum, rate| sum + rate)
    }

    /// Seconds until the last of the running shards is computed; `None` if that is not known.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.looks.iter().filter_map(|look| look.seconds_left);
        left.reduce(f64::max)
    }

    /// The numbers of the shards that are neither done nor running: `3,5-9`.
    pub fn again(&self) -> String {
        let is_idle = |look: &&Look| !matches!(look.state, ShardState::Done | ShardState::Running);
        let idle = self.looks.iter().filter(is_idle);
        let idle = idle.filter_map(|look| Some(look.shard?.number));
        ranges(idle.chain(self.absent.iter().copied()).collect())
    }

    /// Whether these are all shards of an input, each once, and all are done.
    pub fn is_complete(&self) -> bool {
        let all = self.looks.len() as u64;
        let plan = self.looks.first().map(|look| &look.plan);
        let is_done = |look: &Look| {
            look.state == ShardState::Done
                && look.shard.is_some_and(|shard| shard.of == all)
                && Some(&look.plan) == plan
        };
        all > 0 && self.absent.is_empty() && self.looks.iter().all(is_done)
    }
}

/// Numbers as job arrays take them: `3,5-9`.
fn ranges(numbers: BTreeSet<u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |(first, last): (u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_ranges() {
        assert_eq!(ranges(BTreeSet::new()), "");
        assert_eq!(
            ranges([3, 5, 6, 7, 9, 10, u64::MAX].into()),
            format!("3,5-7,9-10,{}", u64::MAX)
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_recognised_by_the_number_in_its_name() {
        for (folder, number) in [
            ("shard-3", Some(3)),
            ("runs/s12of16", Some(16)),
            ("a/007", Some(7)),
            ("x", None),
            ("5/x", None),
            ("9999999999999999999999", None),
        ] {
            assert_eq!(number_in(Path::new(folder)), number, "{folder}");
        }
        let seen = |folder: &str, number| Look {
            shard: Some(crate::run_record::Shard { number, of: 5 }),
            state: ShardState::Done,
            ..Look::missing(folder.into())
        };
        let mut looks = [seen("s-1", 1), Look::missing("s-2".into()), seen("s-4", 4)];
        assert_eq!(absent(&mut looks, None), [3, 5]);
        assert_eq!(looks[1].shard.map(|shard| shard.number), Some(2));
    }
}
