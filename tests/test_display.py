"""How a replay stands, as text."""

from replay.display import display
from replay.run import Status


class Terminal:
    def __init__(self, tty):
        self.tty, self.text = tty, ""

    def isatty(self):
        return self.tty

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_away_from_a_terminal_a_line_comes_every_few_seconds():
    stream, seconds = Terminal(False), iter(range(0, 100, 2))

    with display(stream, lambda: next(seconds)) as tell:
        tell(Status("check", 5, 10))
        for done in range(0, 9000, 1000):
            tell(Status("send", done, 9000, behind_s=done / 1000))

    assert stream.text.splitlines() == [
        "checking the file: 5 of 10 values",
        "sending: 0 of 9,000 records",
        "sending: 3,000 of 9,000 records, 500 per s, 3 s behind",
        "sending: 6,000 of 9,000 records, 500 per s, 6 s behind",
    ]


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream, seconds = Terminal(True), iter(range(100))

    with display(stream, lambda: next(seconds)) as tell:
        tell(Status("send", 1000, 2000))
        tell(Status("send", 2000, 2000))

    assert "2,000 of 2,000 records" in stream.text
