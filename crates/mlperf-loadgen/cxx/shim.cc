#include "shim.h"

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "early_stopping.h"
#include "issue_query_controller.h"
#include "loadgen.h"
#include "logging.h"
#include "mlperf-loadgen/src/ffi.rs.h"
#include "query_sample.h"
#include "query_sample_library.h"
#include "system_under_test.h"
#include "test_settings.h"
#include "test_settings_internal.h"
#include "version.h"

// Defined by LoadGen's mlperf_conf.h, which holds a definition and so must not be included twice.
extern const char* mlperf_conf;

namespace mlperf_loadgen {
namespace {

static_assert(sizeof(RawSample) == sizeof(mlperf::QuerySample), "a query is passed to Rust without a copy");
static_assert(offsetof(RawSample, id) == offsetof(mlperf::QuerySample, id), "same layout");
static_assert(offsetof(RawSample, index) == offsetof(mlperf::QuerySample, index), "same layout");

// LoadGen's threads would end the process if an exception left a callback, so every override is noexcept; on
// the Rust side every one of them catches panics.
class Sut final : public mlperf::SystemUnderTest {
 public:
  explicit Sut(const Callbacks& callbacks) : callbacks_(callbacks) {}

  const std::string& Name() noexcept override {
    // LoadGen times this call and keeps the reference while its log thread reads the string. So Rust is asked
    // each time (a network SUT makes a round trip here), and the string is written once.
    rust::String name = sut_name(callbacks_);
    if (name_.empty()) name_ = std::string(name);
    return name_;
  }

  void IssueQuery(const std::vector<mlperf::QuerySample>& samples) noexcept override {
    issue_query(callbacks_, rust::Slice<const RawSample>(
                                reinterpret_cast<const RawSample*>(samples.data()), samples.size()));
  }

  void FlushQueries() noexcept override { flush_queries(callbacks_); }

 private:
  const Callbacks& callbacks_;
  std::string name_;
};

// Name and counts are asked once before the test: LoadGen reads them from its log thread too, and divides by
// them, so they must neither change nor be zero.
class Qsl final : public mlperf::QuerySampleLibrary {
 public:
  Qsl(const Callbacks& callbacks, std::string name, size_t total, size_t performance)
      : callbacks_(callbacks), name_(std::move(name)), total_(total), performance_(performance) {}

  const std::string& Name() noexcept override { return name_; }
  size_t TotalSampleCount() noexcept override { return total_; }
  size_t PerformanceSampleCount() noexcept override { return performance_; }

  void LoadSamplesToRam(const std::vector<mlperf::QuerySampleIndex>& samples) noexcept override {
    load_samples(callbacks_, rust::Slice<const size_t>(samples.data(), samples.size()));
  }
  void UnloadSamplesFromRam(const std::vector<mlperf::QuerySampleIndex>& samples) noexcept override {
    unload_samples(callbacks_, rust::Slice<const size_t>(samples.data(), samples.size()));
  }

