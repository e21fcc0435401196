//! The figure of a contact map: probabilities on both sides of the diagonal, the pairs with the
//! highest ones marked below it.

use super::colour_scale;
use super::contact_map::{ContactMap, Pair};
use super::drawing::{Anchor, Colour, Direction, Drawing, Shape, TextSize};
use super::ticks;
use crate::numerals::{count, grouped};

/// The least side of a map in pixels, if the squares may be that large.
const SIDE: usize = 900;
/// The most pixels of a square.
const LARGEST_SQUARE: usize = 60;
/// The most squares of a row; longer sequences share squares.
const MOST_SQUARES: usize = 3000;
/// From here on, a map is shown reduced on most screens, and text is larger.
const LARGE: i32 = 1200;
/// Pairs that are too close in the sequence to mean anything.
const LEFT_OUT: Colour = Colour(0xe9, 0xe9, 0xe9);
/// Marks: orange beside blue is safe for colour-blind people.
const MARK: Colour = Colour(0xe6, 0x55, 0x0d);

/// What a figure shows.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// The name of the protein, printable.
    pub id: &'a str,
    /// The name of the model, printable.
    pub model: &'a str,
    /// The probabilities.
    pub map: &'a ContactMap,
    /// The pairs that are marked.
    pub marked: &'a [Pair],
    /// Pairs that are closer in the sequence are left out.
    pub min_separation: usize,
}

/// Draws a figure.
pub fn draw(contents: &Contents) -> Drawing {
    Figure::new(contents).drawing()
}

struct Figure<'a> {
    contents: &'a Contents<'a>,
    /// Residues that share a square, in each direction.
    block: usize,
    /// Pixels of a square.
    square: i32,
    /// Pixels of the map.
    side: i32,
    left: i32,
    top: i32,
    size: TextSize,
    shapes: Vec<Shape>,
}

impl<'a> Figure<'a> {
    fn new(contents: &'a Contents<'a>) -> Self {
        let residues = contents.map.residues().max(1);
        let block = residues.div_ceil(MOST_SQUARES);
        let squares = residues.div_ceil(block);
        let square = SIDE.div_ceil(squares).min(LARGEST_SQUARE) as i32;
        let side = squares as i32 * square;
        let size = match side < LARGE {
            true => TextSize::Medium,
            false => TextSize::Large,
        };
        let digits = residues.to_string();
        Self {
            contents,
            block,
            square,
            side,
            left: 3 * size.line_height() + size.width(&digits),
            top: 4 * size.line_height(),
            size,
            shapes: Vec::new(),
        }
    }

    fn line(&self) -> i32 {
        self.size.line_height()
    }

    fn right(&self) -> i32 {
        self.left + self.side
    }

    fn bottom(&self) -> i32 {
        self.top + self.side
    }

    fn drawing(mut self) -> Drawing {
        let line = self.line();
        let scale = 7 * line;
        // A short protein has a small map, but its title needs room.
        let width = (self.right() + scale).max(48 * self.size.character_width());
        let height = self.bottom() + 5 * line;
        let Contents { id, model, map, .. } = self.contents;
        let residues = count(map.residues() as u64, "residue");
        self.title(width);
        self.squares();
        self.frame();
        self.residue_numbers();
        self.marks();
        self.colour_scale();
        self.legend(width);
        Drawing {
            width,
            height,
            title: format!("Contact map of {id}, {residues}, predicted by {model}"),
            shapes: self.shapes,
        }
    }

    fn text(&mut self, (x, y): (i32, i32), text: String, anchor: Anchor, direction: Direction) {
        self.shapes.push(Shape::Text {
            x,
            y,
            text,
            size: self.size,
            anchor,
            direction,
        });
    }

    fn rectangle(&mut self, x: i32, y: i32, width: i32, height: i32, colour: Colour) {
        self.shapes.push(Shape::Rectangle {
            x,
            y,
            width,
            height,
            colour,
        });
    }

