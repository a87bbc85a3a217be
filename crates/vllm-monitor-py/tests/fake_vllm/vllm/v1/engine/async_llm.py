class AsyncLLM:
    def __init__(self, *args, **keywords):
        pass
