"""A stand-in for vLLM: the few classes that the monitor touches, with an engine that counts."""

from vllm.entrypoints.llm import LLM, SamplingParams

__all__ = ["LLM", "SamplingParams"]
