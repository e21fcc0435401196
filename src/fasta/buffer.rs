//! A read buffer that knows its line and column.

use std::io::{self, ErrorKind, Read};

/// Bytes that are always available in one piece unless the input ends before.
pub(super) const PREVIEW: usize = 512;

const UTF8_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Bytes looked at in one step when searching for the end of a run.
const STEP: usize = 32;

/// A buffer over `R` with the position of its next byte.
#[derive(Debug)]
pub(super) struct LineBuffer<R> {
    inner: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the input before the first one in the buffer.
    before: u64,
    /// Line of the next byte, from 1.
    line: u64,
    /// Bytes of that line already consumed, without byte order marks.
    column: u64,
    /// The last byte consumed was a CR, so that an LF next belongs to the same line end.
    after_cr: bool,
    /// The input has ended; it is not asked again, since a terminal would wait for more.
    ended: bool,
}

impl<R> LineBuffer<R> {
    pub(super) fn new(inner: R, capacity: usize) -> Self {
        Self {
            inner,
            bytes: vec![0; capacity.max(PREVIEW)],
            start: 0,
            end: 0,
            before: 0,
            line: 1,
            column: 0,
            after_cr: false,
            ended: false,
        }
    }

    /// The same for a source that begins at byte `offset` of an input, at the start of this line.
    pub(super) fn at(inner: R, capacity: usize, offset: u64, line: u64) -> Self {
        Self {
            before: offset,
            line,
            ..Self::new(inner, capacity)
        }
    }

    /// Bytes of the input before the next one.
    pub(super) fn offset(&self) -> u64 {
        self.before + self.start as u64
    }

    pub(super) fn get_ref(&self) -> &R {
        &self.inner
    }

    pub(super) fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    /// Line of the next byte, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Column of the next byte, from 1, in bytes.
    pub(super) fn column(&self) -> u64 {
        self.column + 1
    }

    pub(super) fn at_line_start(&self) -> bool {
        self.column == 0
    }

    /// Passes `count` bytes of the current line.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.column += count as u64;
    }

    /// Passes `byte`, which is an LF or a CR and the next byte.
    pub(super) fn end_line(&mut self, byte: u8) {
        self.start = (self.start + 1).min(self.end);
        self.line += 1;
        self.column = 0;
        self.after_cr = byte == b'\r';
    }

    fn buffered(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

impl<R: Read> LineBuffer<R> {
    /// The next bytes: none only at the end of the input.
    pub(super) fn peek(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.fill()?;
        }
        if self.after_cr && self.start < self.end {
            self.after_cr = false;
            if self.buffered().first() == Some(&b'\n') {
                self.start += 1;
                if self.start == self.end {
                    self.fill()?;
                }
            }
        }
        Ok(self.buffered())
    }

    /// The next bytes, at least `count` of them unless the input ends before; `count` is at most
    /// [`PREVIEW`].
    pub(super) fn peek_at_least(&mut self, count: usize) -> io::Result<&[u8]> {
        self.peek()?;
        while self.end - self.start < count && self.fill()? > 0 {}
        Ok(self.buffered())
    }

    /// Passes everything up to byte `offset` of the input, which is the start of this line. False if
    /// the input ends before, or is past it.
    pub(super) fn pass_to(&mut self, offset: u64, line: u64) -> io::Result<bool> {
        self.after_cr = false;
        while self.offset() < offset {
            if self.start == self.end && self.fill()? == 0 {
                return Ok(false);
            }
            let left = usize::try_from(offset - self.offset()).unwrap_or(usize::MAX);
            self.start += left.min(self.end - self.start);
        }
        (self.line, self.column) = (line, 0);
        Ok(self.offset() == offset)
    }

    /// Passes a UTF-8 byte order mark if one is next; it takes no column.
    pub(super) fn skip_mark(&mut self) -> io::Result<bool> {
        let marked = self.peek_at_least(UTF8_MARK.len())?.starts_with(&UTF8_MARK);
        if marked {
            self.start += UTF8_MARK.len();
        }
        Ok(marked)
    }

    /// Reads once into the free part of the buffer and returns how many bytes came.
    fn fill(&mut self) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if self.start > 0 {
            self.before += self.start as u64;
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let free = self.bytes.get_mut(self.end..).unwrap_or_default();
        loop {
            match self.inner.read(free) {
                Ok(count) => {
                    let count = count.min(free.len());
                    self.end += count;
                    self.ended = count == 0;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// How many bytes at the start of `bytes` satisfy `keep`.
///
/// Whole steps are tested without a branch per byte, which the compiler turns into vector code as
/// long as `keep` is inlined.
#[inline(always)]
pub(super) fn prefix(bytes: &[u8], keep: impl Fn(u8) -> bool) -> usize {
    let (steps, _) = bytes.as_chunks::<STEP>();
    let whole = steps
        .iter()
        .take_while(|step| {
            step.iter()
                .fold(0, |odd, &byte| odd | u8::from(!keep(byte)))
                == 0
        })
        .count()
        * STEP;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().take_while(|byte| keep(**byte)).count()
}

/// How many bytes precede the first line end in `bytes`.
pub(super) fn line_length(bytes: &[u8]) -> usize {
    prefix(bytes, |byte| byte != b'\n' && byte != b'\r')
}

/// How many bytes at the start of `bytes` are printable ASCII other than `>`, so that they belong
/// to a sequence without a closer look.
pub(super) fn residue_length(bytes: &[u8]) -> usize {
    prefix(bytes, |byte| byte.is_ascii_graphic() && byte != b'>')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_the_first_byte_not_kept() {
        for length in 0..100 {
            let mut bytes = vec![b'A'; length];
            assert_eq!(prefix(&bytes, |byte| byte == b'A'), length);
            for place in 0..length {
                bytes[place] = b'.';
                assert_eq!(prefix(&bytes, |byte| byte == b'A'), place);
                bytes[place] = b'A';
            }
        }
    }

    #[test]
    fn a_line_end_of_two_bytes_is_one_even_across_reads() {
        struct OneByOne<'a>(&'a [u8]);
        impl Read for OneByOne<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let count = into.len().min(1);
                self.0.read(&mut into[..count])
            }
        }
        let mut lines = LineBuffer::new(OneByOne(b"a\r\nb\r\rc\n\nd"), 1);
        let mut seen = Vec::new();
        while let Some(&byte) = lines.peek().unwrap().first() {
            if byte == b'\n' || byte == b'\r' {
                lines.end_line(byte);
            } else {
                seen.push((byte, lines.line(), lines.column()));
                lines.consume(1);
            }
        }
        assert_eq!(
            seen,
            [(b'a', 1, 1), (b'b', 2, 1), (b'c', 4, 1), (b'd', 6, 1)]
        );
    }
}
