//! A server that looks like vLLM from outside: continuous batching, KV blocks, metrics, faults. Deterministic from a seed.
