//! One binary for all integration tests, so that there is one link step.

mod alerts;
mod bound;
mod compare;
mod support;
mod window;
