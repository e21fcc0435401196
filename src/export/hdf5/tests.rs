use super::*;
use std::fs;

/// A file that is read back, by the addresses in it.
pub(crate) struct Hdf5File(pub(crate) Vec<u8>);

/// A dataset: shape, bytes, and the attribute `original_id`.
#[derive(Debug, PartialEq)]
pub(crate) struct Dataset {
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) id: Option<String>,
}

impl Hdf5File {
    fn u(&self, at: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.0[at as usize..at as usize + size]);
        u64::from_le_bytes(bytes)
    }

    fn slice(&self, at: u64, size: u64) -> &[u8] {
        &self.0[at as usize..(at + size) as usize]
    }

    fn tree(&self) -> (u64, u64) {
        assert_eq!(self.slice(0, 8), b"\x89HDF\r\n\x1a\n");
        assert_eq!(self.u(40, 8), self.0.len() as u64, "end of file");
        (self.u(80, 8), self.u(88, 8))
    }

    fn name(&self, offset: u64) -> String {
        let heap = self.tree().1;
        assert_eq!(self.slice(heap, 4), b"HEAP");
        let start = self.u(heap + 24, 8) + offset;
        let end = self.0[start as usize..]
            .iter()
            .position(|&byte| byte == 0)
            .unwrap();
        String::from_utf8(self.slice(start, end as u64).to_vec()).unwrap()
    }

    /// Finds a name as libhdf5 does: by the keys of the tree, then in the leaf.
    pub(crate) fn dataset(&self, name: &str) -> Option<Dataset> {
        let mut at = self.tree().0;
        loop {
            assert_eq!(self.slice(at, 4), b"TREE");
            let (level, used) = (self.u(at + 5, 1), self.u(at + 6, 2));
            let key = |number: u64| self.name(self.u(at + 24 + 16 * number, 8));
            let child = (0..used)
                .find(|&number| key(number).as_str() < name && name <= key(number + 1).as_str())?;
            at = self.u(at + 32 + 16 * child, 8);
            if level == 0 {
                break;
            }
        }
        assert_eq!(self.slice(at, 4), b"SNOD");
        let entries = (0..self.u(at + 6, 2)).map(|number| at + 8 + 40 * number);
        let mut found = entries.filter(|&entry| self.name(self.u(entry, 8)) == name);
        found.next().map(|entry| self.header(self.u(entry + 8, 8)))
    }

    fn header(&self, at: u64) -> Dataset {
        assert_eq!((self.u(at, 1), self.u(at + 4, 4)), (1, 1));
        let (messages, bytes) = (self.u(at + 2, 2), self.u(at + 8, 4));
        let mut dataset = Dataset {
            shape: Vec::new(),
            bytes: Vec::new(),
            id: None,
        };
        let mut at = at + 16;
        let end = at + bytes;
        for _ in 0..messages {
            let (kind, size, data) = (self.u(at, 2), self.u(at + 2, 2), at + 8);
            match kind {
                1 => {
                    let rank = self.u(data + 1, 1);
                    dataset.shape = (0..rank).map(|dim| self.u(data + 8 + 8 * dim, 8)).collect();
                }
                8 => {
                    let (start, bytes) = (self.u(data + 2, 8), self.u(data + 10, 8));
                    if start != UNDEFINED {
                        dataset.bytes = self.slice(start, bytes).to_vec();
                    }
                }
                0xc if self.slice(data + 8, 12) == b"original_id\0" => {
                    // Name, type and size of the value, each padded to 8.
                    let value = data + 8 + 16 + 24 + 8;
                    dataset.id = Some(self.text(value));
                }
                _ => {}
            }
            at = data + size;
        }
        assert_eq!(at, end);
        dataset
    }

    fn text(&self, at: u64) -> String {
        let (size, heap, number) = (self.u(at, 4), self.u(at + 4, 8), self.u(at + 12, 4));
        assert_eq!(self.slice(heap, 4), b"GCOL");
        let end = heap + self.u(heap + 8, 8);
        let mut object = heap + 16;
        while self.u(object, 2) != number {
            object += 16 + self.u(object + 8, 8).next_multiple_of(8);
            assert!(object < end);
        }
        assert_eq!(self.u(object + 8, 8), size);
        String::from_utf8(self.slice(object + 16, size).to_vec()).unwrap()
    }
}

fn file(names: &[String]) -> Hdf5File {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x.h5");
    let mut writer = Hdf5Writer::new(File::create_new(&path).unwrap()).unwrap();
    for (row, name) in names.iter().enumerate() {
        let numbers = [row as u8, 1, 2];
        writer.write(&numbers).unwrap();
        let id = Attribute::Text(format!("id of {name}"));
        writer
            .end_dataset(name, Number::U8, &[1, 3], vec![("original_id", id)])
            .unwrap();
    }
    let about = vec![("layer", Attribute::Integer(-7))];
    writer.finish(about).unwrap();
    Hdf5File(fs::read(path).unwrap())
}

#[test]
fn every_dataset_is_found_by_its_name() {
    // No leaf; one; several; and more than one node has.
    for count in [0, 1, 128, 129, 40_000] {
        let names: Vec<String> = (0..count)
            .map(|n| format!("é{}", n * 7919 % count))
            .collect();
        let file = file(&names);
        assert_eq!(file.dataset("missing"), None);
        for row in (0..count).step_by((count / 300).max(1)) {
            let expected = Dataset {
                shape: vec![1, 3],
                bytes: vec![row as u8, 1, 2],
                id: Some(format!("id of {}", names[row])),
            };
            assert_eq!(file.dataset(&names[row]), Some(expected));
        }
    }
}

#[test]
fn long_texts_have_a_heap_of_their_size() {
    let long = "x".repeat(100_000);
    let names = ["a".to_owned(), long.clone(), "b".to_owned()];
    let file = file(&names);
    assert_eq!(
        file.dataset(&long).unwrap().id,
        Some(format!("id of {long}"))
    );
    assert_eq!(file.dataset("b").unwrap().id.as_deref(), Some("id of b"));
}

#[test]
fn a_file_that_is_not_finished_does_not_begin_as_hdf5() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("x.h5");
    let mut writer = Hdf5Writer::new(File::create_new(&path).unwrap()).unwrap();
    writer.write(&[7; 8]).unwrap();
    writer
        .end_dataset("a", Number::F32, &[2], Vec::new())
        .unwrap();
    writer.file.flush().unwrap();
    assert_eq!(fs::read(&path).unwrap()[..8], [0; 8]);
}
