//! A drawing as SVG.

use super::drawing::{Anchor, Colour, Direction, Drawing, Shape, TextSize};
use super::png;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write;

/// Letters compared with the height of a line.
const LETTERS: f64 = 0.73;
/// From the middle of a line to the baseline, compared with the height of the line.
const BASELINE: f64 = 0.26;

/// The file.
pub fn encode(drawing: &Drawing) -> String {
    let Drawing { width, height, .. } = drawing;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"'Noto Sans Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
         fill=\"{}\">\n<title>{}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        colour(Colour::INK),
        escape(&drawing.title)
    );
    for shape in &drawing.shapes {
        write_shape(&mut svg, shape);
    }
    svg.push_str("</svg>\n");
    svg
}

fn write_shape(svg: &mut String, shape: &Shape) {
    // Writing into a string cannot fail.
    let _ = match shape {
        Shape::Rectangle {
            x,
            y,
            width,
            height,
            colour: fill,
        } => writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{}\"/>",
            colour(*fill)
        ),
        Shape::Dot {
            x2,
            y2,
            radius2,
            colour: fill,
        } => writeln!(
            svg,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\" stroke=\"#ffffff\"/>",
            half(*x2),
            half(*y2),
            half(radius2 + 1),
            colour(*fill)
        ),
        Shape::Squares {
            x,
            y,
            size,
            columns,
            colours,
        } => {
            let rows = colours.len() / columns.max(&1);
            let pixels = colours.iter().flat_map(|&Colour(r, g, b)| [r, g, b]);
            let image = png::pixels(*columns, rows, &pixels.collect::<Vec<u8>>());
            writeln!(
                svg,
                "<image x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" \
                 style=\"image-rendering:pixelated\" preserveAspectRatio=\"none\" \
                 href=\"data:image/png;base64,{}\"/>",
                *columns as i64 * i64::from(*size),
                rows as i64 * i64::from(*size),
                BASE64_STANDARD.encode(image)
            )
        }
        Shape::Text {
            x,
            y,
            text,
            size,
            anchor,
            direction,
        } => write_text(svg, (*x, *y), text, *size, *anchor, *direction),
    };
}

fn write_text(
    svg: &mut String,
    (x, y): (i32, i32),
    text: &str,
    size: TextSize,
    anchor: Anchor,
    direction: Direction,
) -> std::fmt::Result {
    let line = f64::from(size.line_height());
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let turn = match direction {
        Direction::Right => String::new(),
        Direction::Up => format!(" transform=\"rotate(-90 {x} {y})\""),
    };
    writeln!(
        svg,
        "<text x=\"{x}\" y=\"{:.2}\" font-size=\"{:.2}\" text-anchor=\"{anchor}\"{turn}>{}</text>",
        f64::from(y) + line * BASELINE,
        line * LETTERS,
        escape(text)
    )
}

fn half(number: i32) -> String {
    format!("{:.1}", f64::from(number) / 2.0)
}

fn colour(Colour(r, g, b): Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text for XML, which has no control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_svg() {
        let drawing = Drawing {
            width: 40,
            height: 30,
            title: "a<b & \u{1b}".into(),
            shapes: vec![
                Shape::Rectangle {
                    x: 1,
                    y: 2,
                    width: 3,
                    height: 4,
                    colour: Colour(255, 0, 16),
                },
                Shape::Dot {
                    x2: 11,
                    y2: 20,
                    radius2: 7,
                    colour: Colour(0, 0, 0),
                },
                Shape::Text {
                    x: 5,
                    y: 6,
                    text: "x > \"y\"".into(),
                    size: TextSize::Small,
                    anchor: Anchor::Middle,
                    direction: Direction::Up,
                },
            ],
        };
        assert_eq!(
            encode(&drawing),
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"40\" height=\"30\" \
             viewBox=\"0 0 40 30\" role=\"img\" font-family=\"'Noto Sans Mono', \
             'DejaVu Sans Mono', Menlo, Consolas, monospace\" fill=\"#222222\">\n\
             <title>a&lt;b &amp; \u{fffd}</title>\n\
             <rect width=\"40\" height=\"30\" fill=\"#ffffff\"/>\n\
             <rect x=\"1\" y=\"2\" width=\"3\" height=\"4\" fill=\"#ff0010\"/>\n\
             <circle cx=\"5.5\" cy=\"10.0\" r=\"4.0\" fill=\"#000000\" stroke=\"#ffffff\"/>\n\
             <text x=\"5\" y=\"11.20\" font-size=\"14.60\" text-anchor=\"middle\" \
             transform=\"rotate(-90 5 6)\">x &gt; \"y\"</text>\n</svg>\n"
        );
    }

    #[test]
    fn squares_are_an_image_of_one_pixel_each() {
        let mut svg = String::new();
        let squares = Shape::Squares {
            x: 1,
            y: 2,
            size: 9,
            columns: 2,
            colours: vec![Colour(1, 2, 3); 6],
        };
        write_shape(&mut svg, &squares);
        assert!(
            svg.starts_with(
                "<image x=\"1\" y=\"2\" width=\"18\" height=\"27\" style=\"image-rendering:pixelated\" \
                 preserveAspectRatio=\"none\" href=\"data:image/png;base64,iVBORw0KGgo"
            ),
            "{svg}"
        );
    }
}
