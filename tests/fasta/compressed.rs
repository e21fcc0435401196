//! gzip, bgzip and zstd, cut and damaged.

use crate::support::*;
use esm_embed::fasta::{Damage, FastaError};
use std::io::Write;

// What cannot be read.

#[test]
fn gzip_cut_anywhere_is_an_error() {
    let text = b">a\nMKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQ\n>b\nTTAVGG\n";
    let whole = gzip(text);
    for length in 2..whole.len() {
        let (good, error) = read_file(&whole[..length]);
        assert!(good < 2, "cut to {length}");
        match error {
            Some(FastaError::Damaged {
                damage: Damage::GzipCutShort,
                ..
            }) => {}
            other => panic!("cut to {length}: {other:?}"),
        }
    }
    let (two, first) = ([&whole[..], &whole].concat(), whole.len());
    for length in first + 1..two.len() {
        assert_eq!(
            damage(&two[..length]),
            Damage::GzipCutShort,
            "cut to {length}"
        );
    }
}

#[test]
fn zstd_cut_anywhere_is_an_error() {
    let text = b">a\nMKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQ\n>b\nTTAVGG\n";
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    let whole = encoder.finish().unwrap();
    for length in 4..whole.len() {
        assert_eq!(
            damage(&whole[..length]),
            Damage::ZstdCutShort,
            "cut to {length}"
        );
    }
    let two = [&whole[..], &whole].concat();
    for length in whole.len() + 1..two.len() {
        assert_eq!(
            damage(&two[..length]),
            Damage::ZstdCutShort,
            "cut to {length}"
        );
    }
}

#[test]
fn damaged_compressed_data_is_an_error() {
    let text = b">a\nMKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQ\n";
    let mut crc = gzip(text);
    let place = crc.len() - 8;
    crc[place] ^= 1;
    assert!(matches!(damage(&crc), Damage::GzipCorrupt(_)));
    let mut body = gzip(text);
    body[14] ^= 0xff;
    assert!(matches!(damage(&body), Damage::GzipCorrupt(_)));
    assert!(matches!(
        damage(b"\x1f\x8b\x07\0\0\0\0\0\0\0\0\0"),
        Damage::GzipCorrupt(_)
    ));

    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(text).unwrap();
    let mut checksum = encoder.finish().unwrap();
    *checksum.last_mut().unwrap() ^= 1;
    assert!(matches!(damage(&checksum), Damage::ZstdCorrupt(_)));
}

#[test]
fn trailing_bytes_after_compressed_data_are_an_error() {
    let text = b">a\nMK\n";
    for rubbish in [
        &b"garbage"[..],
        b">b\nMK\n",
        b"\n",
        b"\0\0x",
        b"\x1fgarbage garbage",
    ] {
        assert_eq!(
            damage(&[&gzip(text)[..], rubbish].concat()),
            Damage::GzipTrailing
        );
    }
    let frame = zstd::encode_all(&text[..], 1).unwrap();
    assert_eq!(
        damage(&[&frame[..], b">b\nMK\n"].concat()),
        Damage::ZstdTrailing
    );
}

#[test]
fn a_bgzip_file_without_its_last_block_is_an_error() {
    let blocks = [block(b">a\nMK\n"), block(b">b\nTT\n")].concat();
    assert_eq!(damage(&blocks), Damage::BgzipCutShort);
    let plain_end = [&blocks[..], &gzip(b">c\nVV\n")].concat();
    assert!(matches!(read_file(&plain_end), (3, None)));
}

#[test]
fn zstd_with_a_huge_window_is_refused_by_name() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(b">a\nMK\n").unwrap();
    assert_eq!(damage(&encoder.finish().unwrap()), Damage::ZstdWindow);
}
