//! Adapters (LoRA and others): small trained differences to a base model.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::printable;

/// PEFT's name of each method, and its usual name.
const METHODS: [(&str, &str); 24] = [
    ("LORA", "LoRA"),
    ("ADALORA", "AdaLoRA"),
    ("XLORA", "X-LoRA"),
    ("RANDLORA", "RandLoRA"),
    ("DELORA", "DeLoRA"),
    ("IA3", "IA3"),
    ("LOHA", "LoHa"),
    ("LOKR", "LoKr"),
    ("VERA", "VeRA"),
    ("VBLORA", "VB-LoRA"),
    ("OFT", "OFT"),
    ("BOFT", "BOFT"),
    ("HRA", "HRA"),
    ("POLY", "Poly"),
    ("LN_TUNING", "LayerNorm tuning"),
    ("FOURIERFT", "FourierFT"),
    ("BONE", "Bone"),
    ("MISS", "MiSS"),
    ("SHIRA", "SHiRA"),
    ("C3A", "C3A"),
    ("PROMPT_TUNING", "prompt tuning"),
    ("MULTITASK_PROMPT_TUNING", "multitask prompt tuning"),
    ("PREFIX_TUNING", "prefix tuning"),
    ("P_TUNING", "P-tuning"),
];

/// Parts of a tensor's name that only adapters have.
const PARTS: [&str; 9] = [
    "base_layer",
    "ia3_l",
    "lora_a",
    "lora_b",
    "lora_e",
    "lora_magnitude_vector",
    "prompt_encoder",
    "prompt_embeddings",
    "soft_prompt",
];
/// Beginnings of such parts.
const STARTS: [&str; 17] = [
    "lora_embedding_",
    "lora_down",
    "lora_up",
    "hada_w",
    "lokr_w",
    "lokr_t",
    "vera_lambda",
    "vera_a",
    "vera_b",
    "oft_",
    "boft_",
    "hra_u",
    "vblora_",
    "fourierft_",
    "randlora_",
    "shira_",
    "trainable_tokens_",
];

/// What is known of an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapter {
    /// Its method, such as `LoRA`; nothing where its configuration does not say.
    pub method: Option<String>,
    /// The model that it changes, as its configuration names it.
    pub base: Option<String>,
    /// Its folder.
    pub folder: PathBuf,
    /// The commit of the base that it was trained on, if its configuration gives one.
    pub revision: Option<String>,
    /// PEFT's name of the task that it was trained for.
    task: Option<String>,
    /// Whether PEFT can multiply it into the weights; prompts cannot be.
    can_be_merged: bool,
    /// Whether it belongs to PEFT.
    is_peft: bool,
}

/// `adapter_config.json`.
#[derive(Deserialize)]
pub(super) struct AdapterConfig {
    peft_type: Option<Value>,
    base_model_name_or_path: Option<Value>,
    model_name: Option<Value>,
    task_type: Option<Value>,
    revision: Option<Value>,
    #[serde(default)]
    config: Value,
}

impl Adapter {
    /// An adapter without a configuration.
    pub(crate) fn unknown(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            can_be_merged: true,
            is_peft: true,
            ..Self::default()
        }
    }

    /// The adapter that a configuration describes.
    pub(super) fn new(config: AdapterConfig, folder: &Path) -> Self {
        let text = |value: &Option<Value>| {
            let text = value.as_ref()?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let peft = text(&config.peft_type);
        let method = peft.as_ref().map(|name| {
            let known = METHODS
                .iter()
                .find(|(peft, _)| peft.eq_ignore_ascii_case(name));
            known.map_or_else(|| name.clone(), |(_, method)| (*method).to_owned())
        });
        let named = config.config.get("architecture").and_then(Value::as_str);
        let is_prompt = peft.as_ref().is_some_and(|name| {
            let name = name.to_ascii_uppercase();
            name.contains("PROMPT") || name.contains("PREFIX") || name == "P_TUNING"
        });
        Self {
            is_peft: peft.is_some() || config.config.is_null(),
            method: method.or_else(|| named.map(str::to_owned)),
            base: text(&config.base_model_name_or_path).or_else(|| text(&config.model_name)),
            folder: folder.to_path_buf(),
            revision: text(&config.revision),
            task: text(&config.task_type),
            can_be_merged: !is_prompt,
        }
    }

    /// Whether it is LoRA of PEFT, which can be applied when its base is loaded.
    pub fn is_lora(&self) -> bool {
        self.is_peft && self.method.as_deref() == Some("LoRA")
    }

    /// `a PEFT adapter (LoRA)`.
    pub fn kind(&self) -> String {
        let library = if self.is_peft { "PEFT " } else { "" };
        let article = if self.is_peft { "a" } else { "an" };
        match &self.method {
            Some(method) => format!("{article} {library}adapter ({})", printable::name(method)),
            None => format!("{article} {library}adapter"),
        }
    }

    /// The model that it changes, in words if its name is not known.
    pub fn base_or_unknown(&self) -> &str {
        self.base
            .as_deref()
            .unwrap_or("a model that it does not name")
    }

    /// What to do, as a hint: Python that makes a complete model of it.
    pub fn remedy(&self) -> String {
        let base = self.base.as_deref().unwrap_or("BASE_MODEL");
        let base = printable::name(base);
        let folder = self.folder.display();
        let class = match self.task.as_deref() {
            Some("SEQ_CLS") => "AutoModelForSequenceClassification",
            Some("TOKEN_CLS") => "AutoModelForTokenClassification",
            Some("FEATURE_EXTRACTION") => "AutoModel",
            _ => "AutoModelForMaskedLM",
        };
        let load = format!("{class}.from_pretrained(\"{base}\")");
        if !self.is_peft {
            return format!(
                "merge it into its base model in Python and use the folder `merged`: `import \
                 adapters; from transformers import {class}; model = {load}; adapters.init(model); \
                 name = model.load_adapter(\"{folder}\"); model.merge_adapter(name); \
                 model.save_pretrained(\"merged\")`"
            );
        }
        let import = format!("from peft import PeftModel; from transformers import {class}");
        let load = format!("PeftModel.from_pretrained({load}, \"{folder}\")");
        if !self.can_be_merged {
            return format!(
                "a prompt cannot be merged into the weights: use the base model to embed without it, \
                 or compute these embeddings in Python: `{import}; model = {load}`"
            );
        }
        format!(
            "merge it into its base model in Python and use the folder `merged`: `{import}; \
             {load}.merge_and_unload().save_pretrained(\"merged\")`"
        )
    }

    /// What to do with it where a complete model is needed, as a hint.
    pub fn hint(&self) -> String {
        if !self.is_lora() {
            return self.remedy();
        }
        let base = self.base.as_deref().unwrap_or("BASE_MODEL");
        format!(
            "use `adapter={}` with its base as the model: `model={}`",
            self.folder.display(),
            printable::name(base)
        )
    }

    /// A warning about an adapter beside complete weights.
    pub(super) fn warning(&self, file: &Path) -> String {
        format!(
            "{}: {} is beside complete weights and is not applied: the embeddings are those of the \
             weights without it\nhint: {}",
            file.display(),
            self.kind(),
            match self.is_lora() {
                true => format!("to apply it, use `adapter={}`", self.folder.display()),
                false => self.remedy(),
            }
        )
    }
}