    fn title(&mut self, width: i32) {
        let Contents { id, model, map, .. } = self.contents;
        let below = format!("{} · {model}", count(map.residues() as u64, "residue"));
        let (x, line) = (self.line(), self.line());
        for (y, text) in [(line * 5 / 4, *id), (line * 5 / 2, below.as_str())] {
            let text = self.size.cut(text, width - 2 * x);
            self.text((x, y), text, Anchor::Start, Direction::Right);
        }
    }

    fn squares(&mut self) {
        let Contents {
            map,
            min_separation,
            ..
        } = self.contents;
        let blocks = map.blocks(self.block, *min_separation);
        let colour = |value: &Option<f32>| value.map_or(LEFT_OUT, colour_scale::colour);
        self.shapes.push(Shape::Squares {
            x: self.left,
            y: self.top,
            size: self.square,
            columns: map.residues().div_ceil(self.block),
            colours: blocks.iter().map(colour).collect(),
        });
    }

    fn frame(&mut self) {
        let (left, top, side) = (self.left, self.top, self.side);
        for y in [top - 2, top + side] {
            self.rectangle(left - 2, y, side + 4, 2, Colour::INK);
        }
        for x in [left - 2, left + side] {
            self.rectangle(x, top - 2, 2, side + 4, Colour::INK);
        }
    }

    /// The middle of a residue's square, in half pixels from the edge of the map.
    fn middle(&self, residue: usize) -> i32 {
        let square = (residue.saturating_sub(1) / self.block) as i32;
        (2 * square + 1) * self.square
    }

    fn residue_numbers(&mut self) {
        let residues = self.contents.map.residues();
        let label = self.size.width(&residues.to_string()) + self.size.width("00");
        let most = (self.side / label.max(1)).clamp(1, 12) as usize;
        let (left, bottom, line) = (self.left, self.bottom(), self.line());
        let ticks = ticks::residues(residues, most);
        let second = ticks
            .get(1)
            .map_or(i32::MAX, |&residue| self.middle(residue) / 2);
        for residue in ticks {
            let at = self.middle(residue) / 2;
            // Beside a close label, there is no room for that of residue 1.
            if residue == 1 && second < label {
                continue;
            }
            self.rectangle(left + at - 1, bottom + 2, 2, 8, Colour::INK);
            self.rectangle(left - 10, self.top + at - 1, 8, 2, Colour::INK);
            let text = residue.to_string();
            let below = (left + at, bottom + 10 + line / 2);
            self.text(below, text.clone(), Anchor::Middle, Direction::Right);
            let beside = (left - 16, self.top + at);
            self.text(beside, text, Anchor::End, Direction::Right);
        }
        let middle = self.side / 2;
        let below = (left + middle, bottom + 10 + 7 * line / 4);
        self.text(below, "Residue".into(), Anchor::Middle, Direction::Right);
        let beside = (line, self.top + middle);
        self.text(beside, "Residue".into(), Anchor::Middle, Direction::Up);
    }

    fn marks(&mut self) {
        let radius2 = (2 * self.square / 3).clamp(4, 16);
        for pair in self.contents.marked {
            // Below the diagonal, the row is the residue further on.
            self.shapes.push(Shape::Dot {
                x2: 2 * self.left + self.middle(pair.i),
                y2: 2 * self.top + self.middle(pair.j),
                radius2,
                colour: MARK,
            });
        }
    }

