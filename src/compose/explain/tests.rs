//! Answers to questions about small projects.
