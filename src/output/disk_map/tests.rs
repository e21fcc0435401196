//! Maps against `HashMap`, and maps whose files fail.

use super::*;
use proptest::prelude::*;

/// Limits at which few keys make many runs.
const SMALL: Limits = Limits {
    recent: 50,
    fan_out: 4,
    filters: Some(1 << 20),
};

fn named(path: &Path, limits: Limits) -> DiskMap {
    DiskMap::with(Home::Named(path.to_path_buf()), limits)
}

fn number(n: u64) -> Key {
    key(&n.to_le_bytes())
}

/// Adds keys, each with its own value.
fn fill(map: &mut DiskMap, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert_eq!(map.get_or_insert(number(n), n).unwrap(), None);
    }
}

/// Runs in each level.
fn runs(map: &DiskMap) -> Vec<usize> {
    map.levels.iter().map(|level| level.runs.len()).collect()
}

#[test]
fn the_key_is_half_a_digest() {
    assert_eq!(
        crate::sha256::hex(&key(b"")),
        "e3b0c44298fc1c149afbf4c8996fb924"
    );
}

#[test]
fn a_small_map_has_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut map = DiskMap::create(&dir.path().join("table"));
    fill(&mut map, 0..RECENT as u64);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // The next key needs one: a run of 16 bytes and two of its value for each key.
    fill(&mut map, RECENT as u64..RECENT as u64 + 1);
    let bytes = std::fs::metadata(dir.path().join("table")).unwrap().len();
    assert_eq!(bytes, 28_672 * 18);
    assert_eq!((runs(&map), map.recent.len()), (vec![1], 1));
    for n in 0..=RECENT as u64 {
        assert_eq!(map.get(number(n)).unwrap(), Some(n));
    }
}

#[test]
fn every_key_is_found_again_after_merging() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table");
    let mut map = named(&path, SMALL);
    // 50 in memory, and 114 runs of 50: 1 · 64 + 3 · 16 + 0 · 4 + 2.
    fill(&mut map, 0..5_750);
    assert_eq!((runs(&map), map.recent.len()), (vec![2, 0, 3, 1], 50));
    for n in 0..5_750 {
        assert_eq!(map.get_or_insert(number(n), 0).unwrap(), Some(n));
        assert_eq!(map.get(number(n + 5_750)).unwrap(), None);
    }
    let names = ["table", "table.1", "table.2", "table.3"];
    let bytes = names.map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len());
    // Merged runs leave nothing on the disk.
    assert_eq!(bytes, [2, 0, 3 * 16, 64].map(|runs| runs * 50 * 18));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[test]
fn a_temporary_map_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::Nameless(dir.path().join("not/there/yet"));
    let mut map = DiskMap::with(home, SMALL);
    fill(&mut map, 0..1_000);
    assert_eq!(runs(&map), [3, 0, 1]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn filters_stay_within_their_limit() {
    let dir = tempfile::tempdir().unwrap();
    for filters in [0, 256, 1_024, 4_096] {
        let limits = Limits {
            filters: Some(filters),
            ..SMALL
        };
        let mut map = named(&dir.path().join(format!("table{filters}")), limits);
        for n in 0..4_000 {
            assert_eq!(map.get_or_insert(number(n), n).unwrap(), None);
            let runs = map.levels.iter().flat_map(|level| &level.runs);
            let of_runs = runs.filter_map(|run| run.filter.as_ref());
            let of_levels = map.levels.iter().filter_map(|level| level.filter.as_ref());
            let all = of_runs.chain(of_levels);
            let bytes: u64 = all.map(Filter::bytes).sum();
            assert!(bytes <= filters, "{bytes}");
        }
        assert!((0..4_000).all(|n| map.get(number(n)).unwrap() == Some(n)));
    }
}

/// The first level's filter knows the keys of its runs, and forgets them when they are merged.
#[test]
fn the_filter_of_the_first_level_has_the_keys_of_its_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut map = named(&dir.path().join("table"), SMALL);
    let most = (SMALL.recent * SMALL.fan_out) as u64;
    for n in 0..10 * most {
        assert_eq!(map.get_or_insert(number(n), n).unwrap(), None);
        let Some(level) = map.levels.first() else {
            continue;
        };
        let filter = level.filter.as_ref().unwrap();
        assert_eq!(filter.bytes(), bytes_for(most));
        // Merged, in runs of the first level, in memory.
        let written = n + 1 - map.recent.len() as u64;
        let merged = written / most * most;
        assert_eq!(level.keys(), written - merged);
        assert!((merged..written).all(|n| filter.may_have(&number(n))));
        let others = (0..merged).filter(|&n| filter.may_have(&number(n)));
        let others = others.count() as u64;
        assert!(others * 20 <= merged, "{others} of {merged}");
    }
    assert!(map.levels[1..].iter().all(|level| level.filter.is_none()));
}

