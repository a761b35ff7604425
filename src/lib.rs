//! hoist: `compose up` without Docker.
pub mod apply;
pub mod base;
pub mod build;
pub mod compose {
    //! Compose.
    pub mod model;
}
pub mod engine;
pub mod graph;
pub mod image;
pub mod plan;
pub mod sys;
