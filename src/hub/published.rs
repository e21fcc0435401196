//! The digests that were published for the original checkpoints.

use std::path::Path;

use super::error::HubError;
use crate::numerals::count;
use crate::sha256::sha256_file;

/// sha256 and bytes of the checkpoint files that fair-esm publishes.
const FAIR_ESM: [(&str, &str, u64); 10] = [
    (
        "esm2_t6_8M_UR50D.pt",
        "46f002a9870c9bdecd0ea887acb1f9a38a6b561e8f8bf8a6990b679b9d31b928",
        30_099_493,
    ),
    (
        "esm2_t6_8M_UR50D-contact-regression.pt",
        "8f7a4557d57713b97ba0e484303007efb7230d25299c0ac47a0a1b12a87bbb9d",
        1_511,
    ),
    (
        "esm2_t12_35M_UR50D.pt",
        "7f21e80e61d16a71735163ef555d3009afb0c98da74c48e29df08606973cc55e",
        134_095_705,
    ),
    (
        "esm2_t12_35M_UR50D-contact-regression.pt",
        "16641e05d830d0ce863dd152dbb8c2f3ddfa3c3ec2a66080152c8abad01d8585",
        1_959,
    ),
    (
        "esm2_t30_150M_UR50D.pt",
        "881c7176cf198ef8dec26a3c375d40eb58d0c33df95c22562ca6cc6d3f812c62",
        592_774_773,
    ),
    (
        "esm2_t30_150M_UR50D-contact-regression.pt",
        "6a604b96722ed052eef8a094ad90b275ba2e987d406315dbed0bdc6b3c4238a7",
        3_431,
    ),
    (
        "esm2_t33_650M_UR50D.pt",
        "ea9d0522b335a8778dea6535a65301f10208dece28cd5865482b0b1fc446168c",
        2_604_537_549,
    ),
    (
        "esm2_t33_650M_UR50D-contact-regression.pt",
        "8ffe6edbd4173dc8d45c2cd5cb27d43aad77ec26b4c768200c58ae1f96693575",
        3_687,
    ),
    (
        "esm2_t36_3B_UR50D.pt",
        "7de8b4082ba15891959ab368b77ce3886697af1efb16d3c9e9e7b0c5d3f07500",
        5_678_116_398,
    ),
    (
        "esm2_t36_3B_UR50D-contact-regression.pt",
        "4da500eab246481dc9c8c95bc7b1d02f2803d761c380b0e95186d4a07d0fc84e",
        6_759,
    ),
];

/// Repository, first digits of the commit, file, sha256, bytes where they are known.
const HUB: [(&str, &str, &str, &str, Option<u64>); 21] = [
    (
        "facebook/esm2_t6_8M_UR50D",
        "c731040f",
        "model.safetensors",
        "24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189",
        Some(31_384_292),
    ),
    (
        "facebook/esm2_t12_35M_UR50D",
        "6fbf070e",
        "model.safetensors",
        "e35647818e0e064351d4531ed480d225a002567b4b2b93ad3a9246d753150fc0",
        None,
    ),
    (
        "facebook/esm2_t30_150M_UR50D",
        "a695f604",
        "model.safetensors",
        "c3f1da8aea53bddd32c246c86168c23b9fd72341fb9db9a94436f855f5053566",
        None,
    ),
    (
        "facebook/esm2_t33_650M_UR50D",
        "08e4846e",
        "model.safetensors",
        "a08adabb949fa67ad3c14b509d04fd60368b35007b0095e3358f81200c4f4db0",
        None,
    ),
    (
        "facebook/esm2_t36_3B_UR50D",
        "476b6399",
        "pytorch_model-00001-of-00002.bin",
        "0f971f11c449d21422aa982b791619c10351972992c735f4c3cd43fe09790412",
        None,
    ),
    (
        "facebook/esm2_t36_3B_UR50D",
        "476b6399",
        "pytorch_model-00002-of-00002.bin",
        "7560b46fc383c691fb74b915b7d4bcef40d3df181447f16ba4b298845e308d0c",
        None,
    ),
    (
        "biohub/ESMC-300M",
        "a59b8317",
        "model.safetensors",
        "0772d8fe64bb25e14fe6f23b80e3c9a7d215d0da3c6cba5bd356d7c0e0bb22cc",
        None,
    ),
    (
        "biohub/ESMC-600M",
        "a7e82012",
        "model.safetensors",
        "e4232c30fd35fe2f57051ec88a703996ac94520580b4b836894207a3d45d9ff8",
        None,
    ),
    (
        "biohub/ESMC-6B",
        "45b0fa5d",
        "model-00001-of-00006.safetensors",
        "bd90149ff223e6ac1a0cac6147a5ae0df20d3a21df4f65356a1f19cd14f4aa8a",
        None,
    ),
    (
        "biohub/ESMC-6B",
        "45b0fa5d",
        "model-00002-of-00006.safetensors",
        "f75e2144d8269fe2eb4b3e0823fb089b94f176d8024153e85b8fb573a42294fa",
        None,
    ),
    (
        "biohub/ESMC-6B",
        "45b0fa5d",
        "model-00003-of-00006.safetensors",
        "f699f01ecc9691d9c6470492765fe54b8b5d2e9f277c139e89427433ffdfe0b2",
        None,
    ),
    (
        "biohub/ESMC-6B",
        "45b0fa5d",
        "model-00004-of-00006.safetensors",
        "46add1b7be098bbfdc3073884851ba3057f1b33ea23a158b650a37007dabd13d",
        None,
    ),
    (
        "biohub/ESMC-6B",
        "45b0fa5d",
        "model-00005-of-00006.safetensors",
        "1e1cb62f060a34e18f54a31a76683ef888b8cec59e73315f5b31d25d45a1f88c",
        None,
    ),
    (
        "biohub/ESMC-6B",
        "45b0fa5d",
        "model-00006-of-00006.safetensors",
        "56c73e13ae96e777ce65eee99364056069ef93b646470f352f83c5f1037b1b18",
        None,
    ),
    (
        "biohub/esmc-300m-2024-12",
        "c309e1f4",
        "data/weights/esmc_300m_2024_12_v0.pth",
        "323dff9fbf3fef297a74f4f18b6528e6f2e599b0bcf72b6927516804015becea",
        Some(1_332_095_738),
    ),
    (
        "airkingbd/dplm_150m",
        "49b7125a",
        "pytorch_model.bin",
        "ea4eaa99536b60ed76f945f71a1a5e604f08447ec3def5104a93ca6001a59961",
        None,
    ),
    (
        "airkingbd/dplm_650m",
        "7a7e651b",
        "pytorch_model.bin",
        "db4e54343a89e7600f41c3aacbc593db1b0caee82ec28cab25ff2ae090eba39c",
        None,
    ),
    (
        "airkingbd/dplm_3b",
        "53849d4a",
        "pytorch_model-00001-of-00004.bin",
        "0bcb86a115fe744ed686756db143f78851304e855e2f83cec58681c6080ced5f",
        None,
    ),
    (
        "airkingbd/dplm_3b",
        "53849d4a",
        "pytorch_model-00002-of-00004.bin",
        "daf3324f3be949e7dd1c3c84b28da7fec5151b1890cb0904e73427266856a06f",
        None,
    ),
    (
        "airkingbd/dplm_3b",
        "53849d4a",
        "pytorch_model-00003-of-00004.bin",
        "dbbeb7924a21059854f994931e23590b054aa000b10370a71c052c4aa36e9246",
        None,
    ),
    (
        "airkingbd/dplm_3b",
        "53849d4a",
        "pytorch_model-00004-of-00004.bin",
        "21c01740d091487db43446489d8a893dea1fcc6f2e1c1991ece13945f7ab4e07",
        None,
    ),
];

