//! hoist: `compose up` without Docker.
pub mod apply;
pub mod base;
pub mod build;
pub mod cli;
pub mod compose;
pub mod engine;
pub mod graph;
pub mod image;
pub mod plan;
pub mod sys;
pub mod ui;
