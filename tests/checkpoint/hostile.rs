//! Checkpoints made to take memory or time, or to write to a terminal: each is refused with a short
//! message that is fit for print, and opening it holds less than 100 MB.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use esm_embed::checkpoint::{Checkpoint, CheckpointError};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const MOST_MEMORY: isize = 100_000_000;

thread_local! {
    /// Bytes that this thread holds now, and its peak.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator with a count for each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // Already destroyed while a thread ends.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may be there while the bytes are copied.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// What opening a checkpoint returns, after checking the memory that it took and what an error says.
pub fn bounded<T>(open: impl FnOnce() -> Result<T, CheckpointError>) -> Result<T, String> {
    HELD.set((0, 0));
    let opened = open().map_err(|error| error.to_string());
    let (_, most) = HELD.get();
    let text = opened.as_ref().err().map_or("", String::as_str);
    let start: String = text.chars().take(300).collect();
    assert!(most < MOST_MEMORY, "{most} bytes were held: {start}");
    assert!(text.len() < 3000, "{} bytes: {start}", text.len());
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{start:?}"
    );
    opened
}

/// The error of opening a checkpoint, without the folder's name.
fn refusal(folder: &TempDir, opened: &str) -> String {
    let path = folder.path().join(opened);
    let text = match bounded(|| Checkpoint::open(&path)) {
        Err(text) => text,
        Ok(_) => panic!("{opened} was accepted"),
    };
    let home = format!("{}/", folder.path().display());
    text.replace(&home, "")
        .replace(home.trim_end_matches('/'), ".")
}

/// A folder with one file.
fn holding(name: &str, bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

/// A zip archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The error of opening a torch file whose pickle consists of these parts, beside a storage of one
/// number.
fn pickled(parts: &[&[u8]]) -> String {
    let pickle = [&[&b"\x80\x04"[..]], parts, &[b"."]].concat().concat();
    let bytes = archive(&[("m/data.pkl", &pickle), ("m/data/0", &[0; 4])]);
    refusal(&holding("model.pt", &bytes), "model.pt")
}

fn text(text: &[u8]) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text].concat()
}

/// A tensor over the storage of one number. Nothing stays on the stack; `h\x01` recalls it.
fn tensor(kind: &[u8], key: &[u8], shape: &[u8]) -> Vec<u8> {
    let (key, tag) = (text(key), text(b"storage"));
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &tag[..],
        b"ctorch\n",
        kind,
        b"\n",
        &key,
        b"NK\x01tQK\x00",
        shape,
        shape,
        b"\x89}tRq\x010",
    ]
    .concat()
}

/// A dict of `count` names for one tensor.
fn named(count: usize) -> Vec<u8> {
    let entry = |i: usize| [text(format!("{i:05}").as_bytes()), b"h\x01".to_vec()].concat();
    let entries: Vec<u8> = (0..count).flat_map(entry).collect();
    [b"}(", &entries[..], b"u"].concat()
}

const DAMAGED: &str =
    "\nhint: the file is damaged or was not copied completely: download or copy it again";

#[test]
fn tensors_that_share_a_long_name() {
    let name = [text(&[b'n'; 10_000_000]), b"q\x000".to_vec()].concat();
    let entries = b"h\x00h\x01".repeat(90_000);
    let shared = tensor(b"FloatStorage", b"0", b"K\x01\x85");
    let found = pickled(&[&name, &shared, b"}(", &entries, b"u"]);
    let shown = format!("{}…", "n".repeat(200));
    assert_eq!(
        found,
        format!("model.pt: the tensor `{shown}` is already in model.pt\nhint: keep one of the two")
    );
}

#[test]
fn tensors_that_share_a_long_shape() {
    let shape = [b"(", &b"K\x01".repeat(190_000)[..], b"t"].concat();
    let found = pickled(&[&tensor(b"FloatStorage", b"0", &shape), &named(40_000)]);
    assert_eq!(
        found,
        format!("model.pt: the tensor `00000` has a malformed shape{DAMAGED}")
    );
}

