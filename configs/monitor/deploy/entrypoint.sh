#!/bin/sh
# Starts `vllm` with the arguments given, all of them, under vllm-monitor. A command that begins with a program's path or
# name other than a subcommand of vllm is started as it is.
set -eu
case "${1:-}" in
    "") echo "usage: serve MODEL [vLLM's arguments]" >&2; exit 2 ;;
    serve) set -- vllm "$@" ;;
    -*) set -- vllm serve "$@" ;;
esac
# exec: the monitor must be process 1, or signals would not reach it.
exec vllm-monitor run -- "$@"
