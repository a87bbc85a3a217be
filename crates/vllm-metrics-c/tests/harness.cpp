// A harness in C++: three threads issue and answer requests; the last line printed is the run's summary.
#include "vllm_metrics.h"

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  char text[65536];
  // A configuration that cannot be used is refused with a reason, and everything works on nothing.
  VmSession *none = vm_session_start("{\"interval\": 1}", text, sizeof text);
  if (none != nullptr || std::string(text).find("interval") == std::string::npos) return 3;
  vm_phase(none, "nothing");
  vm_request_issued(none, 1, 1, VM_NO_BATCH, VM_NO_TIME);
  if (vm_session_finish(none, nullptr, 0) != VM_FAILED || vm_now_ns(none) != VM_NO_TIME) return 4;

  const std::string config = std::string("{\"output_dir\": \"") + argv[1] + "\", \"facts\": {\"harness\": \"c++\"}}";
  VmSession *session = vm_session_start(config.c_str(), text, sizeof text);
  if (session == nullptr) {
    std::fprintf(stderr, "%s\n", text);
    return 5;
  }
  vm_model_loaded(session);
  if (!vm_scrape_now(session, 1000)) return 6;
  vm_phase(session, "performance");
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 3; ++thread) {
    threads.emplace_back([session, thread] {
      vm_batch_issued(session, thread, 100);
      for (uint64_t n = 0; n < 100; ++n) {
        const uint64_t id = thread * 100 + n;
        vm_request_issued(session, id, n, thread, vm_now_ns(session));
        vm_request_sent(session, id);
        vm_first_token(session, id);
        VmCompleted how = vm_completed_tokens(7);
        how.server_queue_ns = 1000;
        if (n == 0) {
          how.ok = false;
          how.http_status = 503;
        }
        vm_request_completed(session, id, how);
      }
      vm_batch_completed(session, thread);
    });
  }
  for (std::thread &thread : threads) thread.join();
  vm_test_completed(session);
  if (vm_session_finish(session, text, sizeof text) != VM_OK) return 7;
  std::puts(text);
  return 0;
}
