// The C++ half of the binding: LoadGen's virtual classes, forwarded to Rust.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rust/cxx.h"

namespace mlperf_loadgen {

struct RawSample;
struct RawSettings;
struct RawLogSettings;
struct RawEffective;
struct FromConfig;
struct Callbacks;

void start_test(const Callbacks& callbacks, const RawSettings& settings, const RawLogSettings& log,
                size_t total_samples, size_t performance_samples, rust::Str qsl_name, rust::Str audit_config);
void issue_thread();
void end_issue_threads();
void end_process(int32_t status);

void complete(size_t id, rust::Slice<const uint8_t> data, int64_t n_tokens);
void first_token(size_t id, rust::Slice<const uint8_t> data);
int64_t scheduled_unix_ns(size_t id);
int64_t issued_unix_ns(size_t id);

RawSettings default_settings();
FromConfig from_config(RawSettings settings, rust::Str path, rust::Str model, rust::Str scenario, int32_t kind);
RawEffective effective_settings(const RawSettings& settings, size_t performance_samples, size_t total_samples);
rust::String mlperf_conf_text();
rust::String loadgen_version();
int64_t min_passing_queries(int64_t over, double percentile, double tolerance, double confidence);

}  // namespace mlperf_loadgen
