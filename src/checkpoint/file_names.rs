//! The names of the files that a checkpoint consists of.

/// The architecture; every checkpoint of Hugging Face has it.
pub(crate) const CONFIG: &str = "config.json";
/// The alphabet; some repositories leave it out.
pub(crate) const VOCABULARY: &str = "vocab.txt";
/// The alphabet where there is no `vocab.txt`.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Tokens that were added to the alphabet.
pub(crate) const ADDED_TOKENS: &str = "added_tokens.json";
/// Tokens that were added to the alphabet, and its special tokens.
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The special tokens.
pub(crate) const SPECIAL_TOKENS: &str = "special_tokens_map.json";
/// The tokens of tokenizers of other kinds.
pub(crate) const VOCABULARY_JSON: &str = "vocab.json";
/// The configuration of an adapter.
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";
/// The weights of a LoRA adapter; the first that exists is used.
pub(crate) const LORA_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// The weights of an adapter: PEFT's, then those of the adapters library.
pub(crate) const ADAPTER_WEIGHTS: [&str; 5] = [
    LORA_WEIGHTS[0],
    LORA_WEIGHTS[1],
    "adapter_model.pt",
    "pytorch_adapter.bin",
    "adapter.safetensors",
];

/// The weights in one file, and the index of their shards. The first that exists is used: safetensors
/// before pickles, one file before shards, as in the transformers library.
pub(crate) const WEIGHTS: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// Where the repositories of EvolutionaryScale's SDK keep the `.pth` of ESM C.
pub(crate) const SDK_WEIGHTS: &str = "data/weights";

/// Whether a file of this name belongs to an adapter.
pub(crate) fn is_adapter(name: &str) -> bool {
    name == ADAPTER_CONFIG || ADAPTER_WEIGHTS.contains(&name)
}
