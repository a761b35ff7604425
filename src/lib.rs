//! hoist: `compose up` without Docker.
pub mod base;
pub mod compose;
pub mod engine;
pub mod image;
pub mod sys;
