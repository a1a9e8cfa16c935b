//! Pure types and functions, in the order in which a record meets them. Nothing here does I/O or reads a clock.

pub mod record;

pub mod align;
pub mod sensor;
pub mod window;

pub mod model;
pub mod normalize;

pub mod history;

pub mod neighbor;
pub mod unit;

pub mod alarm;
pub mod deviation;
pub mod threshold;

pub mod event;
