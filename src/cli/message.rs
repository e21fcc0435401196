//! Texts of the library as the command line prints them: `error: …`, then `  hint: …` lines, with
//! settings spelled as flags.
//!
//! The library names a setting in backticks and in its Python spelling, `` `out_dtype` `` or
//! `` `dtype=bf16` ``, and puts each remedy on a line that opens with `hint: `.

use clap::Command;
use clap::builder::styling::{AnsiColor, Style};
use esm_embed::printable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;

const HINT: &str = "hint: ";

/// What happened, and what can be done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Message {
    /// What happened.
    pub text: String,
    /// Things to do, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Message {
    /// A text of the library.
    pub fn of(text: &str) -> Message {
        let mut message = Message::default();
        message.add(text);
        message
    }

    /// An error with its causes. A cause that the text before it includes is not repeated.
    pub fn of_error(error: &anyhow::Error) -> Message {
        let mut message = Message::default();
        for cause in error.chain() {
            message.add(&cause.to_string());
        }
        message
    }

    fn add(&mut self, text: &str) {
        let (hints, lines): (Vec<&str>, Vec<&str>) =
            text.split('\n').partition(|line| line.starts_with(HINT));
        let text = with_flags(lines.join("\n").trim_end());
        if self.text.is_empty() {
            self.text = text;
        } else if !self.text.contains(&text) {
            self.text = format!("{}: {text}", self.text);
        }
        for hint in hints {
            let hint = with_flags(hint.trim_start_matches(HINT));
            if !self.hints.contains(&hint) {
                self.hints.push(hint);
            }
        }
    }

    /// Lines for a terminal: a label such as `error` in its style, the text, and the hints below.
    pub fn labelled(&self, label: &str, style: Style) -> String {
        let text = printable::text(&self.text);
        format!("{style}{label}:{style:#} {text}{}", self.hint_lines())
    }

    /// Lines for a terminal without a label.
    pub fn plain(&self) -> String {
        format!("{}{}", printable::text(&self.text), self.hint_lines())
    }

    /// The text and its hints as one paragraph, for fields of a report.
    pub fn one_line(&self) -> String {
        let parts = [&self.text].into_iter().chain(&self.hints);
        parts.map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    fn hint_lines(&self) -> String {
        let hints = self.hints.iter().map(|hint| printable::text(hint));
        hints
            .map(|hint| format!("\n  {HINTS}hint:{HINTS:#} {hint}"))
            .collect()
    }
}

/// The style of `error:`.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The style of `warning:`.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINTS: Style = AnsiColor::Cyan.on_default().bold();

/// The text with settings spelled as flags: `` `out_dtype` `` → `--out-dtype`, `` `dtype=bf16` `` →
/// `--dtype bf16`. Other words in backticks stay as they are.
pub fn with_flags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        out.push_str(before);
        let Some((quoted, tail)) = after.split_once('`') else {
            rest = &rest[before.len()..];
            break;
        };
        match flag(quoted) {
            Some(flag) => {
                out.push_str(&flag);
                rest = tail;
            }
            None => {
                out.push_str(&format!("`{quoted}`"));
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The flag of a setting, if the command line has one.
fn flag(setting: &str) -> Option<String> {
    let (name, value) = match setting.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (setting, None),
    };
    let name = name.replace('_', "-");
    let takes_value = *FLAGS.get()?.get(&name)?;
    match value {
        Some(value) if takes_value => Some(format!("--{name} {value}")),
        Some("true") | None => Some(format!("--{name}")),
        Some(_) => None,
    }
}

/// The long flags of all commands, and whether they take a value with any of them.
static FLAGS: OnceLock<BTreeMap<String, bool>> = OnceLock::new();

/// Sets the flags that settings are spelled as: those of all subcommands. The first call counts.
pub fn spell_flags_of(command: &Command) {
    FLAGS.get_or_init(|| {
        // A command may have subcommands.
        let commands = command.get_subcommands();
        let commands = commands.flat_map(|one| one.get_subcommands().chain([one]));
        let mut flags = BTreeMap::new();
        for arg in commands.flat_map(|one| one.get_arguments()) {
            if let Some(name) = arg.get_long() {
                // One command may take a value where another takes none.
                *flags.entry(name.to_owned()).or_insert(false) |= arg.get_action().takes_values();
            }
        }
        flags
    });
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use anyhow::Context;
    use clap::CommandFactory;

    #[test]
    fn causes_are_joined_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read a.fasta");
        assert_eq!(
            Message::of_error(&error).text,
            "cannot read a.fasta: no such file"
        );
        let error: anyhow::Result<()> = Err(anyhow::anyhow!("b")).context("a: b");
        assert_eq!(Message::of_error(&error.unwrap_err()).text, "a: b");
    }

    #[test]
    fn hints_come_last_and_once() {
        spell_flags_of(&Cli::command());
        let error = anyhow::anyhow!("no room\nhint: free some space\nhint: use `residues=none`")
            .context("cannot write emb\nhint: free some space")
            .context("record 3\nhint: use `on_invalid=skip`\nfailed");
        let message = Message::of_error(&error);
        assert_eq!(message.text, "record 3\nfailed: cannot write emb: no room");
        assert_eq!(
            message.hints,
            [
                "use --on-invalid skip",
                "free some space",
                "use --residues none"
            ]
        );
    }

    #[test]
    fn settings_are_spelled_as_flags() {
        spell_flags_of(&Cli::command());
        for (text, spelled) in [
            ("use `dtype=bf16`", "use --dtype bf16"),
            (
                "`out_dtype` and `max_tokens=4096`",
                "--out-dtype and --max-tokens 4096",
            ),
            ("`long=window:600:60`", "--long window:600:60"),
            (
                "`resume` or `force=true`, not `force=1`",
                "--resume or --force, not `force=1`",
            ),
            ("`move` of merge", "--move of merge"),
            (
                "`esm-embed fetch 8M` and `vocab_size`",
                "`esm-embed fetch 8M` and `vocab_size`",
            ),
            ("an odd ` and `long`", "an odd ` and `long`"),
            ("``layer``", "``layer``"),
            ("`Layer` ` layer`", "`Layer` ` layer`"),
            ("`", "`"),
            ("", ""),
        ] {
            assert_eq!(with_flags(text), spelled, "{text}");
        }
    }

    #[test]
    fn lines_for_a_terminal() {
        spell_flags_of(&Cli::command());
        let message = Message::of("a\u{1b}b\nhint: use `layer=-1`");
        assert_eq!(
            message.labelled("error", ERROR),
            "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m a\\u{1b}b\n  \u{1b}[1m\u{1b}[36mhint:\u{1b}[0m \
             use --layer -1"
        );
        assert_eq!(Message::of("two\nlines").plain(), "two\\nlines");
    }
}
