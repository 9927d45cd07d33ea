from collections.abc import Sequence

from core.native.streams import LiveStream

class Limits:
    def __init__(self, lowest: Sequence[float], highest: Sequence[float], one_hot: bool) -> None: ...
    def hold(self, stream: LiveStream) -> bool: ...
