"""Fixtures. Tests that need vLLM are skipped without it, and the count of skipped ones is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FAKE_VLLM = HERE / "fake_vllm"


@pytest.fixture
def run_python():
    """Runs Python code in a process of its own, with the stand-in for vLLM on its path."""

    def run(code: str, *, fake: bool = True, **variables: str) -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VLLM_")}
        if fake:
            # The folder stands before site-packages, so that it wins over a real vLLM.
            environment["PYTHONPATH"] = str(FAKE_VLLM)
        environment.update(variables)
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
