//! `input-N.gzi`: where the blocks of a bgzip input begin, in the format of `bgzip --index`: the number of
//! pairs, then for each block but the first its byte in the file and in the decompressed data, all as
//! little-endian numbers of 64 bits.

use crate::fasta::{Block, Part};
use std::io::{self, Read, Write};

/// The blocks of one input, in their order; none of a plain file, in which every byte can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks(Vec<Block>);

impl Blocks {
    /// These blocks, the first one included.
    pub fn new(blocks: Vec<Block>) -> Blocks {
        Blocks(blocks)
    }

    /// Writes the blocks of an input, the first one included.
    ///
    /// # Errors
    /// `to` cannot be written.
    pub fn write(blocks: &[Block], to: &mut impl Write) -> io::Result<()> {
        let others = blocks.get(1..).unwrap_or_default();
        to.write_all(&(others.len() as u64).to_le_bytes())?;
        for block in others {
            to.write_all(&block.compressed.to_le_bytes())?;
            to.write_all(&block.decompressed.to_le_bytes())?;
        }
        Ok(())
    }

    /// Reads what [`Self::write`] writes.
    ///
    /// # Errors
    /// `from` cannot be read, or holds something else.
    pub fn read(from: &mut impl Read) -> io::Result<Blocks> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let (numbers, rest) = bytes.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let wrong = || io::Error::from(io::ErrorKind::InvalidData);
        let count = numbers.next().ok_or_else(wrong)?;
        let mut blocks = vec![Block::default()];
        while let (Some(compressed), Some(decompressed)) = (numbers.next(), numbers.next()) {
            let last = blocks.last().copied().unwrap_or_default();
            if compressed <= last.compressed || decompressed < last.decompressed {
                return Err(wrong());
            }
            blocks.push(Block {
                compressed,
                decompressed,
            });
        }
        match rest.is_empty() && blocks.len() as u64 - 1 == count {
            true => Ok(Blocks(blocks)),
            false => Err(wrong()),
        }
    }

    /// Where to begin reading `bytes` bytes from byte `offset` of the decompressed data.
    pub fn part(&self, offset: u64, bytes: u64) -> Part {
        // The last block that begins there or before; empty blocks have no byte.
        let after = self.0.partition_point(|block| block.decompressed <= offset);
        let block = self.0.get(after.saturating_sub(1)).copied();
        let block = block.unwrap_or(Block {
            compressed: offset,
            decompressed: offset,
        });
        Part {
            from: block.compressed,
            skipped: offset - block.decompressed.min(offset),
            bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: [Block; 3] = [
        Block {
            compressed: 0,
            decompressed: 0,
        },
        Block {
            compressed: 90,
            decompressed: 400,
        },
        Block {
            compressed: 200,
            decompressed: 900,
        },
    ];

    #[test]
    fn blocks_are_read_back_and_found() {
        let mut bytes = Vec::new();
        Blocks::write(&BLOCKS, &mut bytes).unwrap();
        let expected: Vec<u8> = [2_u64, 90, 400, 200, 900]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        assert_eq!(bytes, expected);
        let blocks = Blocks::read(&mut &bytes[..]).unwrap();
        for (offset, from, skipped) in [(0, 0, 0), (399, 0, 399), (400, 90, 0), (5000, 200, 4100)] {
            let part = Part {
                from,
                skipped,
                bytes: 7,
            };
            assert_eq!(blocks.part(offset, 7), part);
        }
        let plain = Part {
            from: 12,
            skipped: 0,
            bytes: 7,
        };
        assert_eq!(Blocks::default().part(12, 7), plain);
        for cut in 0..bytes.len() {
            assert!(Blocks::read(&mut &bytes[..cut]).is_err(), "{cut}");
        }
        bytes[8] = 201;
        assert!(Blocks::read(&mut &bytes[..]).is_err());
    }
}
