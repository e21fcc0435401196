//! gzip and zstd, recognised by their first bytes and decompressed as they are read.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use thiserror::Error;

/// Bytes that decide the compression.
const MAGIC: usize = 4;

/// Bytes of compressed data read at a time.
const CAPACITY: usize = 128 << 10;

type Whole<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// How the bytes of an input are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip in blocks that can be decompressed by themselves.
    Bgzip,
    /// Any other gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// Where a block of bgzip begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block {
    /// Byte of the file.
    pub compressed: u64,
    /// Byte of the decompressed data.
    pub decompressed: u64,
}

/// A reader of decompressed bytes.
pub(super) enum Decoder<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<Gzip<Whole<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Whole<R>>>>),
}

impl<R: Read> Decoder<R> {
    /// Reads the first bytes of `raw` and chooses by them.
    pub(super) fn new(mut raw: R) -> io::Result<Self> {
        let mut head = Vec::with_capacity(MAGIC);
        raw.by_ref().take(MAGIC as u64).read_to_end(&mut head)?;
        let is_gzip = head.starts_with(&[0x1F, 0x8B]);
        let is_zstd = is_zstd(&head);
        let whole = Cursor::new(head).chain(raw);
        Ok(if is_gzip {
            Self::Gzip(Box::new(Gzip::new(whole)))
        } else if is_zstd {
            let decoder = zstd::stream::read::Decoder::with_buffer(buffered(whole))?;
            Self::Zstd(Box::new(decoder))
        } else {
            Self::Plain(whole)
        })
    }
}

impl<R: Read> Decoder<R> {
    /// How the data is stored.
    pub(super) fn compression(&self) -> Compression {
        match self {
            Self::Plain(_) => Compression::None,
            Self::Gzip(gzip) if gzip.is_at_block() => Compression::Bgzip,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }

    /// Keeps the starts of all blocks from now on; to be called before anything is read.
    pub(super) fn note_blocks(&mut self) {
        if let Self::Gzip(gzip) = self {
            gzip.blocks = Some(vec![Block::default()]);
        }
    }

    /// The blocks that have been begun.
    pub(super) fn blocks(&self) -> &[Block] {
        match self {
            Self::Gzip(gzip) => gzip.blocks.as_deref().unwrap_or_default(),
            Self::Plain(_) | Self::Zstd(_) => &[],
        }
    }
}

/// A source that knows how many bytes were taken from it.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count += count as u64;
        Ok(count)
    }
}

fn buffered<R: Read>(inner: R) -> BufReader<R> {
    BufReader::with_capacity(CAPACITY, inner)
}

/// A zstd frame, or one of the skippable frames that may precede it.
pub(super) fn is_zstd(head: &[u8]) -> bool {
    matches!(
        head,
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..]
    )
}

impl<R: Read> Read for Decoder<R> {
    /// Errors of the source pass unchanged; those of the data carry a [`Damage`].
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.read(into),
            Self::Gzip(gzip) => gzip.read(into),
            Self::Zstd(zstd) => zstd
                .read(into)
                .map_err(|error| classify(error, Format::Zstd)),
        }
    }
}

/// A compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Gzip,
    Zstd,
}

/// What is wrong with compressed data, with `hint:` lines that say what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// gzip data that ends too early.
    #[error(
        "the gzip data is cut short\nhint: copy or download the file again, then test it with `gzip -t`"
    )]
    GzipCutShort,
    /// bgzip blocks without the empty block that ends such a file.
    #[error(
        "the empty block that ends a bgzip file is missing, so blocks may be lost\n\
         hint: copy or download the file again\n\
         hint: if it is known to be complete, decompress it with `gzip -d`"
    )]
    BgzipCutShort,
    /// gzip data followed by something that is neither gzip nor zero bytes.
    #[error(
        "the gzip data is followed by something that is not gzip\n\
         hint: copy or download the file again\n\
         hint: if what follows can be dropped, decompress it with `gzip -dc IN > OUT`"
    )]
    GzipTrailing,
    /// gzip data that does not decompress or has the wrong checksum.
    #[error(
        "the gzip data is damaged ({0})\nhint: copy or download the file again, then test it with `gzip -t`"
    )]
    GzipCorrupt(String),
    /// zstd data that ends too early.
    #[error(
        "the zstd data is cut short\nhint: copy or download the file again, then test it with `zstd -t`"
    )]
    ZstdCutShort,
    /// zstd data followed by something else.
    #[error(
        "the zstd data is followed by something that is not zstd\n\
         hint: copy or download the file again, then test it with `zstd -t`"
    )]
    ZstdTrailing,
    /// zstd data that needs more than 128 MiB to decompress.
    #[error(
        "the zstd data was compressed with a window over 128 MiB\n\
         hint: decompress it with `zstd -d --long=31 IN -o OUT`"
    )]
    ZstdWindow,
    /// zstd data that does not decompress or has the wrong checksum.
    #[error(
        "the zstd data is damaged ({0})\nhint: copy or download the file again, then test it with `zstd -t`"
    )]
    ZstdCorrupt(String),
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> Self {
        Self::new(ErrorKind::InvalidData, damage)
    }
}

