//! Lines of `index.tsv` and `skipped.tsv`, read back.

use crate::output::escape::unescape;

/// A line of `index.tsv`, without row, offset and duplicate, which are specific to its folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexLine {
    pub(crate) id: Vec<u8>,
    pub(crate) description: Vec<u8>,
    pub(crate) length: u64,
    pub(crate) truncated_from: Option<u64>,
    pub(crate) windows: Option<u64>,
    pub(crate) unknown: u64,
    pub(crate) lower: u64,
    /// 0 in tables without this flag; the number is then in `shard.tsv`.
    pub(crate) masks: u64,
    pub(crate) gaps: u64,
    pub(crate) invisible: u64,
    pub(crate) nucleotides: bool,
    pub(crate) stop: bool,
}

impl IndexLine {
    /// Reads a line without its end; `None` unless it is one that a run writes. `files` says
    /// whether each record has its own file.
    pub(crate) fn parse(line: &[u8], files: bool) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b'\t');
        let _row = number(fields.next()?)?;
        let id = unescape(fields.next()?)?;
        let length = number(fields.next()?)?;
        let _offset = number(fields.next()?)?;
        let mut parsed = Self {
            id,
            length,
            ..Self::default()
        };
        let flags = std::str::from_utf8(fields.next()?).ok()?;
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            parsed.set(flag)?;
        }
        if files {
            let _file = fields.next()?;
        }
        parsed.description = unescape(fields.next()?)?;
        fields.next().is_none().then_some(parsed)
    }

    fn set(&mut self, flag: &str) -> Option<()> {
        match flag {
            "stop" => self.stop = true,
            "nucleotides" => self.nucleotides = true,
            _ => return self.set_number(flag),
        }
        Some(())
    }

    fn set_number(&mut self, flag: &str) -> Option<()> {
        let (name, value) = flag.split_once('=')?;
        let value = number(value.as_bytes())?;
        match name {
            "truncated" => self.truncated_from = Some(value),
            "windows" => self.windows = Some(value),
            "unknown" => self.unknown = value,
            "lower" => self.lower = value,
            "masks" => self.masks = value,
            "gaps" => self.gaps = value,
            "invisible" => self.invisible = value,
            "duplicate_of" => {}
            _ => return None,
        }
        Some(())
    }
}

/// A line of `skipped.tsv`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SkippedLine {
    pub(crate) file: Vec<u8>,
    pub(crate) line: u64,
    pub(crate) record: u64,
    pub(crate) id: Vec<u8>,
    pub(crate) reason: String,
}

impl SkippedLine {
    /// Reads a line without its end; `None` unless it is one that a run writes.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b'\t');
        let parsed = Self {
            file: unescape(fields.next()?)?,
            line: number(fields.next()?)?,
            record: number(fields.next()?)?,
            id: unescape(fields.next()?)?,
            reason: String::from_utf8(unescape(fields.next()?)?).ok()?,
        };
        fields.next().is_none().then_some(parsed)
    }
}

/// A number in digits only.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::index::{Entry, Skip, line, skipped_line};
    use proptest::prelude::*;

    fn without_end(mut line: Vec<u8>) -> Vec<u8> {
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    #[test]
    fn other_lines_are_refused() {
        for (line, files) in [
            (&b""[..], false),
            (b"0\ta\t3\t0\t", false),
            (b"0\ta\t3\t0\t\t\t", false),
            (b"0\ta\t3\t0\t\t", true),
            (b"0\ta\\q\t3\t0\t\t", false),
            (b"0\ta\t-3\t0\t\t", false),
            (b"0\ta\t3\t0\tnew=1\t", false),
            (b"0\ta\t3\t0\tlower\t", false),
        ] {
            assert_eq!(IndexLine::parse(line, files), None, "{line:?}");
        }
        assert!(IndexLine::parse(b"0\ta\t3\t0\t\t", false).is_some());
        assert_eq!(SkippedLine::parse(b"a\t1\t2\tid"), None);
        assert_eq!(SkippedLine::parse(b"a\t1\t2\tid\twhy\t"), None);
    }

    proptest! {
        #[test]
        fn what_a_run_writes_is_read_back(
            id in prop::collection::vec(any::<u8>(), 0..8),
            description in prop::collection::vec(any::<u8>(), 0..8),
            numbers: [u32; 6],
            truncated in prop::option::of(1u64..9),
            windows in prop::option::of(1u64..9),
            stop: bool,
            nucleotides: bool,
            duplicate in prop::option::of(0u64..9),
            files: bool,
            reason in "[ -~é]{0,9}",
        ) {
            let [length, unknown, lower, masks, gaps, invisible] = numbers.map(u64::from);
            let entry = Entry {
                id: &id,
                description: &description,
                length,
                truncated_from: truncated,
                windows,
                unknown,
                lower,
                masks,
                gaps,
                invisible,
                nucleotides,
                stop,
                ..Entry::default()
            };
            let file = files.then_some("000000/x y.npy");
            let parsed = IndexLine::parse(&without_end(line(&entry, 7, 9, duplicate, file)), files);
            let expected = IndexLine {
                id: id.clone(),
                description: description.clone(),
                length,
                truncated_from: truncated,
                windows,
                unknown,
                lower,
                masks,
                gaps,
                invisible,
                nucleotides,
                stop,
            };
            prop_assert_eq!(parsed, Some(expected));
            let skip = Skip {
                ordinal: 3,
                file: &description,
                line: length,
                record: lower,
                id: &id,
                reason: &reason,
            };
            let parsed = SkippedLine::parse(&without_end(skipped_line(&skip)));
            let expected = SkippedLine { file: description, line: length, record: lower, id, reason };
            prop_assert_eq!(parsed, Some(expected));
        }
    }
}
