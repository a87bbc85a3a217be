class StatLoggerBase:
    pass


class AggregateStatLoggerBase(StatLoggerBase):
    pass


class StatLoggerManager:
    def __init__(self):
        self.engine_indexes = [0]
        self.stat_loggers = []

    def record(self, scheduler_stats, iteration_stats, engine_idx=0):
        for logger in self.stat_loggers:
            logger.record(scheduler_stats, iteration_stats, mm_cache_stats=None, engine_idx=engine_idx)
