"""Lines from a pipe into records, with the real MQTT broker in front of the real Kafka at the end."""

import math
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.data.csv.lines import MAX_LINE_BYTES, LineSplitter
from core.errors import RecordError, RunError, StartupError
from core.tasks.reading import shipped
from core.wire.records import decode_casting, decode_signal
from replay.lines import LineParser
from replay.send import send, stdin_chunks
from tests.broker import consume_all, consume_until, wait_until
from tests.clock import HandClock
from tests.sinks import MemorySink

ROOT = Path(__file__).resolve().parent.parent
CAST = (
    b'{"stream": "strand-7", "casting_speed": 1.2, "mold_temperature": 1520, "mold_level": 150,'
    b' "cooling_water_flow": 200, "superheat": 25, "sequence": "heat-1", "step": %d}\n'
)
SIGNALS = shipped("signal")
SIGNAL = b'{"signal": 0.25, "condition_vector": [0, 1, 0, 0], "step": %d}\n'


@pytest.fixture
def feed():
    """Sends bytes; ``feed(kind, data, **options)`` gives the summary, the records and the bad lines."""

    def run(kind, *data, **options):
        sink, bad = options.pop("sink", None) or MemorySink(), []
        given = {"client_config": {}, "topic": "t", "clock": HandClock(), "on_bad": lambda *line: bad.append(line)}
        summary = send(shipped(kind), chunks=data, sink=sink, **given | options)
        return summary, sink.records, bad

    return run


def test_json_lines_become_records_with_their_stream_as_the_key(feed):
    summary, records, bad = feed("casting", *(CAST % step for step in range(3)))

    assert [key for key, _ in records] == [b"strand-7"] * 3
    samples = [decode_casting(value) for _, value in records]
    assert [(each.sequence, each.step, each.superheat, each.end) for each in samples] == [
        ("heat-1", step, 25.0, False) for step in range(3)
    ]
    assert all(b"strand-7" not in value for _, value in records)
    assert (summary.sent, summary.bad, bad) == (3, 0, [])


def test_lines_without_a_stream_take_the_one_given(feed):
    _, records, _ = feed(
        "signal", SIGNAL % 1, b'{"stream": "own", "signal": 1, "condition_vector": [1,0,0,0]}', stream="s"
    )

    assert [key for key, _ in records] == [b"s", b"own"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_has_columns_named_as_the_fields(feed, separator):
    lines = [
        "step,stream,c1,c2,c3,c4,signal,timestamp_ms,sequence,note",
        "4,s-1,0,0,1,0,-0.5,1700000000000,run-1,x",
        "5,s-1,0,0,1,0,1e-3,,,",
    ]
    text = "\r\n".join(line.replace(",", separator) for line in lines)

    _, records, bad = feed("signal", b"\xef\xbb\xbf" + text.encode())

    samples = [decode_signal(value) for _, value in records]
    assert [(each.signal, each.step, each.timestamp_ms) for each in samples] == [
        (-0.5, 4, 1_700_000_000_000),
        (0.001, 5, None),
    ]
    assert samples[0].condition_vector == (0.0, 0.0, 1.0, 0.0)
    assert samples[0].sequence == "run-1"
    assert bad == []


@pytest.mark.parametrize(("cell", "end"), [("true", True), ("1", True), ("False", False), ("0", False), ("", False)])
def test_a_csv_says_the_end_of_a_cast(feed, cell, end):
    header = "casting_speed,mold_temperature,mold_level,cooling_water_flow,superheat,end\n"

    _, records, _ = feed("casting", f"{header}1.2,1520,150,200,25,{cell}\n".encode(), stream="s")

    assert [end] == [bool(decode_casting(value).end) for _, value in records]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"{", "goes on below: one object on each line is needed: jq -c ."),
        (b'{"signal": 1,', "truncated"),
        (b"[1, 2]", "begins with [: one object on each line is needed: jq -c '.[]'"),
        (b"\xff{}", "not UTF-8"),
        (b'{"signal": 1}', "condition_vector"),
        (b'{"signal": 1e7, "condition_vector": [1,0,0,0]}', "signal"),
        (b'{"signal": 1, "condition_vector": [1,0,0]}', "condition_vector"),
        (b'{"signal": 1, "condition_vector": [1,0,0,0], "step": -1}', "step"),
        (b'{"signal": 1, "condition_vector": [1,0,0,0], "stream": 7}', "stream is 7: must be text"),
        (b'{"signal": 1, "condition_vector": [1,0,0,0], "stream": ""}', "no key"),
        (b'{"signal": 1, "condition_vector": [1,0,0,0], "stream": "%b"}' % (b"x" * 256), "256 bytes"),
        (b"x" * (MAX_LINE_BYTES + 1), "longer than"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_the_feed_goes_on(feed, line, found):
    summary, records, bad = feed("signal", SIGNAL % 1 + b"\n" + line + b"\n" + SIGNAL % 2, stream="s")

    assert [decode_signal(value).step for _, value in records] == [1, 2]
    assert (summary.sent, summary.bad, summary.lines) == (2, 1, 4)
    assert [number for number, _ in bad] == [3]
    assert found in bad[0][1]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("x,1,0,0,0,1", "signal is 'x': must be a number"),
        ("nan,1,0,0,0,1", "must be a finite number"),
        ("1,1,0,0,0,1.5", "step is '1.5': must be a whole number"),
        ("1,1,0,0,,1", "c4 is empty"),
        ("1,1,0,0", "has 4 cells, the header has 6"),
        ('1,"1', "begins with a quote that is not closed"),
    ],
)
def test_a_bad_row_of_a_csv_is_named_too(feed, row, found):
    text = f"signal,c1,c2,c3,c4,step\n1,1,0,0,0,0\n{row}\n1,1,0,0,0,2\n"

    summary, records, bad = feed("signal", text.encode(), stream="s")

    assert [decode_signal(value).step for _, value in records] == [0, 2]
    assert [number for number, _ in bad] == [3]
    assert found in bad[0][1]
    assert summary.bad == 1


