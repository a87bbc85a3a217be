//! Names of the files in the folder of LoadGen's logs.

/// LoadGen's log for people.
pub const SUMMARY_LOG: &str = "mlperf_log_summary.txt";
/// LoadGen's log for the submission checker.
pub const DETAIL_LOG: &str = "mlperf_log_detail.txt";
/// LoadGen's log of answers.
pub const ACCURACY_LOG: &str = "mlperf_log_accuracy.json";
/// The accuracy figures, in the form that the submission checker reads.
pub const ACCURACY_TXT: &str = "accuracy.txt";
/// The settings that repeat the run, in a submission too.
pub const USER_CONF: &str = "user.conf";
