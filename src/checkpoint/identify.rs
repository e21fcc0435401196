//! What a checkpoint is: how its weights are named, its alphabet, its architecture.

use super::alphabet::{self, Claims, Proven};
use super::config::{ALPHABET_SIZE, contradiction};
use super::esm_c::EsmCConfig;
use super::fair_esm::Settings;
use super::hf_config::{HfConfig, TokenIds};
use super::locate::Located;
use super::names::{self, Names};
use super::tensors::TensorSet;
use super::{
    Adapter, CheckpointError, EMBEDDING, EsmConfig, Naming, POSITIONS, Positions, adapter, foreign,
    replaced, resolve,
};
use crate::tokenizer::Alphabet;
use std::path::Path;

/// Tokens of the Nucleotide Transformers, which call themselves ESM: the 4,096 words of six nucleotides and a few
/// others.
const NUCLEOTIDE_TRANSFORMERS: [usize; 2] = [4105, 4107];

/// Naming and prefix of the encoder, or which other model the file holds.
pub(super) fn detect(
    located: &Located,
    tensors: &TensorSet,
    settings: Option<&Settings>,
    main: &Path,
) -> Result<Names, CheckpointError> {
    let unsupported = |path: &Path, found: String| CheckpointError::Unsupported {
        path: path.to_path_buf(),
        found,
    };
    let other = settings.and_then(Settings::unsupported);
    if let Some(other) = other.or_else(|| names::unsupported(tensors)) {
        return Err(unsupported(main, other.into()));
    }
    let other = || {
        let path = located.config.as_ref()?;
        Some(unsupported(path, foreign::other_model(path)?))
    };
    let is_esm_c = || {
        located
            .config
            .as_deref()
            .is_some_and(foreign::describes_esm_c)
    };
    match Names::detect(tensors) {
        // A configuration beside a fair-esm file does not belong to it.
        Ok(names) if names.naming == Naming::NeMo => Ok(names),
        Ok(names) if names.naming == Naming::FairEsm && !is_esm_c() => Ok(names),
        // Its configuration is checked where it is read.
        Ok(names) if names.naming.is_esm_c() => Ok(names),
        // Without its blocks it is a damaged ESM C, and is called that.
        _ if is_esm_c() => Ok(Names::esm_c(tensors)),
        Ok(names) => other().map_or(Ok(names), Err),
        Err(_) if tensors.names().any(adapter::is_adapter_tensor) => {
            Err(CheckpointError::Adapter {
                path: main.to_path_buf(),
                adapter: Box::new(Adapter::unknown(main)),
            })
        }
        Err(found) => Err(other().unwrap_or_else(|| CheckpointError::NotWeights {
            path: main.to_path_buf(),
            found,
            remedy: "use the weights of an ESM-2, ESM-1b, ESM-1v or ESM C model".into(),
        })),
    }
}

/// `config.json` beside the weights.
pub(super) fn read_config(located: &Located, main: &Path) -> Result<HfConfig, CheckpointError> {
    let Some(path) = &located.config else {
        return Err(CheckpointError::NotWeights {
            path: main.to_path_buf(),
            found: "has no config.json beside it".into(),
            remedy: "put the config.json of the same repository beside the weights".into(),
        });
    };
    HfConfig::read(path)
}

/// Proves the alphabet of the embedding's rows.
pub(super) fn prove_alphabet(
    located: &Located,
    tensors: &TensorSet,
    names: &Names,
    hf: Option<&HfConfig>,
    esm_c: Option<&EsmCConfig>,
    carried: Option<String>,
    main: &Path,
) -> Result<Proven, CheckpointError> {
    let tensor = names.first(EMBEDDING);
    let embedding = tensors.get(&tensor);
    if embedding.is_none() && names.naming.is_esm_c() {
        return Err(CheckpointError::MissingTensor {
            of: names.naming.model(),
            path: tensors.home(&tensor).to_path_buf(),
            tensor,
        });
    }
    let rows = embedding.and_then(|tensor| tensor.shape.first().copied());
    let rows = rows.unwrap_or(0);
    if NUCLEOTIDE_TRANSFORMERS.contains(&rows) && names.naming == Naming::HuggingFace {
        return Err(CheckpointError::Unsupported {
            path: main.to_path_buf(),
            found: format!("the Nucleotide Transformer ({rows} tokens of DNA)"),
        });
    }
    if embedding.is_some_and(|tensor| tensor.shape.contains(&0)) {
        return Err(replaced::emptied(main.to_path_buf()));
    }
    let alphabet = match names.naming {
        naming if naming.is_esm_c() => Alphabet::EsmC,
        _ if alphabet::is_structure_aware(located) => Alphabet::SaProt,
        _ => Alphabet::Esm,
    };
    let tokens = match names.naming {
        // BioNeMo pads the embedding, and its configuration has no number of tokens.
        Naming::NeMo => rows.min(ALPHABET_SIZE),
        _ => hf.map_or(rows, |hf| hf.tokens(rows)),
    };
    let beside = || match (hf, &located.config) {
        (None, Some(path)) if !names.naming.is_esm_c() => {
            HfConfig::beside_fair_esm(path, rows, alphabet)
        }
        _ => None,
    };
    let ids = hf.map(HfConfig::ids).or(esm_c.map(|config| &config.tokens));
    let claims = Claims {
        path: main,
        alphabet,
        tokens,
        is_padded: tokens < rows,
        is_esm2nv: names.naming == Naming::NeMo,
        against: ids
            .and_then(|ids| ids.against(alphabet))
            .or_else(beside)
            .or_else(|| carried.map(|found| format!("in the alphabet that it carries, {found}"))),
        contrary: ids.and_then(TokenIds::contrary),
        listed: hf.and_then(HfConfig::vocab_list),
    };
    alphabet::prove(located, &claims)
}

/// The architecture by `config.json`, checked against the tensors.
pub(super) fn hf_config(
    hf: &HfConfig,
    path: &Path,
    tensors: &TensorSet,
    names: &Names,
    main: &Path,
) -> Result<EsmConfig, CheckpointError> {
    let rows = |weight: &str| {
        let tensor = tensors.get(&names.first(weight))?;
        tensor.shape.first().copied()
    };
    let config = hf.esm_config(path, rows(EMBEDDING).unwrap_or(0), rows(POSITIONS))?;
    let layers = names.layers(tensors);
    if let Some(last) = layers.checked_sub(1).filter(|last| *last >= config.layers) {
        let found = format!(
            "num_hidden_layers is {}, but {} holds a layer number {last}",
            config.layers,
            main.display()
        );
        return Err(contradiction(path, found));
    }
    let has = |weight: &str| {
        names
            .places(weight)
            .iter()
            .any(|place| tensors.get(&place.tensor).is_some())
    };
    if config.positions != Positions::Rotary && has(&resolve::inv_freq_name(0)) {
        let found =
            "position_embedding_type is not \"rotary\", but the weights hold rotary frequencies";
        return Err(contradiction(path, found));
    }
    if !config.emb_layer_norm_before && has("emb_layer_norm_before.weight") {
        let found = "emb_layer_norm_before is not true, but the weights hold that LayerNorm";
        return Err(contradiction(path, found));
    }
    Ok(config)
}