/// Whether a tensor's name is one that only adapters have.
pub(super) fn is_adapter_tensor(name: &str) -> bool {
    name.split('.').any(|part| {
        let part = part.to_ascii_lowercase();
        PARTS.contains(&part.as_str()) || STARTS.iter().any(|start| part.starts_with(start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(json: &str) -> Adapter {
        let config = serde_json::from_str(json).unwrap();
        Adapter::new(config, Path::new("ADAPTER"))
    }

    #[test]
    fn every_method_of_peft_has_a_name_and_python_to_run() {
        for (peft, name) in METHODS {
            let adapter = adapter(&format!(
                r#"{{"peft_type": "{peft}", "base_model_name_or_path": "facebook/esm2_t6_8M_UR50D"}}"#
            ));
            assert_eq!(adapter.kind(), format!("a PEFT adapter ({name})"));
            assert_eq!(adapter.base_or_unknown(), "facebook/esm2_t6_8M_UR50D");
            let remedy = adapter.remedy();
            assert!(
                remedy.contains("`from peft import PeftModel; from "),
                "{remedy}"
            );
            assert_eq!(
                remedy.contains("save_pretrained"),
                !name.contains("prompt") && !name.contains("prefix") && name != "P-tuning",
                "{remedy}"
            );
        }
        assert_eq!(
            adapter(r#"{"peft_type": "NEW"}"#).kind(),
            "a PEFT adapter (NEW)"
        );
        assert_eq!(adapter("{}").kind(), "a PEFT adapter");
    }

    #[test]
    fn the_task_selects_the_class_of_the_base_model() {
        let adapter = adapter(r#"{"peft_type": "LORA", "task_type": "SEQ_CLS"}"#);
        let remedy = adapter.remedy();
        assert!(
            remedy.contains(
                "`from peft import PeftModel; from transformers import \
                 AutoModelForSequenceClassification; PeftModel.from_pretrained(\
                 AutoModelForSequenceClassification.from_pretrained(\"BASE_MODEL\"), \
                 \"ADAPTER\").merge_and_unload().save_pretrained(\"merged\")`"
            ),
            "{remedy}"
        );
    }

    #[test]
    fn the_adapters_library_is_another_one() {
        let adapter = adapter(
            r#"{"config": {"architecture": "union"}, "model_name": "facebook/esm2_t6_8M_UR50D"}"#,
        );
        assert_eq!(adapter.kind(), "an adapter (union)");
        assert!(adapter.remedy().contains("`import adapters; "));
    }

    #[test]
    fn tensors_of_adapters_are_recognised_by_their_names() {
        for name in [
            "base_model.model.esm.encoder.layer.0.attention.self.key.lora_A.weight",
            "esm.encoder.layer.0.attention.self.value.lora_B",
            "esm.encoder.layer.0.attention.self.query.base_layer.weight",
            "esm.encoder.layer.0.attention.self.query.lora_magnitude_vector.default.weight",
            "layers.0.fc1.ia3_l.default",
            "x.hada_w1_a.default",
            "x.lokr_w2",
            "x.vera_lambda_b",
            "base_model.vera_A.default",
            "prompt_encoder.default.embedding.weight",
            "esm.embeddings.word_embeddings.lora_embedding_A.default",
        ] {
            assert!(is_adapter_tensor(name), "{name}");
        }
        for name in [
            "esm.encoder.layer.0.attention.self.key.weight",
            "classifier.dense.weight",
            "layers.0.self_attn.rot_emb.inv_freq",
        ] {
            assert!(!is_adapter_tensor(name), "{name}");
        }
    }
}