#[test]
fn an_existing_file_is_refused_and_no_key_is_lost() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut map = named(file.path(), SMALL);
    fill(&mut map, 0..50);
    for _ in 0..2 {
        let error = map.get_or_insert(number(50), 50).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
    assert!((0..50).all(|n| map.get(number(n)).unwrap() == Some(n)));
    assert_eq!(map.get(number(50)).unwrap(), None);
    file.close().unwrap();
    fill(&mut map, 50..500);
    assert!((0..500).all(|n| map.get(number(n)).unwrap() == Some(n)));
}

/// A device that is always full stands for the file of a level.
#[test]
fn a_full_disk_is_an_error_and_no_key_is_lost() {
    let full = || {
        let device = File::options().read(true).write(true).open("/dev/full");
        Level::new(device.unwrap(), None)
    };
    for level in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let mut map = named(&dir.path().join("table"), SMALL);
        if level == 1 {
            map.open(0).unwrap();
        }
        map.levels.push(full());
        let most = if level == 0 { 50 } else { 250 };
        let added = (0..most + 1).take_while(|&n| map.get_or_insert(number(n), n).is_ok());
        let added = added.count() as u64;
        // In memory, and in three runs; the fourth is written before it is merged.
        assert_eq!(added, if level == 0 { 50 } else { 200 });
        for _ in 0..2 {
            let error = map.get_or_insert(number(added), 0).map(drop);
            let kind = error.map_err(|error| error.kind());
            assert!(level == 1 && kind.is_ok() || kind == Err(io::ErrorKind::StorageFull));
            assert!((0..added).all(|n| map.get(number(n)).unwrap() == Some(n)));
        }
    }
}

#[test]
fn a_damaged_file_is_an_error_when_it_is_read_and_when_it_is_merged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table");
    let mut map = named(&path, SMALL);
    fill(&mut map, 0..190);
    assert_eq!(runs(&map), [3]);
    std::fs::write(&path, [0; 3 * 50 * 17]).unwrap();
    let found: Vec<_> = (0..190)
        .map(|n| map.get(number(n)).map_err(|e| e.kind()))
        .collect();
    let is_found = |n: usize| found[n] == Ok(Some(n as u64));
    assert_eq!((0..190).filter(|&n| is_found(n)).count(), 40);
    let errors = found.iter().filter(|found| found.is_err());
    assert!(
        errors
            .clone()
            .all(|e| *e == Err(io::ErrorKind::InvalidData))
    );
    assert_eq!(errors.count(), 150);
    let ended = (190..260).find_map(|n| map.get_or_insert(number(n), n).err());
    assert_eq!(ended.unwrap().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn the_largest_value_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut map = DiskMap::temporary(dir.path());
    assert!(map.get_or_insert([0; 16], u64::MAX).is_err());
    assert_eq!(map.get_or_insert([0; 16], u64::MAX - 1).unwrap(), None);
    assert_eq!(map.get_or_insert([0; 16], 0).unwrap(), Some(u64::MAX - 1));
}

#[test]
fn memory_is_bounded() {
    assert_eq!(DiskMap::memory(0), 0);
    assert_eq!(DiskMap::memory(1_000), 56_000);
    // 1.6 megabytes of new keys, four for merging, 0.8 for blocks, 15 and 5.5 for filters.
    let ten_million = DiskMap::memory(10_000_000);
    assert!(
        (24_000_000..28_000_000).contains(&ten_million),
        "{ten_million}"
    );
    assert!(DiskMap::memory(1_000_000_000) < 200 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Keys that crowd, and any values, in many small runs with filters that are too small.
    #[test]
    fn it_agrees_with_a_map(
        keys in prop::collection::vec((0xfe_u8.., any::<u8>(), 0..4_u8, 0..u64::MAX), 0..400),
        recent in 1_usize..20,
        fan_out in 2_usize..5,
        filters in 0_u64..4_096,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { recent, fan_out, filters: Some(filters) };
        let mut found = named(&dir.path().join("table"), limits);
        let mut map = HashMap::new();
        for (a, b, c, value) in keys {
            let mut key = [0xff; 16];
            (key[0], key[1], key[15]) = (a, b, c);
            prop_assert_eq!(found.get(key).unwrap(), map.get(&key).copied());
            prop_assert_eq!(found.get_or_insert(key, value).unwrap(), map.get(&key).copied());
            map.entry(key).or_insert(value);
        }
        for (key, value) in map {
            prop_assert_eq!(found.get(key).unwrap(), Some(value));
        }
    }
}