    fn colour_scale(&mut self) {
        let line = self.line();
        let (x, top, width) = (self.right() + line, self.top, line);
        let height = self.side.min(20 * line);
        let steps = height.max(1);
        for step in 0..steps {
            let probability = 1.0 - step as f32 / (steps - 1).max(1) as f32;
            let colour = colour_scale::colour(probability);
            // To the end, so that there is no seam between two of them at another size.
            self.rectangle(x, top + step, width, height - step, colour);
        }
        for y in [top - 2, top + height] {
            self.rectangle(x - 2, y, width + 4, 2, Colour::INK);
        }
        for x in [x - 2, x + width] {
            self.rectangle(x, top - 2, 2, height + 4, Colour::INK);
        }
        let tenths: &[i32] = match height >= 8 * line {
            true => &[0, 2, 4, 6, 8, 10],
            false => &[0, 10],
        };
        for &tenth in tenths {
            let y = top + (height - 1) * (10 - tenth) / 10;
            self.rectangle(x + width + 2, y - 1, 8, 2, Colour::INK);
            let text = format!("{}.{}", tenth / 10, tenth % 10);
            let at = (x + width + 16, y);
            self.text(at, text, Anchor::Start, Direction::Right);
        }
        // Beside a small map, there is no room for a name.
        if height >= self.size.width("Contact probability") {
            let at = (x + width + 4 * line, top + height / 2);
            let text = "Contact probability".into();
            self.text(at, text, Anchor::Middle, Direction::Up);
        }
    }

