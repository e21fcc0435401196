//! The pages for people: each command parses, each flag, script, test binary and link exists.

use super::Cli;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory};
use std::fs;
use std::path::{Path, PathBuf};

const PAGES: [&str; 3] = ["README.md", "tests/README.md", "benches/README.md"];
const README_MAX_LINES: usize = 250;
/// The section whose first column of the table lists another program's flags.
const FOREIGN_SECTION: &str = "## Coming from";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Code of a page, with its line number: whole lines of code blocks, and spans in prose.
struct Code {
    line: usize,
    text: String,
    is_block: bool,
}

fn code(text: &str) -> Vec<Code> {
    let mut all = Vec::new();
    let (mut is_block, mut is_foreign) = (false, false);
    for (line, content) in (1..).zip(text.lines()) {
        if content.starts_with("```") {
            is_block = !is_block;
        } else if is_block || content.starts_with("    ") {
            all.push(Code {
                line,
                text: content.trim().to_owned(),
                is_block: true,
            });
        } else {
            if content.starts_with('#') {
                is_foreign = content.starts_with(FOREIGN_SECTION);
            }
            let ours = match content
                .strip_prefix('|')
                .and_then(|row| row.split_once('|'))
            {
                Some((_, rest)) if is_foreign => rest,
                _ => content,
            };
            all.extend(ours.split('`').skip(1).step_by(2).map(|span| Code {
                line,
                text: span.to_owned(),
                is_block: false,
            }));
        }
    }
    all
}

/// The simple commands of a shell line, as words, without variables set for them.
fn commands(line: &str) -> Vec<Vec<String>> {
    let pieces = line
        .split([';', '|', '>'])
        .flat_map(|piece| piece.split("&&"));
    let words = pieces.map(|piece| {
        let words = piece.split_whitespace().map(|word| word.replace("$i", "1"));
        let is_prefix =
            |word: &String| word == "do" || word.split_once('=').is_some_and(is_variable);
        words.skip_while(is_prefix).collect::<Vec<_>>()
    });
    words.filter(|words| !words.is_empty()).collect()
}

fn is_variable((name, _): (&str, &str)) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// The arguments of a command that runs this program.
fn our_arguments(words: &[String]) -> Option<&[String]> {
    match words {
        [program, rest @ ..] if program == "esm-embed" => Some(rest),
        [cargo, run, ..] if cargo == "cargo" && run == "run" => {
            let dashes = words.iter().position(|word| word == "--")?;
            words.get(dashes + 1..)
        }
        _ => None,
    }
}

#[test]
fn every_command_of_a_page_parses() {
    let mut found = 0;
    for name in PAGES {
        for code in code(&page(name)) {
            for words in commands(&code.text) {
                let Some(arguments) = our_arguments(&words) else {
                    continue;
                };
                found += 1;
                let all = ["esm-embed"]
                    .into_iter()
                    .chain(arguments.iter().map(|word| &**word));
                let Err(error) = Cli::command().try_get_matches_from(all) else {
                    continue;
                };
                // Prose may name a command without its arguments.
                let is_name = !code.is_block
                    && arguments.len() <= 1
                    && error.kind() != ErrorKind::InvalidSubcommand;
                assert!(
                    is_name || error.kind() == ErrorKind::DisplayHelp,
                    "{name}:{}: {}\n{error}",
                    code.line,
                    code.text
                );
            }
        }
    }
    assert!(found >= 20, "{found} commands");
}

fn has_flag(command: &Command, flag: &str) -> bool {
    let mut arguments = command.get_arguments();
    arguments.any(|argument| argument.get_long() == Some(flag))
        || command
            .get_subcommands()
            .any(|command| has_flag(command, flag))
}

#[test]
fn every_flag_in_the_prose_of_the_readme_exists() {
    let command = Cli::command();
    let mut found = 0;
    for code in code(&page("README.md")) {
        if let Some(flag) = code.text.strip_prefix("--").filter(|_| !code.is_block) {
            let flag = flag.split([' ', '=']).next().unwrap_or_default();
            let is_there = has_flag(&command, flag) || flag == "help";
            assert!(is_there, "README.md:{}: --{flag} does not exist", code.line);
            let run = ["esm-embed", "run", "a.fasta", "--out", "emb"];
            let words: Vec<&str> = code.text.split(' ').collect();
            let is_of_run = Cli::command()
                .find_subcommand("run")
                .is_some_and(|run| has_flag(run, flag));
            if words.len() > 1 && is_of_run && flag != "out" {
                let parsed = Cli::command().try_get_matches_from(run.into_iter().chain(words));
                assert!(parsed.is_ok(), "README.md:{}: {}", code.line, code.text);
            }
            found += 1;
        }
    }
    assert!(found >= 20, "{found} flags");
}

#[test]
fn every_script_and_test_binary_of_a_page_exists() {
    let mut found = 0;
    for name in PAGES {
        for code in code(&page(name)) {
            for words in commands(&code.text) {
                let place = format!("{name}:{}: {}", code.line, code.text);
                for pair in words.windows(2) {
                    if let [option, target] = pair
                        && words[0] == "cargo"
                        && (option == "--test" || option == "--bench")
                    {
                        let file = match option == "--test" {
                            true => format!("tests/{target}/main.rs"),
                            false => format!("benches/{target}.rs"),
                        };
                        assert!(root().join(&file).exists(), "{place}: {file} is missing");
                        let modules = words.iter().filter_map(|word| word.strip_suffix("::"));
                        for module in modules {
                            let path = root().join(format!("tests/{target}/{module}"));
                            let is_there = path.exists() || path.with_extension("rs").exists();
                            assert!(is_there, "{place}: no module {module}");
                        }
                        found += 1;
                    }
                }
                let starts_python = words[0].starts_with("python");
                let Some(script) = words.get(usize::from(starts_python)) else {
                    continue;
                };
                let is_ours = ["benches/", "tests/", ".ci/"]
                    .iter()
                    .any(|folder| script.starts_with(folder));
                if is_ours && !script.contains("::") {
                    let path = root().join(script.split('#').next().unwrap_or_default());
                    assert!(path.exists(), "{place}: {script} is missing");
                    found += 1;
                    if script.ends_with(".py") {
                        let text = python_beside(&path);
                        for flag in words.iter().filter(|word| word.starts_with("--")) {
                            let flag = flag.split('=').next().unwrap_or_default();
                            assert!(text.contains(&format!("\"{flag}\"")), "{place}: no {flag}");
                        }
                    }
                }
            }
        }
    }
    assert!(found >= 10, "{found} scripts");
}

/// A script and those beside it, which may read its arguments.
fn python_beside(script: &Path) -> String {
    let folder = script.parent().unwrap_or(script);
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let scripts = files.filter(|path| path.extension().is_some_and(|extension| extension == "py"));
    scripts
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for name in PAGES {
        let text = page(name);
        let folder = root()
            .join(name)
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default();
        for (_, rest) in text
            .match_indices("](")
            .map(|(at, _)| text.split_at(at + 2))
        {
            let link = rest.split(')').next().unwrap_or_default();
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(name),
                file => folder.join(file),
            };
            assert!(target.exists(), "{name}: {link} leads nowhere");
            if !anchor.is_empty() {
                let headings = fs::read_to_string(&target).unwrap();
                let mut headings = headings.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|heading| slug(heading) == anchor),
                    "{name}: {link}: no such heading"
                );
            }
        }
    }
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").lines().count();
    assert!(lines <= README_MAX_LINES, "{lines} lines");
}
