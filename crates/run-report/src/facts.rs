//! Facts of a record that a comparison or a diagnosis asks for, by the keys under which a harness stores them.

/// Hash of the dataset's content, so that two runs of the same file under other names are the same work.
pub const DATASET_HASH: &str = "dataset_hash";
/// Limit on the time to first token, in seconds.
pub const TTFT_LIMIT: &str = "ttft_limit_secs";
/// Limit on the time per output token, in seconds.
pub const TPOT_LIMIT: &str = "tpot_limit_secs";
/// Begins the key of each argument of the server: `server_argument.max-num-seqs`.
pub const SERVER_ARGUMENT: &str = "server_argument.";
/// Seed of arrival times and of the order of samples.
pub const SEED: &str = "seed";