/// sha256 and bytes of a fair-esm checkpoint file by its name (`esm2_t33_650M_UR50D.pt`,
/// `…-contact-regression.pt`; 8M to 3B are known).
pub fn published_digest(file_name: &str) -> Option<(&'static str, u64)> {
    FAIR_ESM
        .iter()
        .find(|(name, _, _)| *name == file_name)
        .map(|(_, sha256, bytes)| (*sha256, *bytes))
}

/// sha256 and, where known, bytes of a file of a repository at a commit.
pub fn published_hub_digest(
    repo: &str,
    commit: &str,
    file: &str,
) -> Option<(&'static str, Option<u64>)> {
    HUB.iter()
        .find(|(r, prefix, f, _, _)| *r == repo && commit.starts_with(prefix) && *f == file)
        .map(|(_, _, _, sha256, bytes)| (*sha256, *bytes))
}

/// Checks a local file against a published sha256 and length.
///
/// # Errors
/// [`HubError::Digest`] with expected and found, or [`HubError::Io`].
pub fn verify_file(path: &Path, sha256: &str, bytes: Option<u64>) -> Result<(), HubError> {
    let (found, found_bytes) = sha256_file(path).map_err(HubError::io("read", path))?;
    match mismatch((sha256, bytes), (&found, found_bytes)) {
        None => Ok(()),
        Some((expected, found)) => Err(HubError::Digest {
            file: path.display().to_string(),
            source_of_truth: "the digest published for a file of this name",
            expected,
            found,
            consequence: "copy or download it again, or rename it if it was changed on purpose",
        }),
    }
}

/// Expected and found, in words, if they differ: the length first, as it is easier to understand.
pub(super) fn mismatch(
    (sha256, bytes): (&str, Option<u64>),
    (found, found_bytes): (&str, u64),
) -> Option<(String, String)> {
    match bytes {
        Some(bytes) if bytes != found_bytes => {
            Some((count(bytes, "byte"), count(found_bytes, "byte")))
        }
        _ if !sha256.eq_ignore_ascii_case(found) => {
            Some((format!("sha256 {sha256}"), format!("sha256 {found}")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256::is_sha256;

    #[test]
    fn a_file_is_held_against_a_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify_file(&path, sha256, Some(3)).unwrap();
        let wrong = verify_file(&path, sha256, Some(4)).unwrap_err().to_string();
        assert!(wrong.contains("expected 4 bytes, found 3 bytes"), "{wrong}");
        let other = "0".repeat(64);
        let wrong = verify_file(&path, &other, None).unwrap_err().to_string();
        assert!(wrong.contains(&other) && wrong.contains(sha256), "{wrong}");
    }

    #[test]
    fn every_published_digest_is_a_sha256() {
        for (_, sha256, _) in FAIR_ESM {
            assert!(is_sha256(sha256));
        }
        for (.., sha256, _) in HUB {
            assert!(is_sha256(sha256));
        }
        assert!(published_digest("esm2_t33_650M_UR50D.pt").is_some_and(|d| d.1 == 2_604_537_549));
        assert_eq!(published_digest("model.safetensors"), None);
    }

    #[test]
    fn a_digest_of_the_hub_belongs_to_its_commit() {
        let digest =
            |commit| published_hub_digest("facebook/esm2_t6_8M_UR50D", commit, "model.safetensors");
        assert_eq!(
            digest("c731040f0000000000000000000000000000000a").map(|d| d.1),
            Some(Some(31_384_292))
        );
        assert_eq!(digest("c731040e0000000000000000000000000000000a"), None);
    }
}
