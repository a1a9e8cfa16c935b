//! Memory: what normal looked like, and how a window is compared with it. Policies only; storage and graphs are adapters.

pub mod bank;
pub mod calibration;
pub mod coreset;
pub mod exact;
pub mod prefill;