#[test]
fn tensors_that_share_a_long_storage() {
    let kind = [&[b'\x01'; 10_000_000][..], b"Storage"].concat();
    let found = pickled(&[&tensor(&kind, b"0", b"K\x01\x85"), &named(40_000)]);
    assert_eq!(
        found,
        "model.pt: holds no ESM embedding matrix; its tensors are `00000`, `00001`, \
         `00002`, `00003`, `00004`, `00005` and 39,994 more\nhint: use the weights of an ESM-2, ESM-1b, ESM-1v or ESM C model"
    );
    let found = pickled(&[
        &tensor(b"FloatStorage", &[b'0'; 10_000_000], b"K\x01\x85"),
        &named(40_000),
    ]);
    assert_eq!(
        found,
        format!(
            "model.pt: the tensor `00000` has its numbers in an entry that is missing{DAMAGED}"
        )
    );
}

#[test]
fn more_tensors_than_any_checkpoint_has() {
    let shared = tensor(b"FloatStorage", b"0", b"K\x01\x85");
    assert_eq!(
        pickled(&[&shared, &named(50_001)]),
        format!("model.pt: holds more than 50000 tensors{DAMAGED}")
    );
    assert_eq!(
        pickled(&[&shared, &named(50_000)]),
        "model.pt: holds no ESM embedding matrix; its tensors are `00000`, `00001`, \
         `00002`, `00003`, `00004`, `00005` and 49,994 more\nhint: use the weights of an ESM-2, ESM-1b, ESM-1v or ESM C model"
    );
}

#[test]
fn a_pickle_that_builds_as_much_as_is_allowed() {
    // Dicts of one entry, each on the stack, each remembered.
    let found = pickled(&[&b"}NNs\x94".repeat(199_990)]);
    assert_eq!(
        found,
        "model.pt: holds no tensors\nhint: use the weights of an ESM-2, ESM-1b, ESM-1v or ESM C model"
    );
    let found = pickled(&[&b"]Na\x94".repeat(200_001)]);
    assert_eq!(
        found,
        format!("model.pt: its `m/data.pkl` stacks more than 200000 values{DAMAGED}")
    );
}

#[test]
fn a_long_name_of_code_with_cursor_movements() {
    let module = [&b"os.\x1b[2J"[..], &[b'\x01'; 30_000_000]].concat();
    let found = pickled(&[b"c", &module, b"\nsystem\n)R"]);
    // 200 bytes of it, and the character that exceeds them.
    let start = format!(r"os.\u{{1b}}[2J{}", r"\u{1}".repeat(38));
    assert_eq!(
        found,
        format!(
            "model.pt: its pickle asks to run {start}….system, which no checkpoint needs; it was not \
             run\nhint: do not load this file with other programs either; if it is your own, save \
             only its state dict"
        )
    );
}

#[test]
fn a_long_pickle_is_not_read() {
    // 64 MiB of zeros whose checksum differs from the archive's.
    let bytes = archive(&[("m/data.pkl", b"")]);
    let central = bytes
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    let (local, directory) = bytes.split_at(central);
    let size = 64_u32 << 20;
    let mut directory = directory.to_vec();
    directory[20..24].copy_from_slice(&size.to_le_bytes());
    directory[24..28].copy_from_slice(&size.to_le_bytes());
    let end = directory
        .windows(4)
        .position(|four| four == b"PK\x05\x06")
        .unwrap();
    let start = central as u32 + size;
    directory[end + 16..end + 20].copy_from_slice(&start.to_le_bytes());
    directory[16..20].copy_from_slice(&1_u32.to_le_bytes());
    let folder = holding("model.pt", local);
    let file = File::options()
        .write(true)
        .open(folder.path().join("model.pt"))
        .unwrap();
    file.write_all_at(&directory, start.into()).unwrap();
    assert_eq!(
        refusal(&folder, "model.pt"),
        format!(
            "model.pt: its `m/data.pkl` has 67108864 bytes; no checkpoint needs more than 32 \
             MiB{DAMAGED}"
        )
    );
}

