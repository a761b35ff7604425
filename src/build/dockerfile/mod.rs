//! The Dockerfile language: text in, typed instructions with their places out.
//!
//! It reads no file and resolves no name: variables stay as written until `build::lower`.
//! Imports: `base`, `build::pattern`. Rules: Dockerfile reference; details as BuildKit's built-in front end.

pub mod ast;
pub mod directives;
pub mod lex;
pub mod mounts;
pub mod parse;
mod transfer;
pub mod vars;
mod words;
