from dataclasses import dataclass


@dataclass
class EngineArgs:
    model: str = "m"
    disable_log_stats: bool = False
    enable_logging_iteration_details: bool = False

    def __post_init__(self):
        from vllm_monitor.engine_plugin import register

        register()

    @staticmethod
    def add_cli_args(parser):
        parser.add_argument("--model")
        return parser

    @classmethod
    def from_cli_args(cls, args):
        return cls(model=args.model)


@dataclass
class AsyncEngineArgs(EngineArgs):
    pass
