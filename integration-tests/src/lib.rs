//! What the tests of this folder share: fixtures over real foreign services, and the real binary.

pub mod kafka;
pub mod plant;
pub mod process;
