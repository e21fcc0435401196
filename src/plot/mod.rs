//! Pictures of an output folder. They are made from its files through the one reader of output
//! folders, [`FinishedFolder`](crate::output::FinishedFolder), and the same folder gives the same
//! bytes on every machine.
//!
//! [`contacts`] draws contact maps. A figure is a [`Drawing`]: a list of shapes at whole pixels, which
//! [`svg`] writes as vectors and [`png`] as pixels.

mod colour_scale;
pub mod contact_figure;
pub mod contact_map;
pub mod contacts;
pub mod drawing;
mod error;
pub mod files;
mod font;
pub mod png;
pub mod svg;
mod ticks;

pub use contact_map::{ContactMap, Pair, Top};
pub use contacts::{Chosen, ContactPlots, PlottedContacts};
pub use drawing::Drawing;
pub use error::PlotError;
