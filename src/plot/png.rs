//! A drawing as PNG.

use super::drawing::{Anchor, Colour, Direction, Drawing, Shape, TextSize};
use super::font;
use ::png::{BitDepth, ColorType, Compression, Encoder};

/// The file.
pub fn encode(drawing: &Drawing) -> Vec<u8> {
    let canvas = Canvas::draw(drawing);
    let (width, height) = (canvas.width as usize, canvas.height as usize);
    pixels(width, height, &canvas.bytes)
}

/// A PNG file of pixels, three bytes each.
pub(super) fn pixels(width: usize, height: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    // Writing into memory fails only if the sizes do not fit each other; an empty file shows that.
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(bytes));
    match written {
        Ok(()) => file,
        Err(_) => Vec::new(),
    }
}

/// Pixels, three bytes each, row by row.
struct Canvas {
    width: i32,
    height: i32,
    bytes: Vec<u8>,
}

impl Canvas {
    fn draw(drawing: &Drawing) -> Self {
        let (width, height) = (drawing.width.max(1), drawing.height.max(1));
        let mut canvas = Self {
            width,
            height,
            bytes: vec![255; width as usize * height as usize * 3],
        };
        for shape in &drawing.shapes {
            canvas.shape(shape);
        }
        canvas
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Rectangle {
                x,
                y,
                width,
                height,
                colour,
            } => self.rectangle(*x, *y, *width, *height, *colour),
            Shape::Dot {
                x2,
                y2,
                radius2,
                colour,
            } => {
                self.disc(*x2, *y2, radius2 + 2, Colour::WHITE);
                self.disc(*x2, *y2, *radius2, *colour);
            }
            Shape::Squares {
                x,
                y,
                size,
                columns,
                colours,
            } => {
                for (row, colours) in (0..).zip(colours.chunks(*columns.max(&1))) {
                    for (column, &colour) in (0..).zip(colours) {
                        let (x, y) = (x + column * size, y + row * size);
                        self.rectangle(x, y, *size, *size, colour);
                    }
                }
            }
            Shape::Text {
                x,
                y,
                text,
                size,
                anchor,
                direction,
            } => self.text((*x, *y), text, *size, *anchor, *direction),
        }
    }

    fn rectangle(&mut self, x: i32, y: i32, width: i32, height: i32, colour: Colour) {
        for y in y..y.saturating_add(height) {
            for x in x..x.saturating_add(width) {
                self.mix(x, y, colour, 255);
            }
        }
    }

    /// A filled circle: how much of a pixel it covers is counted at 16 points.
    fn disc(&mut self, x2: i32, y2: i32, radius2: i32, colour: Colour) {
        // In eighths of a pixel, in which the points are odd.
        let (middle_x, middle_y, radius) = (x2 * 4, y2 * 4, radius2 * 4);
        let reach = radius2 / 2 + 1;
        for y in y2 / 2 - reach..=y2 / 2 + reach {
            for x in x2 / 2 - reach..=x2 / 2 + reach {
                let mut covered = 0;
                for point in 0..16 {
                    let dx = i64::from(x * 8 + 2 * (point % 4) + 1 - middle_x);
                    let dy = i64::from(y * 8 + 2 * (point / 4) + 1 - middle_y);
                    covered += i32::from(dx * dx + dy * dy <= i64::from(radius).pow(2));
                }
                self.mix(x, y, colour, (covered * 255 / 16) as u8);
            }
        }
    }

    fn text(
        &mut self,
        (x, y): (i32, i32),
        text: &str,
        size: TextSize,
        anchor: Anchor,
        direction: Direction,
    ) {
        let before = match anchor {
            Anchor::Start => 0,
            Anchor::Middle => size.width(text) / 2,
            Anchor::End => size.width(text),
        };
        let mut along = -before;
        for character in text.chars() {
            if let Some(glyph) = font::glyph(character, size) {
                for (row, pixels) in (0..).zip(glyph.rows()) {
                    for (column, &cover) in (0..).zip(pixels) {
                        let (right, down) = (along + column, row - size.line_height() / 2);
                        let (x, y) = match direction {
                            Direction::Right => (x + right, y + down),
                            Direction::Up => (x + down, y - right),
                        };
                        self.mix(x, y, Colour::INK, cover);
                    }
                }
            }
            along += size.character_width();
        }
    }

    /// Paints a pixel, covered by this part of 255. Beyond the edge, nothing is painted.
    fn mix(&mut self, x: i32, y: i32, Colour(r, g, b): Colour, cover: u8) {
        if !(0..self.width).contains(&x) || !(0..self.height).contains(&y) {
            return;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        let Some(pixel) = self.bytes.get_mut(at..at + 3) else {
            return;
        };
        let cover = u32::from(cover);
        for (below, above) in pixel.iter_mut().zip([r, g, b]) {
            let sum = u32::from(*below) * (255 - cover) + u32::from(above) * cover;
            *below = ((sum + 127) / 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(width: i32, height: i32, shapes: Vec<Shape>) -> Canvas {
        Canvas::draw(&Drawing {
            width,
            height,
            title: String::new(),
            shapes,
        })
    }

    fn reds(canvas: &Canvas) -> Vec<Vec<u8>> {
        let rows = canvas.bytes.chunks(canvas.width as usize * 3);
        rows.map(|row| row.iter().step_by(3).copied().collect())
            .collect()
    }

    #[test]
    fn squares_and_what_is_beyond_the_edge() {
        let squares = Shape::Squares {
            x: -1,
            y: 1,
            size: 2,
            columns: 2,
            colours: vec![
                Colour(1, 0, 0),
                Colour(2, 0, 0),
                Colour(3, 0, 0),
                Colour(4, 0, 0),
            ],
        };
        assert_eq!(
            reds(&canvas(4, 4, vec![squares])),
            [[255; 4], [1, 2, 2, 255], [1, 2, 2, 255], [3, 4, 4, 255]]
        );
    }

    #[test]
    fn dots_are_round() {
        let dot = Shape::Dot {
            x2: 7,
            y2: 7,
            radius2: 4,
            colour: Colour(0, 0, 0),
        };
        let rows = reds(&canvas(7, 7, vec![dot]));
        assert_eq!(rows[3], [255, 128, 0, 0, 0, 128, 255]);
        let columns: Vec<Vec<u8>> = (0..7)
            .map(|x| rows.iter().map(|row| row[x]).collect())
            .collect();
        assert_eq!(rows, columns);
        assert_eq!(rows[0], [255; 7]);
    }

    #[test]
    fn upright_text_is_the_other_turned() {
        let text = |x, y, direction| Shape::Text {
            x,
            y,
            text: "L7".into(),
            size: TextSize::Small,
            anchor: Anchor::Start,
            direction,
        };
        let right = reds(&canvas(30, 30, vec![text(2, 15, Direction::Right)]));
        let up = reds(&canvas(30, 30, vec![text(15, 27, Direction::Up)]));
        for (y, row) in right.iter().enumerate() {
            for (x, &red) in row.iter().enumerate() {
                assert_eq!(red, up[29 - x][y]);
            }
        }
        assert!(right.iter().flatten().any(|&red| red < 60));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let drawing = Drawing {
            width: 3,
            height: 2,
            title: String::new(),
            shapes: vec![Shape::Rectangle {
                x: 1,
                y: 0,
                width: 1,
                height: 2,
                colour: Colour(10, 20, 30),
            }],
        };
        let file = encode(&drawing);
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(&file))
            .read_info()
            .unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut bytes).unwrap();
        let row = [255, 255, 255, 10, 20, 30, 255, 255, 255];
        assert_eq!(bytes, [row, row].concat());
        assert_eq!(file, encode(&drawing));
    }
}
