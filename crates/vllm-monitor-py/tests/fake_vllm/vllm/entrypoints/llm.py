from dataclasses import dataclass

from vllm.engine.arg_utils import EngineArgs
from vllm.v1.engine.llm_engine import LLMEngine


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int = 4


class LLM:
    def __init__(self, model, **keywords):
        keywords.setdefault("disable_log_stats", True)
        self.llm_engine = LLMEngine.from_engine_args(EngineArgs(model=model, **keywords))

    def generate(self, prompts, params):
        for number, prompt in enumerate(prompts):
            self.llm_engine.add_request(str(number), prompt, params)
        while self.llm_engine.output_processor.requests:
            self.llm_engine.step()
        return prompts
