//! `adapter_config.json` of a LoRA adapter, with PEFT's meaning of its settings.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::checkpoint::adapter::Adapter;
use crate::checkpoint::config::contradiction;
use crate::checkpoint::error::CheckpointError;
use crate::numerals::grouped;
use crate::printable;

/// Highest rank that is read: the factors of a weight are held as `f32` while it is loaded.
pub(super) const MOST_RANK: usize = 1 << 14;

/// Most entries of a pattern.
const MOST_PATTERNS: usize = 10_000;
/// Most of them that are regular expressions, and the most memory of one: each takes time to compile.
const MOST_EXPRESSIONS: usize = 1_000;
const MOST_OF_EXPRESSION: usize = 1 << 18;

/// Settings that, unless they are off, make another method of it: its name.
const OTHER_METHODS: [(&str, &str); 12] = [
    ("use_dora", "DoRA"),
    ("use_qalora", "QALoRA"),
    ("use_bdlora", "BD-LoRA"),
    ("alora_invocation_tokens", "activated LoRA (aLoRA)"),
    ("arrow_config", "Arrow routing"),
    ("kasa_config", "KaSA"),
    ("monteclora_config", "MonteCLoRA"),
    ("velora_config", "VeLoRA"),
    (
        "lora_ga_config",
        "LoRA-GA, which changes the weights of the base",
    ),
    ("layer_replication", "LoRA with replicated layers"),
    ("target_parameters", "LoRA of single parameters"),
    ("trainable_token_indices", "LoRA with trained tokens"),
];

/// Values of `init_lora_weights` that leave the weights of the base as they are.
const HARMLESS_STARTS: [&str; 3] = ["eva", "gaussian", "orthogonal"];

/// Settings without a meaning for the merged weights.
const WITHOUT_MEANING: [&str; 20] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_bias",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// What scales the product of the two matrices, and which modules have them.
///
/// `fan_in_fan_out` has no meaning for ESM: PEFT turns it off for linear layers. What `bias`,
/// `lora_bias` and `modules_to_save` trained is in the file of weights under its names.
#[derive(Debug, Deserialize)]
pub(super) struct LoraConfig {
    #[serde(default = "eight")]
    r: usize,
    #[serde(default = "eight_float")]
    lora_alpha: f64,
    #[serde(default, deserialize_with = "or_default")]
    use_rslora: bool,
    #[serde(default, deserialize_with = "patterns")]
    rank_pattern: Patterns<usize>,
    #[serde(default, deserialize_with = "patterns")]
    alpha_pattern: Patterns<f64>,
    target_modules: Option<Modules>,
    exclude_modules: Option<Modules>,
    #[serde(default, deserialize_with = "or_default")]
    modules_to_save: Vec<String>,
    layers_to_transform: Option<Layers>,
    layers_pattern: Option<Modules>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Names of modules, or a regular expression of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Modules {
    Pattern(Expression),
    Names(Vec<String>),
}

/// A regular expression that all of a name must match, as in Python's `re.fullmatch`. It is compiled once, when
/// it is first used.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct Expression {
    text: String,
    regex: OnceLock<Option<Regex>>,
}

impl From<String> for Expression {
    fn from(text: String) -> Self {
        let regex = OnceLock::new();
        Self { text, regex }
    }
}

impl Expression {
    /// None for an expression that this program cannot read.
    fn matches(&self, module: &str) -> Option<bool> {
        // Names of modules are ASCII, and classes of Unicode are large.
        let compiled = || {
            let mut regex = RegexBuilder::new(&format!("^(?:{})$", self.text));
            regex.unicode(false).size_limit(MOST_OF_EXPRESSION);
            regex.build().ok()
        };
        let regex = self.regex.get_or_init(compiled).as_ref()?;
        Some(regex.is_match(module.as_bytes()))
    }
}

/// Values by patterns of the ends of names, in the order of the file: the first that matches counts.
type Patterns<T> = Vec<(Pattern, T)>;

/// What the end of a module's name must be.
#[derive(Debug)]
enum Pattern {
    Plain(String),
    Expression { text: String, regex: Expression },
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        match text.chars().all(is_plain) {
            true => Pattern::Plain(text),
            false => Pattern::Expression {
                regex: format!(r"(?:.*\.)?(?:{text})").into(),
                text,
            },
        }
    }
}

