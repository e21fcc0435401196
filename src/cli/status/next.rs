//! What to type next.

use crate::cli::stdout;
use esm_embed::output::{Look, Manifest, Planned, ShardState, Survey};
use esm_embed::run_record::Asked;
use serde_json::Value;

/// What to type next.
pub fn next(survey: &Survey, plan: Option<&Planned>) -> Option<String> {
    if survey.is_complete() {
        return Some(format!(
            "esm-embed merge {} --out emb/",
            shell_folders(survey)
        ));
    }
    let is_idle = |look: &&Look| matches!(look.state, ShardState::Stopped | ShardState::Failed);
    let idle = survey.looks.iter().filter(is_idle);
    let mut commands = idle
        .map(|look| &look.command)
        .filter(|words| !words.is_empty());
    let Some(words) = commands.next() else {
        let (number, plan) = survey.absent.first().zip(plan)?;
        return Some(first_of(*number, plan, survey));
    };
    let mut line: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let replaces = ["--resume", "--force"];
    if !words.iter().any(|word| replaces.contains(&word.as_str())) {
        line.push("--resume".into());
    }
    Some(line.join(" "))
}

/// The command for a shard that has not begun, with the options of one that is finished.
fn first_of(number: u64, plan: &Planned, survey: &Survey) -> String {
    let mut words = vec!["esm-embed".into(), "run".into(), "--plan".into()];
    words.push(stdout::path(&plan.dir));
    words.extend(["--shard".into(), format!("{number}/{}", plan.shards)]);
    let done = survey
        .looks
        .iter()
        .filter(|look| look.state == ShardState::Done);
    let finished = done
        .filter_map(|look| Some((look, look.shard?.number)))
        .find_map(|(look, first)| Some((look, first, Manifest::read(&look.folder).ok()??)));
    let out = finished
        .as_ref()
        .and_then(|(look, first, _)| renumbered(&stdout::path(&look.folder), *first, number));
    let out = out.unwrap_or_else(|| format!("shard-{number}/"));
    words.extend(["--out".into(), out]);
    if let Some((_, _, manifest)) = finished {
        words.extend(options(&manifest.asked));
    }
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

/// A folder whose name has a number, with another number.
fn renumbered(folder: &str, from: u64, to: u64) -> Option<String> {
    let folder = folder.trim_end_matches('/');
    let name = folder.rfind('/').map_or(0, |at| at + 1);
    let digits = |from: usize| {
        let text = folder.get(from..).unwrap_or_default();
        from + text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let mut start = name;
    while let Some(at) = folder.get(start..)?.find(|c: char| c.is_ascii_digit()) {
        start += at;
        let end = digits(start);
        let text = folder.get(start..end)?;
        if text.parse() == Ok(from) {
            let (before, after) = (folder.get(..start)?, folder.get(end..)?);
            return Some(format!("{before}{to:0width$}{after}", width = text.len()));
        }
        start = end;
    }
    None
}

/// The flags of a run that differ from the defaults, and its model.
fn options(asked: &Asked) -> Vec<String> {
    const DEFAULTS: [(&str, &str); 6] = [
        ("gaps", "keep"),
        ("on_invalid", "fail"),
        ("out_dtype", "f32"),
        ("pool", "mean"),
        ("residues", "packed"),
        ("unknown", "unk"),
    ];
    let Ok(Value::Object(all)) = serde_json::to_value(asked) else {
        return Vec::new();
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let flags = all.iter().filter_map(|(key, value)| {
        let flag = format!("--{}", key.replace('_', "-"));
        let value = match value {
            Value::Null | Value::Bool(false) => return None,
            Value::Bool(true) => return Some(flag),
            // Products and layers; no pool at all is a choice, too.
            Value::Array(all) if all.is_empty() && key == "pool" => "none".into(),
            Value::Array(all) if all.is_empty() => return None,
            Value::Array(all) => all.iter().map(text).collect::<Vec<_>>().join(","),
            one => text(one),
        };
        let is_left_out = key == "inputs" || DEFAULTS.contains(&(key, &value));
        (!is_left_out).then(|| format!("{flag}={value}"))
    });
    flags.collect()
}

/// The folders as a shell takes them: a pattern, if their names differ only in a number.
fn shell_folders(survey: &Survey) -> String {
    let paths: Vec<String> = survey
        .looks
        .iter()
        .map(|look| stdout::path(&look.folder))
        .collect();
    let around = |path: &str| -> Option<(String, String)> {
        let path = path.trim_end_matches('/');
        let name = path.rfind('/').map_or(0, |at| at + 1);
        let start = name
            + path
                .get(name..)?
                .find(|letter: char| letter.is_ascii_digit())?;
        let rest = path.get(start..)?;
        let digits = rest.find(|letter: char| !letter.is_ascii_digit());
        let end = rest.get(digits.unwrap_or(rest.len())..)?;
        Some((path.get(..start)?.to_owned(), end.to_owned()))
    };
    let mut patterns: Vec<_> = paths.iter().map(|path| around(path)).collect();
    patterns.dedup();
    match patterns.as_slice() {
        [Some((start, end))] if paths.len() > 3 => format!("{}*{}/", quoted(start), quoted(end)),
        _ => paths
            .iter()
            .map(|path| quoted(path))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,+@%".contains(letter);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--out=a/b"), "--out=a/b");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$HOME *"), "'$HOME *'");
    }

    #[test]
    fn a_folder_is_named_after_the_number_of_its_shard() {
        let next = |folder, from| renumbered(folder, from, 12);
        assert_eq!(next("p7/part-3-of-20/", 3), Some("p7/part-12-of-20".into()));
        assert_eq!(next("s003", 3), Some("s012".into()));
        assert_eq!(next("a/3-of-13", 13), Some("a/3-of-12".into()));
        assert_eq!(next("3/part", 3), None);
        assert_eq!(next("s33", 3), None);
        assert_eq!(next("", 3), None);
    }
}
