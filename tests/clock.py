"""A clock that is moved by hand."""

from replay.clock import Clock

START_MS = 1_700_000_000_000


class HandClock(Clock):
    """Moves only when it is slept on."""

    def __init__(self):
        self.seconds = 50.0

    def now_s(self):
        return self.seconds

    def epoch_ms(self):
        return START_MS

    def sleep(self, seconds):
        assert 0 < seconds < 0.2001
        self.seconds += seconds
