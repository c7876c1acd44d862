//! Unit tests of the pure step.
