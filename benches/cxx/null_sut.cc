// The ceiling for the LoadGen binding: the same test with a SUT in plain C++, linked with the same LoadGen.
// Usage: null_sut LOG_FOLDER QUERIES
#include <cstdlib>
#include <string>
#include <vector>

#include "loadgen.h"
#include "query_sample_library.h"
#include "system_under_test.h"
#include "test_settings.h"

namespace {

class Sut : public mlperf::SystemUnderTest {
 public:
  const std::string& Name() override { return name_; }
  void IssueQuery(const std::vector<mlperf::QuerySample>& samples) override {
    for (const auto& sample : samples) {
      uint64_t answer = sample.index;
      mlperf::QuerySampleResponse response(sample.id, reinterpret_cast<uintptr_t>(&answer), sizeof(answer), 0);
      mlperf::QuerySamplesComplete(&response, 1);
    }
  }
  void FlushQueries() override {}

 private:
  std::string name_ = "null SUT";
};

class Qsl : public mlperf::QuerySampleLibrary {
 public:
  const std::string& Name() override { return name_; }
  size_t TotalSampleCount() override { return 1024; }
  size_t PerformanceSampleCount() override { return 1024; }
  void LoadSamplesToRam(const std::vector<mlperf::QuerySampleIndex>&) override {}
  void UnloadSamplesFromRam(const std::vector<mlperf::QuerySampleIndex>&) override {}

 private:
  std::string name_ = "null QSL";
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  mlperf::TestSettings settings;
  settings.scenario = mlperf::TestScenario::SingleStream;
  settings.mode = mlperf::TestMode::PerformanceOnly;
  settings.min_duration_ms = 0;
  settings.min_query_count = std::strtoull(argv[2], nullptr, 10);
  mlperf::LogSettings log;
  log.log_output.outdir = argv[1];
  log.enable_trace = false;
  Sut sut;
  Qsl qsl;
  mlperf::StartTest(&sut, &qsl, settings, log, "");
  return 0;
}
