//! The MLPerf System Under Test for vLLM.
