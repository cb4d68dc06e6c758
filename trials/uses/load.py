from dataclasses import dataclass
@dataclass
class Load:
    requests: int; at_once: int; deployment: object; engine: str; evaluations: int
def run(*a): ...
