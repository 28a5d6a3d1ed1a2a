//! The client of the systems.
