"""Which vLLM this package knows well enough to change it from inside."""

from __future__ import annotations

#: Private attributes are read and written only in these versions.
KNOWN = ("0.32.0",)


def vllm_version() -> str | None:
    """Version of the installed vLLM without a local part such as ``+cpu``; ``None`` without vLLM."""
    try:
        from vllm.version import __version__
    except ImportError:
        return None
    return str(__version__).split("+", 1)[0]


def is_known() -> bool:
    """Whether the installed version is one of :data:`KNOWN`."""
    return vllm_version() in KNOWN
