//! A figure as a list of shapes at whole pixels, the first one at the back.

/// A colour: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// White.
    pub const WHITE: Self = Self(255, 255, 255);
    /// Text and axes.
    pub const INK: Self = Self(0x22, 0x22, 0x22);
}

/// Size of text: the height of a line in pixels. The letters have about 0.73 of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextSize {
    /// 20 pixels.
    Small,
    /// 24 pixels.
    Medium,
    /// 32 pixels.
    Large,
}

/// Which point of a text is at its position. Across the line, it is always the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Where it begins.
    Start,
    /// Its middle.
    Middle,
    /// Where it ends.
    End,
}

/// Which way a text runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the right.
    Right,
    /// Upward, with the letters turned to the left.
    Up,
}

/// A part of a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A filled rectangle.
    Rectangle {
        /// Left edge.
        x: i32,
        /// Upper edge.
        y: i32,
        /// Width.
        width: i32,
        /// Height.
        height: i32,
        /// Its colour.
        colour: Colour,
    },
    /// A filled circle with a white rim. Positions and radius are in half pixels: the middle of a
    /// pixel is an odd number.
    Dot {
        /// Middle.
        x2: i32,
        /// Middle.
        y2: i32,
        /// Radius without the rim.
        radius2: i32,
        /// Its colour.
        colour: Colour,
    },
    /// Equal squares of colours, row by row.
    Squares {
        /// Left edge.
        x: i32,
        /// Upper edge.
        y: i32,
        /// Side of a square.
        size: i32,
        /// Squares in a row.
        columns: usize,
        /// The colours.
        colours: Vec<Colour>,
    },
    /// A line of text.
    Text {
        /// Position of the anchor.
        x: i32,
        /// Position of the anchor.
        y: i32,
        /// The text.
        text: String,
        /// Its size.
        size: TextSize,
        /// Which point of it is at the position.
        anchor: Anchor,
        /// Which way it runs.
        direction: Direction,
    },
}

/// A figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawing {
    /// Width in pixels.
    pub width: i32,
    /// Height in pixels.
    pub height: i32,
    /// What it shows, for those who cannot see it.
    pub title: String,
    /// The shapes, those in front last.
    pub shapes: Vec<Shape>,
}
