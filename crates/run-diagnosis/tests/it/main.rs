//! One binary for all integration tests, so that there is one link step.

mod bound;
mod support;
mod window;
