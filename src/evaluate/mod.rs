//! How well anomalies are found in labelled series. Labels are only ever compared with what came out: nothing is chosen
//! by them, and nothing is point-adjusted.

mod metrics;
mod series;

pub use metrics::{Confusion, Metrics, average_precision};
pub use series::{Components, EvaluateError, LabelledSeries, RowScore, score_series};
