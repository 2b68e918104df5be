# The functions are typed where they are wrapped; pybind11's own signatures say no more than Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
