class EngineCore:
    pass
