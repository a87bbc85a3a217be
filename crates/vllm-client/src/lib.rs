//! Talk to one vLLM server: token streams, health, version, control routes; start and stop its process.