 private:
  const Callbacks& callbacks_;
  const std::string name_;
  const size_t total_;
  const size_t performance_;
};

mlperf::TestSettings to_loadgen(const RawSettings& raw) {
  mlperf::TestSettings s;
  s.scenario = static_cast<mlperf::TestScenario>(raw.scenario);
  s.mode = static_cast<mlperf::TestMode>(raw.mode);
#define COPY(field) s.field = raw.field;
#include "settings_fields.inc"
#undef COPY
  return s;
}

RawSettings from_loadgen(const mlperf::TestSettings& s) {
  RawSettings raw{};
  raw.scenario = static_cast<int32_t>(s.scenario);
  raw.mode = static_cast<int32_t>(s.mode);
#define COPY(field) raw.field = s.field;
#include "settings_fields.inc"
#undef COPY
  return raw;
}

const mlperf::loadgen::QueryMetadata& query_of(size_t id) {
  return *reinterpret_cast<const mlperf::loadgen::SampleMetadata*>(id)->query_metadata;
}

int64_t unix_ns(mlperf::PerfClock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

mlperf::QuerySampleResponse response(size_t id, rust::Slice<const uint8_t> data, int64_t n_tokens) {
  return mlperf::QuerySampleResponse(id, reinterpret_cast<uintptr_t>(data.data()), data.size(), n_tokens);
}

// When LoadGen's global logger is destroyed at the end of the process, it detaches the log of every thread that is
// still there, and races with threads that end at that moment and do the same (a known gap in its logging.cc). So the
// process ends before the destructors of globals run. Exit handlers run in the reverse order of their registration:
// this one has to be registered after the globals exist. The exit status is kept. Only glibc tells a handler the
// status; elsewhere a program ends by end_process.
void end_before_destructors() {
#ifdef __GLIBC__
  mlperf::logging::GlobalLogger();
  on_exit(
      [](int status, void*) {
        std::fflush(nullptr);
        std::_Exit(status);
      },
      nullptr);
#endif
}

}  // namespace

// cxx turns an exception that leaves one of these functions into an Err.
void start_test(const Callbacks& callbacks, const RawSettings& settings, const RawLogSettings& log,
                size_t total_samples, size_t performance_samples, rust::Str qsl_name, rust::Str audit_config) {
  end_before_destructors();
  Sut sut(callbacks);
  Qsl qsl(callbacks, std::string(qsl_name), total_samples, performance_samples);
  mlperf::LogSettings log_settings;
  log_settings.log_output.outdir = std::string(log.outdir);
  log_settings.log_output.prefix = std::string(log.prefix);
  log_settings.log_output.suffix = std::string(log.suffix);
  log_settings.log_output.prefix_with_datetime = log.prefix_with_datetime;
  log_settings.log_output.copy_detail_to_stdout = log.copy_detail_to_stdout;
  log_settings.log_output.copy_summary_to_stdout = log.copy_summary_to_stdout;
  log_settings.enable_trace = log.enable_trace;
  mlperf::StartTest(&sut, &qsl, to_loadgen(settings), log_settings, std::string(audit_config));
  // Once more, after the globals that the test has made.
  end_before_destructors();
}

void issue_thread() { mlperf::RegisterIssueQueryThread(); }

void end_issue_threads() { mlperf::loadgen::IssueQueryController::GetInstance().EndThreads(); }

// No destructor of a global may run beside LoadGen's threads.
void end_process(int32_t status) { std::_Exit(status); }

void complete(size_t id, rust::Slice<const uint8_t> data, int64_t n_tokens) {
  auto answer = response(id, data, n_tokens);
  mlperf::QuerySamplesComplete(&answer, 1);
}

void first_token(size_t id, rust::Slice<const uint8_t> data) {
  auto answer = response(id, data, 0);
  mlperf::FirstTokenComplete(&answer, 1);
}

int64_t scheduled_unix_ns(size_t id) { return unix_ns(query_of(id).scheduled_time); }

int64_t issued_unix_ns(size_t id) { return unix_ns(query_of(id).issued_start_time); }

RawSettings default_settings() {
  mlperf::TestSettings s;
  // The one field that LoadGen leaves uninitialised.
  s.token_latency_scaling_factor = 0;
  return from_loadgen(s);
}

FromConfig from_config(RawSettings settings, rust::Str path, rust::Str model, rust::Str scenario, int32_t kind) {
  mlperf::TestSettings s = to_loadgen(settings);
  int code = s.FromConfig(std::string(path), std::string(model), std::string(scenario), kind);
  return FromConfig{from_loadgen(s), code};
}

RawEffective effective_settings(const RawSettings& settings, size_t performance_samples, size_t total_samples) {
  mlperf::loadgen::TestSettingsInternal e(to_loadgen(settings), performance_samples, total_samples);
  RawEffective out{};
  out.scenario = static_cast<int32_t>(e.scenario);
  out.mode = static_cast<int32_t>(e.mode);
  out.samples_per_query = e.samples_per_query;
  out.target_qps = e.target_qps;
  out.target_latency_ns = e.target_latency.count();
  out.target_latency_percentile = e.target_latency_percentile;
  out.max_async_queries = e.max_async_queries;
  out.target_duration_ms = e.target_duration.count();
  out.min_duration_ms = e.min_duration.count();
  out.max_duration_ms = e.max_duration.count();
  out.min_query_count = e.min_query_count;
  out.max_query_count = e.max_query_count;
  out.min_sample_count = e.min_sample_count;
  out.qsl_rng_seed = e.qsl_rng_seed;
  out.sample_index_rng_seed = e.sample_index_rng_seed;
  out.schedule_rng_seed = e.schedule_rng_seed;
  out.accuracy_log_rng_seed = e.accuracy_log_rng_seed;
  out.accuracy_log_probability = e.accuracy_log_probability;
  out.accuracy_log_sampling_target = e.accuracy_log_sampling_target;
  out.performance_issue_unique = e.performance_issue_unique;
  out.performance_issue_same = e.performance_issue_same;
  out.performance_issue_same_index = e.performance_issue_same_index;
  out.performance_sample_count = e.performance_sample_count;
  out.accuracy_sample_count = e.accuracy_sample_count;
  out.sample_concatenate_permutation = e.sample_concatenate_permutation;
  out.use_token_latencies = e.use_token_latencies;
  out.ttft_latency_ns = e.server_ttft_latency;
  out.tpot_latency_ns = e.server_tpot_latency;
  return out;
}

rust::String mlperf_conf_text() { return rust::String(::mlperf_conf); }

rust::String loadgen_version() { return rust::String(mlperf::LoadgenVersion()); }

int64_t min_passing_queries(int64_t over, double percentile, double tolerance, double confidence) {
  mlperf::loadgen::MinPassingQueriesFinder find;
  return find(over, percentile, tolerance, confidence);
}

}  // namespace mlperf_loadgen
