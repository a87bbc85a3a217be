from types import SimpleNamespace

from vllm.v1.metrics.loggers import StatLoggerManager
from vllm.v1.metrics.stats import FinishedRequestStats, IterationStats, SchedulerStats


class OutputProcessor:
    def __init__(self):
        self.requests = {}

    def get_num_unfinished_requests(self):
        return len(self.requests)


class LLMEngine:
    def __init__(self, vllm_config, executor_class, log_stats, *args, **keywords):
        self.vllm_config = vllm_config
        self.output_processor = OutputProcessor()
        self.logger_manager = StatLoggerManager() if log_stats else None
        self.errored = False

    @classmethod
    def from_engine_args(cls, engine_args, *args, **keywords):
        config = SimpleNamespace(
            scheduler_config=SimpleNamespace(max_num_seqs=16, max_num_queued_reqs=None),
            cache_config=SimpleNamespace(num_gpu_blocks=100, block_size=16),
            model_config=SimpleNamespace(max_model_len=2048),
        )
        return cls(config, None, not engine_args.disable_log_stats)

    def add_request(self, request_id, prompt, params):
        self.output_processor.requests[request_id] = params.max_tokens

    def step(self):
        requests = self.output_processor.requests
        stats = IterationStats(num_generation_tokens=len(requests))
        stats.inter_token_latencies_iter = [0.01] * len(requests)
        for request_id in list(requests):
            requests[request_id] -= 1
            if requests[request_id] == 0:
                del requests[request_id]
                stats.finished_requests.append(
                    FinishedRequestStats(request_id=request_id, finish_reason=1, num_generation_tokens=4)
                )
        if self.logger_manager is not None:
            self.logger_manager.record(SchedulerStats(num_running_reqs=len(requests), kv_cache_usage=0.5), stats)
        return []