fn patterns<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Patterns<T>, D::Error> {
    let all = Option::<InOrder<T>>::deserialize(deserializer)?;
    Ok(all.map(|InOrder(all)| all).unwrap_or_default())
}

/// An object of JSON whose entries keep their order.
struct InOrder<T>(Patterns<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of patterns")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder<T>, A::Error> {
                let mut all = Vec::new();
                while let Some((text, value)) = map.next_entry::<String, T>()? {
                    all.push((text.into(), value));
                }
                Ok(InOrder(all))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Layers {
    One(usize),
    Several(Vec<usize>),
}

fn eight() -> usize {
    8
}

fn eight_float() -> f64 {
    8.0
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl LoraConfig {
    /// Refuses other methods by name.
    pub(super) fn check(&self, path: &Path, adapter: &Adapter) -> Result<(), CheckpointError> {
        let other = |why: String| CheckpointError::OtherAdapter {
            path: path.to_path_buf(),
            adapter: Box::new(adapter.clone()),
            why,
        };
        for (setting, method) in OTHER_METHODS {
            if self.others.get(setting).is_some_and(is_on) {
                return Err(other(format!("its {setting} makes it {method}")));
            }
        }
        let harmless = |start: &str| {
            let start = start.to_ascii_lowercase();
            HARMLESS_STARTS.contains(&start.as_str())
        };
        if let Some(Value::String(start)) = self.others.get("init_lora_weights")
            && !harmless(start)
        {
            let start = printable::name(start);
            return Err(other(format!(
                "its init_lora_weights is \"{start}\", which changes the weights of the base"
            )));
        }
        let patterns = || {
            let of_rank = self.rank_pattern.iter().map(|(pattern, _)| pattern);
            of_rank.chain(self.alpha_pattern.iter().map(|(pattern, _)| pattern))
        };
        let is_expression = |pattern: &&Pattern| matches!(pattern, Pattern::Expression { .. });
        for (count, most, what) in [
            (patterns().count(), MOST_PATTERNS, "entries"),
            (
                patterns().filter(is_expression).count(),
                MOST_EXPRESSIONS,
                "regular expressions",
            ),
        ] {
            if count > most {
                let most = grouped(most as u64);
                let found = format!("rank_pattern and alpha_pattern have more than {most} {what}");
                return Err(contradiction(path, found));
            }
        }
        let alphas = self.alpha_pattern.iter().map(|(_, alpha)| alpha);
        let alphas = alphas.chain([&self.lora_alpha]);
        if let Some(alpha) = alphas.copied().find(|alpha| !alpha.is_finite()) {
            return Err(contradiction(path, format!("lora_alpha is {alpha}")));
        }
        Ok(())
    }

    /// Settings that are on and that this program does not know.
    pub(super) fn unknown(&self) -> Vec<&str> {
        let others = self.others.iter();
        let is_known = |name: &str| {
            WITHOUT_MEANING.contains(&name) || OTHER_METHODS.iter().any(|(known, _)| *known == name)
        };
        others
            .filter(|(name, value)| is_on(value) && !is_known(name))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The rank of a module.
    ///
    /// # Errors
    /// A pattern that is not a regular expression, as the end of a sentence.
    pub(super) fn rank(&self, module: &str) -> Result<usize, String> {
        Ok(*first(&self.rank_pattern, module)?.unwrap_or(&self.r))
    }

    /// The factor of the product of the matrices of a module: α / r, or α / √r.
    ///
    /// # Errors
    /// As [`LoraConfig::rank`].
    pub(super) fn scale(&self, module: &str, rank: usize) -> Result<f32, String> {
        let alpha = first(&self.alpha_pattern, module)?.unwrap_or(&self.lora_alpha);
        let rank = rank as f64;
        Ok(match self.use_rslora {
            true => (alpha / rank.sqrt()) as f32,
            false => (alpha / rank) as f32,
        })
    }

    /// Whether a linear layer of the encoder is one that was trained; None where that is unknown.
    pub(super) fn targets(&self, module: &str) -> Option<bool> {
        let is_saved = |saved: &String| module.split('.').any(|part| part == saved);
        if self.modules_to_save.iter().any(is_saved) {
            return Some(false);
        }
        match &self.exclude_modules {
            Some(Modules::Names(names)) if ends_in(module, names) => return Some(false),
            Some(Modules::Pattern(pattern)) if pattern.matches(module)? => return Some(false),
            _ => {}
        }
        match self.target_modules.as_ref()? {
            Modules::Pattern(all) if all.text.eq_ignore_ascii_case("all-linear") => Some(true),
            Modules::Pattern(pattern) => pattern.matches(module),
            Modules::Names(names) if names.iter().any(|name| name == module) => Some(true),
            Modules::Names(names) if ends_in(module, names) => self.transforms(module),
            Modules::Names(_) => Some(false),
        }
    }

    /// Whether the module's layer is among `layers_to_transform`.
    fn transforms(&self, module: &str) -> Option<bool> {
        let is_one = |layer: usize| match &self.layers_to_transform {
            Some(Layers::One(one)) => *one == layer,
            Some(Layers::Several(several)) if !several.is_empty() => several.contains(&layer),
            _ => true,
        };
        match &self.layers_pattern {
            Some(Modules::Pattern(pattern)) if !pattern.text.is_empty() => return None,
            Some(Modules::Names(names)) if !names.is_empty() => return None,
            _ => {}
        }
        // The first number that another part precedes.
        let mut parts = module.split('.').skip(1);
        let layer = parts.find_map(|part| part.parse().ok());
        Some(layer.is_some_and(is_one) || self.layers_to_transform.is_none())
    }
}

/// Whether a setting is on.
fn is_on(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// PEFT's `key in names or key.endswith("." + name)`.
fn ends_in(module: &str, names: &[String]) -> bool {
    names.iter().any(|name| is_end(module, name))
}

fn is_end(module: &str, name: &str) -> bool {
    let before = module.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The same for a pattern of plain characters, in which a dot is any character, as in an expression.
fn is_pattern_end(module: &str, pattern: &str) -> bool {
    let start = module.len().checked_sub(pattern.len());
    let parts = start.and_then(|start| module.as_bytes().split_at_checked(start));
    parts.is_some_and(|(before, end)| {
        let mut pairs = end.iter().zip(pattern.bytes());
        matches!(before.last(), None | Some(b'.')) && pairs.all(|(&byte, p)| byte == p || p == b'.')
    })
}

/// The value of the first pattern that the end of a module's name matches.
fn first<'a, T>(patterns: &'a Patterns<T>, module: &str) -> Result<Option<&'a T>, String> {
    for (pattern, value) in patterns {
        let is_match = match pattern {
            Pattern::Plain(end) => is_pattern_end(module, end),
            Pattern::Expression { text, regex } => regex.matches(module).ok_or_else(|| {
                let text = printable::name(text);
                format!("the pattern `{text}` is not a regular expression that can be read")
            })?,
        };
        if is_match {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "esm.encoder.layer.1.attention.self.query";

    fn config(json: &str) -> LoraConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_scale_is_alpha_by_rank() {
        let plain = config(r#"{"r": 4, "lora_alpha": 16, "rank_pattern": null}"#);
        assert_eq!(plain.rank(QUERY), Ok(4));
        assert_eq!(plain.scale(QUERY, 4), Ok(4.0));
        let stable = config(r#"{"lora_alpha": 16, "use_rslora": true}"#);
        assert_eq!(stable.rank(QUERY), Ok(8));
        assert_eq!(stable.scale(QUERY, 4), Ok(8.0));
    }

    #[test]
    fn patterns_are_ends_of_names_or_regular_expressions() {
        let config = config(
            r#"{"r": 4, "lora_alpha": 16, "rank_pattern": {"self.query": 2, "uery": 3},
            "alpha_pattern": {"layer\\.[12]\\..*": 2, "layer.9": 1}}"#,
        );
        assert_eq!(config.rank(QUERY), Ok(2));
        assert_eq!(config.rank("esm.encoder.layer.1.attention.self.key"), Ok(4));
        assert_eq!(config.scale(QUERY, 2), Ok(1.0));
        assert_eq!(config.scale("esm.encoder.layer.3.output.dense", 4), Ok(4.0));
        let dots = r#"{"r": 4, "rank_pattern": {"self.que.y": 2, "elf.query": 3}}"#;
        assert_eq!(super::tests::config(dots).rank(QUERY), Ok(2));
        // Of two that match, the first of the file counts.
        let both = r#"{"r": 4, "rank_pattern": {"query": 2, "layer\\.1\\..*": 3}}"#;
        assert_eq!(super::tests::config(both).rank(QUERY), Ok(2));
        let wrong = super::tests::config(r#"{"alpha_pattern": {"(": 2}}"#);
        assert_eq!(
            wrong.scale(QUERY, 2).unwrap_err(),
            "the pattern `(` is not a regular expression that can be read"
        );
    }

    #[test]
    fn patterns_of_any_number_and_size_take_no_time() {
        let adapter = Adapter::unknown(Path::new("A"));
        let with = |count: usize, pattern: &str| {
            let all = (0..count).map(|i| format!(r#""{pattern}{i}": 2"#));
            let all = all.collect::<Vec<_>>().join(",");
            config(&format!(r#"{{"alpha_pattern": {{{all}}}}}"#))
        };
        let most = with(1_000, r"(\\w{30}x){3}");
        most.check(Path::new("A"), &adapter).unwrap();
        // Compiled again for each name, they would take minutes.
        for layer in 0..1_000 {
            let module = format!("esm.encoder.layer.{layer}.attention.self.query");
            assert_eq!(most.scale(&module, 8), Ok(1.0));
        }
        let large = with(1, r"((\\w{1000}){1000}){1000}");
        assert!(large.scale(QUERY, 8).is_err());
        for (config, says) in [
            (with(1_001, "[a]"), "more than 1,000 regular expressions"),
            (with(10_001, "a"), "more than 10,000 entries"),
        ] {
            let found = config
                .check(Path::new("A"), &adapter)
                .unwrap_err()
                .to_string();
            assert!(found.contains(says), "{found}");
        }
    }

    #[test]
    fn which_modules_are_trained() {
        let dense = "esm.encoder.layer.0.output.dense";
        for (json, query, other) in [
            (
                r#"{"target_modules": ["query", "value"]}"#,
                Some(true),
                Some(false),
            ),
            (
                r#"{"target_modules": "all-linear"}"#,
                Some(true),
                Some(true),
            ),
            (
                r#"{"target_modules": ".*\\.query"}"#,
                Some(true),
                Some(false),
            ),
            (r#"{"target_modules": "(?=x)"}"#, None, None),
            (
                r#"{"target_modules": ["query", "dense"], "exclude_modules": ["output.dense"]}"#,
                Some(true),
                Some(false),
            ),
            (
                r#"{"target_modules": ["query", "dense"], "layers_to_transform": 0}"#,
                Some(false),
                Some(true),
            ),
            (
                r#"{"target_modules": ["query", "dense"], "layers_to_transform": [1]}"#,
                Some(true),
                Some(false),
            ),
            (
                r#"{"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": "layer"}"#,
                None,
                Some(false),
            ),
            (
                r#"{"target_modules": ["query"], "modules_to_save": ["self"]}"#,
                Some(false),
                Some(false),
            ),
            ("{}", None, None),
        ] {
            let config = config(json);
            assert_eq!(
                (config.targets(QUERY), config.targets(dense)),
                (query, other),
                "{json}"
            );
        }
    }

    #[test]
    fn other_methods_are_refused_by_name() {
        let adapter = Adapter::unknown(Path::new("A"));
        let check = |json: &str| {
            let found = config(json).check(Path::new("A"), &adapter);
            found.map_err(|error| {
                error
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
        };
        for (json, why) in [
            (r#"{"use_dora": true}"#, "its use_dora makes it DoRA"),
            (
                r#"{"layer_replication": [[0, 1]]}"#,
                "its layer_replication makes it LoRA with replicated layers",
            ),
            (
                r#"{"init_lora_weights": "pissa_niter_4"}"#,
                "its init_lora_weights is \"pissa_niter_4\", which changes the weights of the base",
            ),
        ] {
            let found = check(json).unwrap_err();
            assert!(found.ends_with(why), "{found}");
        }
        for json in [
            "{}",
            r#"{"use_dora": false, "loftq_config": {}, "init_lora_weights": true, "arrow_config": null}"#,
            r#"{"init_lora_weights": "gaussian"}"#,
        ] {
            assert_eq!(check(json), Ok(()), "{json}");
        }
        assert_eq!(
            config(r#"{"use_newlora": true, "x": null}"#).unknown(),
            ["use_newlora"]
        );
    }
}
