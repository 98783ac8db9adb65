//! Data that ships inside the crate.