def test_a_line_without_any_stream_says_how_to_name_one(feed):
    _, _, bad = feed("signal", SIGNAL % 1)

    assert "names no stream: give it as the field 'stream', or to all lines by --stream" in bad[0][1]


def test_a_header_without_the_columns_is_refused_at_once(feed):
    with pytest.raises(StartupError, match=r"the header \(line 1\) lacks the columns c3, c4; it has signal, c1, c2"):
        feed("signal", b"signal,c1,c2\n1,1,0\n")


@pytest.mark.parametrize(("name", "value"), [("rate", 0.0), ("rate", math.nan), ("stream", ""), ("stream", "x" * 256)])
def test_a_wrong_option_is_refused(feed, name, value):
    with pytest.raises(StartupError, match=f"{name} is"):
        feed("signal", SIGNAL % 1, **{name: value})


def test_the_rate_holds_records_back(feed):
    clock = HandClock()

    feed("signal", *(SIGNAL % step for step in range(50)), stream="s", rate=10.0, clock=clock)

    assert clock.now_s() - 50.0 == pytest.approx(4.9)


def test_after_a_pause_the_rate_does_not_let_everything_through(feed):
    clock, times = HandClock(), []

    class Timed(MemorySink):
        def send(self, records):
            times.append(clock.now_s())
            super().send(records)

    def chunks():
        yield SIGNAL % 0
        clock.seconds += 60.0
        for step in range(1, 21):
            yield SIGNAL % step

    send(
        SIGNALS,
        client_config={},
        topic="t",
        stream="s",
        rate=10.0,
        chunks=chunks(),
        sink=Timed(),
        clock=clock,
    )

    assert times[-1] - times[1] >= 1.7


def test_a_record_leaves_with_its_line_and_not_later(feed):
    sink, seen = MemorySink(), []

    def chunks():
        for step in range(3):
            yield (SIGNAL % step)[:20]
            seen.append(len(sink.records))
            yield (SIGNAL % step)[20:]
            seen.append(len(sink.records))
            yield None

    send(SIGNALS, client_config={}, topic="t", stream="s", chunks=chunks(), sink=sink)

    assert seen == [0, 1, 1, 2, 2, 3]


def test_ctrl_c_ends_it_with_what_was_sent(feed):
    def chunks():
        yield SIGNAL % 0
        raise KeyboardInterrupt

    summary = send(SIGNALS, client_config={}, topic="t", stream="s", chunks=chunks(), sink=MemorySink())

    assert (summary.sent, summary.interrupted) == (1, True)


class Closing(MemorySink):
    """Notes how long it was waited for what was under way."""

    closed_s = None

    def close(self, wait_s):
        self.closed_s = wait_s


def broken(error):
    yield SIGNAL % 0 + SIGNAL % 1
    raise error


def test_an_input_that_breaks_off_has_been_sent_until_then():
    sink = Closing()

    with pytest.raises(
        RunError, match="the input cannot be read after line 2: Input/output error; 2 records were sent"
    ):
        send(
            SIGNALS,
            client_config={},
            topic="t",
            stream="s",
            chunks=broken(OSError(5, "Input/output error")),
            sink=sink,
        )
    assert len(sink.records) == 2
    assert sink.closed_s > 0


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), MemoryError()])
def test_a_fault_of_ours_waits_for_what_was_sent_before_it(error):
    sink = Closing()

    with pytest.raises(type(error)):
        send(SIGNALS, client_config={}, topic="t", stream="s", chunks=broken(error), sink=sink)
    assert len(sink.records) == 2
    assert sink.closed_s > 0


