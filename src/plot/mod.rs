//! Pictures of an output folder. They are made from its files through the one reader of output
//! folders, [`FinishedFolder`](crate::output::FinishedFolder), and the same folder gives the same
//! bytes on every machine.
//!
//! [`contacts`] draws contact maps, and [`map`] a map on which similar proteins are near each other,
//! from [principal components](pca) and [UMAP](umap). [`report`] makes one page about a run. A figure
//! is a [`Drawing`]: a list of shapes at whole pixels, which [`svg`] writes as vectors and [`png`] as
//! pixels.

pub mod annotations;
mod bundle;
mod colour_scale;
pub mod contact_figure;
pub mod contact_map;
pub mod contacts;
pub mod drawing;
mod eigen;
mod error;
pub mod files;
mod font;
pub mod map;
mod map_page;
mod map_table;
pub mod neighbours;
pub mod pca;
pub mod png;
mod projections;
mod random;
pub mod report;
mod report_page;
pub mod svg;
mod ticks;
pub mod umap;

pub use contact_map::{ContactMap, Pair, Top};
pub use contacts::{Chosen, ContactPlots, PlottedContacts};
pub use drawing::Drawing;
pub use error::PlotError;
pub use map::{MapPlot, PlottedMap};
pub use projections::{Projection, Projections, Settings, Stage};
pub use report::{ReportPlot, Reported};
