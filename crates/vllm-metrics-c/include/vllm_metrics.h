// Recording a run of a vLLM server from a harness in C or C++. Made by scripts/c-header; do not edit.

#ifndef VLLM_METRICS_H
#define VLLM_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Value of `batch_id` for a request without a batch.
#define VM_NO_BATCH UINT64_MAX

// An unknown time or duration in nanoseconds.
#define VM_NO_TIME INT64_MIN

// An unknown number of tokens.
#define VM_NO_COUNT UINT32_MAX

// Success.
#define VM_OK 0

// The call failed; the text says why.
#define VM_FAILED 1

// A run being recorded. Made by `vm_session_start`, ended by `vm_session_finish` or `vm_session_drop`.
typedef struct VmSession VmSession;

// How a request ended. Fill with `vm_completed_tokens`, then change fields as needed.
typedef struct VmCompleted {
  // Whether it was answered in full.
  bool ok;
  // Index of the endpoint that served it.
  uint32_t endpoint;
  // Prompt length in tokens, or `VM_NO_COUNT`.
  uint32_t prompt_tokens;
  // Output length in tokens, including the first, or `VM_NO_COUNT`.
  uint32_t output_tokens;
  // HTTP status if that is why it failed, else 0.
  uint16_t http_status;
  // Time in the server's queue, as reported by the server, or `VM_NO_TIME`.
  int64_t server_queue_ns;
  // The server's prefill time, or `VM_NO_TIME`.
  int64_t server_prefill_ns;
  // The server's decode time, or `VM_NO_TIME`.
  int64_t server_decode_ns;
} VmCompleted;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Starts a session. `config_json` is an object with the keys of a session's configuration, for example
// `{"endpoints": [{"url": "http://localhost:8000"}], "interval_secs": 0.5, "output_dir": "out"}`.
// Returns null on failure, with the reason in `error` (cut to `error_size`, always NUL-terminated).
//
// # Safety
//
// `config_json` is a NUL-terminated string; `error` is null or has room for `error_size` bytes.
struct VmSession *vm_session_start(const char *config_json,
                                   char *error,
                                   size_t error_size);

// Ends the run and writes its files; `session` is freed, whatever is returned. `summary` receives a JSON
// object: `samples`, `processed`, `requests`, `events` (paths or null), `cost` and `missing`; on failure the
// reason. It is cut to `summary_size`; 64 KiB hold every summary of a single endpoint.
//
// # Safety
//
// `session` is null or from `vm_session_start`, not yet ended, and no other thread uses it any more; `summary` is
// null or has room for `summary_size` bytes.
int vm_session_finish(struct VmSession *session,
                      char *summary,
                      size_t summary_size);

// Drops a session without finishing it: its files stay readable, as after a kill.
//
// # Safety
//
// As for `vm_session_finish`.
void vm_session_drop(struct VmSession *session);

// Now on the run's clock, in nanoseconds since the Unix epoch; `VM_NO_TIME` without a session.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
int64_t vm_now_ns(const struct VmSession *session);

// Scrapes every endpoint now and waits for it, `limit_ms` at most. Call it right before the first load, so that
// counters start there. False if the limit passed first, or without a session.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
bool vm_scrape_now(const struct VmSession *session,
                   uint64_t limit_ms);

// Marks that the model answers; load time ends here.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
void vm_model_loaded(const struct VmSession *session);

// Begins a phase of the run, which lasts until the next one.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended; `name` is a NUL-terminated string.
void vm_phase(const struct VmSession *session, const char *name);

// Marks that the last query was answered.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
void vm_test_completed(const struct VmSession *session);

// Marks that a batch of `requests` queries was issued.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
void vm_batch_issued(const struct VmSession *session, uint64_t batch_id, uint32_t requests);

// Marks that the last query of a batch was answered.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
void vm_batch_completed(const struct VmSession *session, uint64_t batch_id);

// Marks that a query was issued. `batch_id` may be `VM_NO_BATCH`. `scheduled_ns`, the time at which the load
// generator intended to send it, may be `VM_NO_TIME`.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
void vm_request_issued(const struct VmSession *session,
                       uint64_t id,
                       uint64_t sample_index,
                       uint64_t batch_id,
                       int64_t scheduled_ns);

// Marks that the request's bytes were sent.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
void vm_request_sent(const struct VmSession *session, uint64_t id);

// Marks that the first token of the answer arrived.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
void vm_first_token(const struct VmSession *session, uint64_t id);

// Returns a full answer of `output_tokens` tokens, with everything else unknown.
struct VmCompleted vm_completed_tokens(uint32_t output_tokens);

// Marks that the query was answered, successfully or not.
//
// # Safety
//
// `session` is null or from `vm_session_start` and not yet ended.
void vm_request_completed(const struct VmSession *session, uint64_t id, struct VmCompleted how);

#ifdef __cplusplus
} // extern "C"
#endif // __cplusplus

#endif /* VLLM_METRICS_H */
