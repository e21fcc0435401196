//! `--layer`.

use esm_embed::pipeline::Layers;

/// One part of `--layer`, between commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerArg(pub Layers);

/// `12`, `-1`, `3-5`, `all`, `last`.
pub fn layer(text: &str) -> Result<LayerArg, String> {
    let wrong = || {
        "a layer is 0 (the embedding), 1, 2, … (after that block), or -1 or last (the last one); \
         combine them as in 0,12,-1 or 3-5, or give all"
            .to_owned()
    };
    let number = |text: &str| match text.trim() {
        "last" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| wrong()),
    };
    let text = text.trim();
    // A dash at the start is the sign of a number.
    let dash = text.char_indices().skip(1).find(|&(_, c)| c == '-');
    let layers = match dash {
        _ if text == "all" => Layers::ALL,
        None => Layers::One(number(text)?),
        Some((at, _)) => {
            let (first, last) = text.split_at(at);
            let last = last.strip_prefix('-').unwrap_or(last);
            if first == "last" && !matches!(last, "last" | "-1") {
                return Err(format!("last is the highest layer: give {last}-last"));
            }
            match (number(first)?, number(last)?) {
                (first, last) if (0..first).contains(&last) => {
                    return Err(format!("give the lower layer first: {last}-{first}"));
                }
                (first, last) => Layers::Span(first, last),
            }
        }
    };
    Ok(LayerArg(layers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers() {
        use Layers::{One, Span};
        for (text, expected) in [
            ("33", One(33)),
            ("-1", One(-1)),
            (" 0", One(0)),
            ("last", One(-1)),
            ("all", Span(0, -1)),
            ("0-last", Span(0, -1)),
            ("3-5", Span(3, 5)),
            ("7-7", Span(7, 7)),
            ("-3--1", Span(-3, -1)),
            ("2--2", Span(2, -2)),
            ("-3-last", Span(-3, -1)),
        ] {
            assert_eq!(layer(text), Ok(LayerArg(expected)), "{text}");
        }
        for text in [
            "",
            "1.5",
            "--pool",
            "1..3",
            "99999999999999999999",
            "5-3",
            "-",
            "3-",
            "all-3",
            "Last",
            "3-4-5",
            "0-9223372036854775808",
        ] {
            assert!(layer(text).is_err(), "{text}");
        }
        for (text, meant) in [("last-0", "0-last"), ("last--2", "-2-last")] {
            let answer = format!("last is the highest layer: give {meant}");
            assert_eq!(layer(text), Err(answer));
        }
        assert_eq!(
            layer("5-3"),
            Err("give the lower layer first: 3-5".to_owned())
        );
    }
}