def test_a_lost_broker_is_told_with_what_was_sent(feed):
    with pytest.raises(RunError, match="takes no more records; 2 records were acknowledged"):
        feed("signal", *(SIGNAL % step for step in range(5)), stream="s", sink=MemorySink(fails_after=2))


def test_a_line_that_is_too_long_is_not_kept():
    splitter = LineSplitter()

    found = []
    for _ in range(MAX_LINE_BYTES // 1000 + 500):
        found += splitter.feed(b"x" * 1000)
        assert len(splitter._rest) <= MAX_LINE_BYTES + 1000

    assert found == []
    assert list(splitter.feed(b"\nshort\n")) == [None, b"short"]


def test_the_parser_leaves_unknown_fields_and_refuses_none_of_them():
    key, value = LineParser(shipped("casting")).parse(CAST.replace(b"}", b', "operator": "B"}') % 1)

    assert key == b"strand-7"
    assert b"operator" in value
    with pytest.raises(RecordError, match="mold_level"):
        LineParser(shipped("casting")).parse((CAST % 1).replace(b"mold_level", b"mould_level"))


def test_a_pipe_is_read_as_it_fills():
    reader, writer = os.pipe()
    chunks = stdin_chunks(reader)
    with os.fdopen(reader), os.fdopen(writer, "wb", 0) as pipe:
        pipe.write(b"one\n")
        assert next(chunks) == b"one\n"
        assert next(chunks) is None
        pipe.write(b"two\n")
        assert next(chunks) == b"two\n"
        pipe.close()
        assert list(chunks) == []


# --- on the real broker


@pytest.mark.kafka
def test_a_feed_reaches_the_topic_while_it_is_still_open(settings):
    topic = settings.topic("signal-samples")
    reader, writer = os.pipe()
    arrived = []
    feed = threading.Thread(
        target=lambda: arrived.append(
            send(
                SIGNALS,
                client_config=settings.client_config(),
                topic=topic,
                stream="s",
                chunks=stdin_chunks(reader),
            )
        )
    )
    with os.fdopen(reader), os.fdopen(writer, "wb", 0) as pipe:
        feed.start()
        for step in range(3):
            pipe.write(SIGNAL % step)
            consume_until(settings, topic, step + 1)
        pipe.close()
        feed.join()

    assert arrived[0].sent == 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connects(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def mqtt_port():
    """A real MQTT broker on a port of its own."""
    if not (shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin") and shutil.which("mosquitto_sub")):
        pytest.skip("mosquitto and mosquitto_sub are not on this machine")
    port = free_port()
    program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    server = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: connects(port), what="mosquitto")
        yield port
    finally:
        server.terminate()
        server.wait()


@pytest.mark.kafka
def test_an_mqtt_feed_reaches_kafka_through_a_pipe(settings, mqtt_port):
    """``mosquitto_sub | caststream send casting``: as documented, with a bad message among the good ones."""
    publish = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(mqtt_port), "-q", "1", "-t", "plant/strand-7", "-r"]
    subscribe = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(mqtt_port), "-q", "1", "-t", "plant/#", "-C", "4"]
    environment = os.environ | settings.environment()
    messages = [CAST % 0, CAST % 1, b"out of order\n", CAST % 2]
    pipe = subprocess.PIPE
    source = subprocess.Popen(subscribe, stdout=pipe)
    command = [sys.executable, "-m", "stream_app.cli.main", "send", "casting"]
    sender = subprocess.Popen(
        command, stdin=source.stdout, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment
    )
    source.stdout.close()
    topic = settings.topic("casting-samples")
    # The first message is kept by the broker for whoever subscribes later, so none is lost.
    subprocess.run([*publish, "-m", messages[0].decode().strip()], check=True)
    consume_until(settings, topic, 1)
    for message in messages[1:]:
        subprocess.run([*publish, "-m", message.decode().strip()], check=True)

    out, err = sender.communicate(timeout=30)

    assert source.wait(timeout=30) == 0
    assert (sender.returncode, out) == (1, "")
    assert "line 3: " in err
    records = consume_all(settings, topic)
    assert [record.key for record in records] == [b"strand-7"] * 3
    assert [decode_casting(record.value).step for record in records] == [0, 1, 2]