/// Separates errors of the data, which a decoder reports, from errors of the source.
fn classify(error: io::Error, format: Format) -> io::Error {
    let from_source = error.raw_os_error().is_some()
        || error.kind() == ErrorKind::Interrupted
        || error
            .get_ref()
            .is_some_and(|inner| inner.is::<super::FastaError>());
    if from_source {
        return error;
    }
    let cut_short = error.kind() == ErrorKind::UnexpectedEof;
    let text = error.to_string();
    match format {
        Format::Gzip if cut_short => Damage::GzipCutShort,
        Format::Gzip => Damage::GzipCorrupt(text),
        Format::Zstd if cut_short => Damage::ZstdCutShort,
        Format::Zstd if text.contains("Unknown frame descriptor") => Damage::ZstdTrailing,
        Format::Zstd if text.contains("too much memory") => Damage::ZstdWindow,
        Format::Zstd => Damage::ZstdCorrupt(text),
    }
    .into()
}

/// gzip members one after the other, as `gzip -d` takes them: each checked to its end, zero bytes
/// after the last one ignored. Anything else after a member, which `gzip -d` leaves with a
/// warning, is an error here: what is lost cannot be known.
pub(super) struct Gzip<R> {
    /// `None` after the end.
    member: Option<GzDecoder<BufReader<Counted<R>>>>,
    /// Decompressed bytes of the current member.
    length: u64,
    /// The first member is a block of bgzip.
    blocked: bool,
    /// Members before the current one.
    finished: u64,
    /// Decompressed bytes of these members.
    before: u64,
    /// Where each member began, if that is wanted.
    blocks: Option<Vec<Block>>,
}

impl<R: Read> Gzip<R> {
    fn new(source: R) -> Self {
        let source = Counted {
            inner: source,
            count: 0,
        };
        Self {
            member: Some(GzDecoder::new(buffered(source))),
            length: 0,
            before: 0,
            blocks: None,
            blocked: false,
            finished: 0,
        }
    }

    /// Whether the current member is a block of bgzip.
    fn is_at_block(&self) -> bool {
        let header = self.member.as_ref().and_then(GzDecoder::header);
        let extra = header.and_then(|header| header.extra());
        extra.is_some_and(has_block_size)
    }

    /// Goes from the end of one member to the next, or to the end of the data.
    fn advance(&mut self) -> io::Result<()> {
        let is_block = self.is_at_block();
        let Some(member) = self.member.take() else {
            return Ok(());
        };
        if self.finished == 0 {
            self.blocked = is_block;
        }
        self.finished += 1;
        let mut source = member.into_inner();
        match peek(&mut source)? {
            Some(0x1F) => {
                self.before += self.length;
                if let Some(blocks) = &mut self.blocks {
                    blocks.push(Block {
                        compressed: source.get_ref().count - source.buffer().len() as u64,
                        decompressed: self.before,
                    });
                }
                self.member = Some(GzDecoder::new(source));
                self.length = 0;
                Ok(())
            }
            None | Some(0) => {
                skip_zeros(&mut source)?;
                if self.blocked && is_block && self.length > 0 {
                    return Err(Damage::BgzipCutShort.into());
                }
                Ok(())
            }
            Some(_) => Err(Damage::GzipTrailing.into()),
        }
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            match member.read(into) {
                Ok(0) => self.advance()?,
                Ok(count) => {
                    self.length += count as u64;
                    return Ok(count);
                }
                // What follows is not the header of a member.
                Err(error)
                    if self.finished > 0
                        && member.header().is_none()
                        && error.kind() == ErrorKind::InvalidInput =>
                {
                    return Err(Damage::GzipTrailing.into());
                }
                Err(error) => return Err(classify(error, Format::Gzip)),
            }
        }
        Ok(0)
    }
}

/// The next byte of `source`, not consumed.
fn peek(source: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        match source.fill_buf() {
            Ok(bytes) => return Ok(bytes.first().copied()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn skip_zeros(source: &mut impl BufRead) -> io::Result<()> {
    while let Some(byte) = peek(source)? {
        if byte != 0 {
            return Err(Damage::GzipTrailing.into());
        }
        let bytes = source.fill_buf()?;
        let zeros = super::buffer::prefix(bytes, |byte| byte == 0);
        source.consume(zeros);
    }
    Ok(())
}

/// Whether a gzip extra field holds bgzip's subfield `BC` of two bytes.
fn has_block_size(mut extra: &[u8]) -> bool {
    while let [first, second, low, high, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        if [*first, *second] == *b"BC" && length == 2 {
            return true;
        }
        extra = rest.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_size_is_found_among_other_subfields() {
        assert!(has_block_size(b"BC\x02\x00\x1b\x00"));
        assert!(has_block_size(b"RA\x01\x00\x07BC\x02\x00\x1b\x00"));
        assert!(!has_block_size(b"BC\x03\x00\x1b\x00\x00"));
        assert!(!has_block_size(b"RA\xff\xffBC\x02\x00"));
        assert!(!has_block_size(b""));
    }
}