    fn legend(&mut self, width: i32) {
        let Contents {
            marked,
            min_separation,
            ..
        } = self.contents;
        let (line, y) = (self.line(), self.bottom() + 15 * self.line() / 4);
        let x = line;
        let pairs = match marked.len() {
            0 => "No pair is".to_owned(),
            1 => "The highest pair".to_owned(),
            pairs => format!("The {} highest pairs", grouped(pairs as u64)),
        };
        let text = match (*min_separation, marked.len()) {
            // All pairs are that far apart.
            (0 | 1, 0) => "There are no pairs".to_owned(),
            (0 | 1, _) => pairs,
            (least, _) => format!("{pairs} at least {} apart", count(least as u64, "residue")),
        };
        let mut start = x;
        if !marked.is_empty() {
            self.shapes.push(Shape::Dot {
                x2: 2 * x + line,
                y2: 2 * y,
                radius2: line / 2,
                colour: MARK,
            });
            start += 3 * line / 2;
        }
        let text = self.size.cut(&text, width - start);
        self.text((start, y), text, Anchor::Start, Direction::Right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(residues: usize, marked: &[Pair]) -> Drawing {
        let map = ContactMap::new(residues, vec![0.5; residues * residues]).unwrap();
        draw(&Contents {
            id: "P1",
            model: "tiny",
            map: &map,
            marked,
            min_separation: 6,
        })
    }

    fn texts(drawing: &Drawing) -> Vec<String> {
        let text = |shape: &Shape| match shape {
            Shape::Text { text, .. } => Some(text.clone()),
            _ => None,
        };
        drawing.shapes.iter().filter_map(text).collect()
    }

    #[test]
    fn texts_of_a_figure() {
        let pair = Pair {
            i: 3,
            j: 20,
            probability: 0.9,
        };
        let drawing = figure(30, &[pair; 2]);
        assert_eq!(
            drawing.title,
            "Contact map of P1, 30 residues, predicted by tiny"
        );
        assert_eq!(
            texts(&drawing),
            [
                "P1",
                "30 residues · tiny",
                "1",
                "1",
                "5",
                "5",
                "10",
                "10",
                "15",
                "15",
                "20",
                "20",
                "25",
                "25",
                "30",
                "30",
                "Residue",
                "Residue",
                "0.0",
                "0.2",
                "0.4",
                "0.6",
                "0.8",
                "1.0",
                "Contact probability",
                "The 2 highest pairs at least 6 residues apart"
            ]
        );
        let dot = drawing.shapes.iter().find_map(|shape| match shape {
            Shape::Dot { x2, y2, .. } => Some((*x2, *y2)),
            _ => None,
        });
        // Squares of 30 pixels: residue 3 begins at pixel 60 of the map, residue 20 at pixel 570.
        let (left, top) = (72 + 2 * TextSize::Medium.character_width(), 96);
        assert_eq!(dot, Some((2 * left + 2 * 60 + 30, 2 * top + 2 * 570 + 30)));
    }

    #[test]
    fn the_legend_says_which_pairs_are_marked_and_is_never_cut() {
        let legend = |residues: usize, marked: usize, min_separation| {
            let map = ContactMap::new(residues, vec![0.5; residues * residues]).unwrap();
            let pair = Pair {
                i: 1,
                j: residues,
                probability: 0.9,
            };
            let drawing = draw(&Contents {
                id: "P1",
                model: "tiny",
                map: &map,
                marked: &vec![pair; marked],
                min_separation,
            });
            texts(&drawing).pop().unwrap()
        };
        for (residues, marked, min_separation, says) in [
            (6, 0, 6, "No pair is at least 6 residues apart"),
            (7, 0, 1000, "No pair is at least 1,000 residues apart"),
            (7, 1, 6, "The highest pair at least 6 residues apart"),
            (2, 1, 1, "The highest pair"),
            (3, 3, 0, "The 3 highest pairs"),
            (1, 0, 1, "There are no pairs"),
            (
                1500,
                1500,
                6,
                "The 1,500 highest pairs at least 6 residues apart",
            ),
        ] {
            assert_eq!(legend(residues, marked, min_separation), says);
        }
    }

    #[test]
    fn nothing_is_beyond_the_edge() {
        for residues in [0, 1, 2, 5, 9, 50, 333, 899, 900, 1500, 3001] {
            let pair = Pair {
                i: 1,
                j: residues.max(1),
                probability: 0.9,
            };
            let drawing = figure(residues, &[pair]);
            let (width, height) = (drawing.width, drawing.height);
            assert!((300..3400).contains(&width), "{residues}: {width}");
            for shape in &drawing.shapes {
                let (x0, y0, x1, y1) = bounds(shape);
                let inside = x0 >= 0 && y0 >= 0 && x1 <= width && y1 <= height;
                assert!(
                    inside,
                    "{residues}: {width} × {height}: {x0} {y0} {x1} {y1}"
                );
            }
        }
    }

    #[test]
    fn labels_do_not_overlap() {
        for residues in [1, 2, 9, 10, 11, 19, 50, 101, 333, 999, 1500, 2999, 9999] {
            let drawing = figure(residues, &[]);
            let mut boxes: Vec<_> = drawing
                .shapes
                .iter()
                .filter(|shape| matches!(shape, Shape::Text { .. }))
                .map(bounds)
                .collect();
            while let Some((x0, y0, x1, y1)) = boxes.pop() {
                for other in &boxes {
                    let apart = other.2 <= x0 || other.0 >= x1 || other.3 <= y0 || other.1 >= y1;
                    assert!(apart, "{residues}: {other:?} {:?}", (x0, y0, x1, y1));
                }
            }
        }
    }

    /// Left, upper, right and lower edge.
    fn bounds(shape: &Shape) -> (i32, i32, i32, i32) {
        match shape {
            Shape::Rectangle {
                x,
                y,
                width,
                height,
                ..
            } => (*x, *y, x + width, y + height),
            Shape::Dot {
                x2, y2, radius2, ..
            } => {
                let (x, y, radius) = (x2 / 2, y2 / 2, radius2 / 2);
                (x - radius, y - radius, x + radius, y + radius)
            }
            Shape::Squares {
                x,
                y,
                size,
                columns,
                colours,
            } => {
                let rows = colours.len() / (*columns).max(1);
                (*x, *y, x + size * *columns as i32, y + size * rows as i32)
            }
            Shape::Text {
                x,
                y,
                text,
                size,
                anchor,
                direction,
            } => {
                let (length, half) = (size.width(text), size.line_height() / 2);
                let before = match anchor {
                    Anchor::Start => 0,
                    Anchor::Middle => length / 2,
                    Anchor::End => length,
                };
                let (start, end) = (-before, length - before);
                match direction {
                    Direction::Right => (x + start, y - half, x + end, y + half),
                    Direction::Up => (x - half, y - end, x + half, y - start),
                }
            }
        }
    }
}