#[test]
fn archives_with_many_or_long_names() {
    let names: Vec<String> = (0..100_000).map(|i| format!("m/data/{i:0100}")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let bytes = archive(&entries);
    assert_eq!(
        refusal(&holding("model.pt", &bytes), "model.pt"),
        format!("model.pt: is a zip archive without the one data.pkl of torch.save{DAMAGED}")
    );
    let name = format!("m/{}", "n".repeat(511));
    assert_eq!(
        refusal(&holding("model.pt", &archive(&[(&name, b"")])), "model.pt"),
        format!(
            "model.pt: holds a zip entry with a name of 513 bytes; no checkpoint needs more than \
             512{DAMAGED}"
        )
    );
    let mut bytes = archive(&[("m/data.pkl", &vec![0; 18 << 20])]);
    let end = bytes.len() - 22;
    bytes[end + 12..end + 16].copy_from_slice(&(17_u32 << 20).to_le_bytes());
    bytes[end + 16..end + 20].copy_from_slice(&0_u32.to_le_bytes());
    assert_eq!(
        refusal(&holding("model.pt", &bytes), "model.pt"),
        format!(
            "model.pt: claims a zip directory of 17825792 bytes; no checkpoint needs more than 16 \
             MiB{DAMAGED}"
        )
    );
}

#[test]
fn zip64_numbers_of_2_to_the_63() {
    const HUGE: u64 = 1 << 63;
    let bytes = archive(&[("m/data.pkl", b"N.")]);
    let central = bytes
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    let end = bytes.len() - 22;
    // The record of a zip64 directory, its locator, and an end that sends readers there.
    let with = |[count, size, start, at]: [u64; 4]| {
        let numbers = [count, size, start].map(u64::to_le_bytes).concat();
        let record = [&b"PK\x06\x06"[..], &[0; 28], &numbers].concat();
        let locator = [b"PK\x06\x07\0\0\0\0", &at.to_le_bytes()[..], &[0; 4]].concat();
        let mut last = bytes[end..].to_vec();
        last[16..20].fill(0xff);
        let whole = [&bytes[..end], &record, &locator, &last].concat();
        refusal(&holding("model.pt", &whole), "model.pt")
    };
    let (central, size) = (central as u64, (end - central) as u64);
    let at = end as u64;
    assert_eq!(
        with([1, size, central, at]),
        "model.pt: holds no tensors\nhint: use the weights of an ESM-2, ESM-1b, ESM-1v or ESM C model"
    );
    for (numbers, says) in [
        (
            [1, size, central, HUGE],
            "has a zip64 directory that cannot be found",
        ),
        (
            [HUGE, size, central, at],
            "claims 9223372036854775808 zip entries; no checkpoint needs more than 100000",
        ),
        (
            [1, HUGE, central, at],
            "claims a zip directory of 9223372036854775808 bytes at 42, past its end",
        ),
        (
            [1, size, HUGE, at],
            "claims a zip directory of 56 bytes at 9223372036854775808, past its end",
        ),
    ] {
        assert_eq!(with(numbers), format!("model.pt: {says}{DAMAGED}"));
    }
}

/// The error of opening a folder whose safetensors file has this header and four bytes of numbers.
fn headed(header: &str) -> String {
    let length = (header.len() as u64).to_le_bytes();
    let bytes = [&length, header.as_bytes(), &[0; 4]].concat();
    let folder = holding("model.safetensors", &bytes);
    fs::write(folder.path().join("config.json"), config("")).unwrap();
    refusal(&folder, "model.safetensors")
}

fn config(more: &str) -> String {
    format!(
        r#"{{"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 128{more}}}"#
    )
}

#[test]
fn safetensors_headers_of_four_mib() {
    let dimensions = "1,".repeat(2_000_000);
    let found = headed(&format!(
        r#"{{"a":{{"dtype":"F32","shape":[{dimensions}1],"data_offsets":[0,4]}}}}"#
    ));
    assert_eq!(
        found,
        format!("model.safetensors: the tensor `a` has 2000001 dimensions{DAMAGED}")
    );
    let name = "n".repeat(4_000_000);
    let found = headed(&format!(
        r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
    ));
    let shown = "n".repeat(200);
    assert_eq!(
        found,
        format!(
            "model.safetensors: holds no ESM embedding matrix; its tensors are `{shown}…`\nhint: use the \
             weights of an ESM-2, ESM-1b, ESM-1v or ESM C model"
        )
    );
    let dtype = r"\u001b[2J".repeat(400_000);
    let found = headed(&format!(
        r#"{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,4]}}}}"#
    ));
    assert!(
        found.starts_with(
            r"model.safetensors: has a malformed header: unknown variant `\u{1b}[2J\u{1b}[2J"
        ),
        "{found}"
    );
    let entry = |i: usize| {
        let shape = "0,1,1,1,1,1,1,1";
        format!(r#""{i:05}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[4,4]}},"#)
    };
    let entries: String = (0..55_000).map(entry).collect();
    let found = headed(&format!(
        r#"{{{entries}"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
    ));
    assert_eq!(
        found,
        "model.safetensors: holds no ESM embedding matrix; its tensors are `00000`, `00001`, \
         `00002`, `00003`, `00004`, `00005` and 54,995 more\nhint: use the weights of an ESM-2, ESM-1b, ESM-1v or ESM C model"
    );
}

/// The error of opening a folder that has an index besides its configuration.
fn indexed(index: &str, shards: &[&str]) -> String {
    let folder = holding("model.safetensors.index.json", index.as_bytes());
    fs::write(folder.path().join("config.json"), config("")).unwrap();
    for shard in shards {
        fs::write(folder.path().join(shard), "no tensors").unwrap();
    }
    refusal(&folder, "")
}

#[test]
fn an_index_of_four_mib() {
    let entries: Vec<String> = (0..340_000).map(|i| format!(r#""{i:x}":"s""#)).collect();
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, entries.join(","));
    assert!(index.len() < 4 << 20);
    let found = indexed(&index, &["s"]);
    assert_eq!(
        found,
        format!("s: is not a torch file: it does not start as a zip archive{DAMAGED}")
    );
}

#[test]
fn settings_that_move_the_cursor() {
    let found = indexed(r#"{"weight_map": {"a": "\u001b[2J.safetensors"}}"#, &[]);
    assert_eq!(
        found,
        "model.safetensors.index.json: lists the shard `\\u{1b}[2J.safetensors`, which is not a plain \
         file name\nhint: use the configuration that was published with these weights"
    );
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/esm2_hd16");
    let weights = fs::read(fixture.join("model.safetensors")).unwrap();
    let folder = holding("model.safetensors", &weights);
    let write = |text: &str| fs::write(folder.path().join("config.json"), text).unwrap();
    write(&config(r#", "model_type": "\u001b[2J""#));
    assert_eq!(
        refusal(&folder, ""),
        "config.json: the model type \"\\u{1b}[2J\" is not supported\n\
         hint: use an ESM-2, ESM-1b, ESM-1v or ESM C checkpoint"
    );
    write(&config(&format!(
        r#", "model_type": "{}""#,
        r"\u0001".repeat(100_000)
    )));
    assert_eq!(
        refusal(&folder, ""),
        format!(
            "config.json: the model type \"{}…\" is not supported\n\
             hint: use an ESM-2, ESM-1b, ESM-1v or ESM C checkpoint",
            r"\u{1}".repeat(40)
        )
    );
    write(&config(r#", "vocab_size": "\u001b[2J""#));
    let found = refusal(&folder, "");
    assert!(
        found.starts_with(
            r#"config.json: is not the expected JSON: invalid type: string "\u{1b}[2J""#
        ),
        "{found}"
    );
}
