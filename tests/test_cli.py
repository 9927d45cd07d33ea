"""The command line: what it says, where, and with which exit status."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
import typer
from typer.testing import CliRunner

from core.errors import DataError, RunError, StartupError
from stream_app.cli import main as cli
from stream_app.cli.faulty_lines import MOST_KINDS, FaultyLines
from stream_app.cli.options import ALL, DEFAULTS, MEANINGS, NOT_ON_THE_COMMAND_LINE, say_followed
from stream_app.clients.admin import Cluster
from stream_app.settings import Settings
from stream_app.topics.administration import topic_ids
from tests.broker import ToSend, consume_all, consume_until, produce
from tests.commands import Run


def commands(group: Any, *path: str) -> Iterator[str]:
    """The words of every command of a group that its help shows."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        elif not command.hidden:
            yield " ".join([*path, name])


COMMANDS = list(commands(typer.main.get_command(cli.app)))


def of(settings: Settings) -> list[str]:
    """The options that point a command to a test's own topics."""
    return ["--broker", settings.broker, "--topic-prefix", settings.topic_prefix]


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "stream_app.cli.main", *arguments]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    long, short = (
        CliRunner().invoke(cli.app, [*name.split(), asked], terminal_width=200) for asked in ("--help", "-h")
    )

    assert (long.exit_code, short.exit_code) == (0, 0)
    assert long.output == short.output
    assert f"caststream {name}" in re.search(r"Example: .*", long.output)[0]  # type: ignore[index]
    assert "--debug" in long.output


def test_the_list_of_all_commands_makes_the_options_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are 400, and a sixth of the time that the list takes."""
    made, make = [], typer.main._get_param

    def counted(parameter: Any) -> Any:
        made.append(parameter.name)
        return make(parameter)

    monkeypatch.setattr(typer.main, "_get_param", counted)

    assert "worker" in CliRunner().invoke(cli.app, ["--help"]).output
    assert set(made) <= {"version", "debug", "install_completion", "show_completion"}
    assert CliRunner().invoke(cli.app, ["worker", "--help"]).exit_code == 0
    assert {"workers", "broker"} <= set(made)


def test_a_help_breaks_its_paragraphs_only_where_the_terminal_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(cli.app, ["import-csv", "--help"]).output
    lines = [line.rstrip() for line in shown[shown.index(" Columns of casts") : shown.index("target.")].splitlines()]

    assert all(len(f"{line} {after.split()[0]}") > 78 for line, after in itertools.pairwise(lines))


def test_tail_tells_a_person_that_it_waits_and_a_program_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for person in (True, False):
        monkeypatch.setattr("sys.stdout.isatty", lambda person=person: person)
        say_followed("casting-scores")()
        said.append(capsys.readouterr().err)

    assert said == ["following casting-scores, until Ctrl-C\n", ""]


def test_the_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from stream_app.cli.main import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'faust', 'aiokafka', 'confluent_kafka', 'pydantic', 'h5py'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert all(name.split()[0] in done.stdout for name in COMMANDS)


def test_the_version_is_shown(run: Run) -> None:
    assert re.fullmatch(r"caststream \d+\.\d+\.\d+\n", run("--version").out)


def test_the_worker_takes_every_setting_but_the_password_as_an_option() -> None:
    shown = CliRunner().invoke(cli.app, ["worker", "--help"], terminal_width=200).output

    assert set(MEANINGS) == set(ALL) == set(Settings.model_fields)
    for name in MEANINGS:
        assert (f"--{name.replace('_', '-')} " in shown) == (name not in NOT_ON_THE_COMMAND_LINE)


@pytest.mark.parametrize("name", [name for name in MEANINGS if name not in NOT_ON_THE_COMMAND_LINE])
def test_the_help_tells_the_default_of_a_setting(name: str) -> None:
    default = Settings.model_fields[name].default

    if name in DEFAULTS:
        assert type(default)(DEFAULTS[name].removeprefix("none")) == default
    else:
        assert default in (None, "")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nonsense"], 2, "No such command 'nonsense'; see caststream --help"),
        (["topics", "creat"], 2, "No such command 'creat'"),
        (["replay"], 2, "Missing argument 'file'; see caststream replay --help"),
        (["replay", "a.h5", "--nope"], 2, "No such option: --nope"),
        (["worker", "--workers", "0"], 2, "Invalid value for '--workers'"),
        (["worker", "--hop", "0"], 2, "setting hop: '0' is not accepted; accepted: an integer from 1 to 500"),
        (["topics", "create", "--broker", "here"], 2, "setting broker: 'here' is not accepted; accepted: host:port"),
        (["replay", "missing.h5"], 2, "missing.h5"),
        (["replay", "missing.h5", "--speed", "fast"], 2, "speed is 'fast'"),
        (["predict", "missing.h5"], 2, "missing.h5"),
        (["generate", "signals", "a.h5", "--samples", "0"], 2, "samples is 0"),
        (["generate", "castings", "missing/a.h5"], 2, "missing/a.h5"),
        (["broker", "--property", "log.segment.bytes"], 2, "--property 'log.segment.bytes' is not NAME=VALUE"),
    ],
)
def test_a_failure_is_one_line_on_stderr(run: Run, arguments: list[str], status: int, words: str) -> None:
    done = run(*arguments)

    assert (done.status, done.out) == (status, "")
    assert done.err.startswith("caststream: ")
    assert words in done.err
    assert done.err.count("\n") == 1


def test_an_unknown_variable_stops_every_command_that_reads_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASTSTREAM_BROKR", "a:1")

    done = run("topics", "create")

    assert done.status == 2
    assert "CASTSTREAM_BROKR" in done.err


def test_a_group_without_a_command_shows_its_help(run: Run) -> None:
    done = run("topics")

    assert done.status == 2
    assert "reset-state" in done.out + done.err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (StartupError("two\nlines"), 2, "caststream: two lines\n"),
        (DataError("a.h5", "is empty", "label"), 2, "caststream: a.h5: dataset 'label': is empty\n"),
        (RunError("lost"), 1, "caststream: lost\n"),
        (KeyError("x"), 1, "caststream: unexpected KeyError: 'x'; --debug shows the traceback\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_kind_of_error_has_its_status(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("core.data.signals.generate_signals", fail)

    done = run("generate", "signals", "a.h5")

    assert (done.status, done.out, done.err) == (status, "", line)


@pytest.mark.parametrize("arguments", [["--debug", "generate", "signals"], ["generate", "signals", "--debug"]])
def test_debug_shows_the_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["caststream", *arguments, str(tmp_path / "missing" / "a.h5")])

    with pytest.raises(DataError):
        cli.main()


def test_the_same_seed_gives_the_same_file(run: Run, tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        done = run("generate", "signals", name, "--samples", "2", "--steps", "50", "--seed", "3")
        assert (done.status, done.err) == (0, f"wrote 2 signals to {name}\n")
    run("generate", "castings", "c.h5", "--casts", "3")

    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File("a.h5") as signals, h5py.File("c.h5") as castings:
        assert signals["mixed_signals"].shape == (2, 50)
        assert castings["label"].shape == (3,)


def test_predictions_go_to_stdout_as_json_lines_and_the_rest_to_stderr(tmp_path: Path) -> None:
    file = str(tmp_path / "a.h5")
    assert start("generate", "signals", file, "--samples", "2", "--steps", "30").wait() == 0

    process = start("predict", file, "--run", "r", "--streams", "1")
    out, err = process.communicate()

    assert process.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["stream"], line["sequence"], line["step"]) for line in lines] == [
        ("signal-0000", f"r-{row}", step) for row in range(2) for step in range(30)
    ]
    assert re.fullmatch(r"60 predictions of model [0-9a-f]{12}\n", err)


@pytest.mark.kafka
def test_topics_are_created_described_and_reset(run: Run, settings: Settings) -> None:
    where = ["--broker", settings.broker, "--app-id", f"{settings.app_id}x", "--topic-prefix", settings.topic_prefix]
    changed = settings.replace(app_id=f"{settings.app_id}x")

    missing = run("topics", "describe", *where)
    created = run("topics", "create", *where)
    again = run("topics", "create", *where)
    described = run("topics", "describe", "--json", *where)
    before = topic_ids(changed, Cluster(changed))
    reset = run("topics", "reset-state", "--yes", *where)

    changelogs = {changed.changelog(table) for table in ("signal-states", "casting-windows")}
    assert missing.status == 1
    assert missing.out.count(" missing\n") == 2
    assert (created.status, set(created.out.splitlines())) == (0, {f"created {name}" for name in changelogs})
    assert (again.status, again.out) == (0, "all topics are there\n")
    assert described.status == 0
    assert {json.loads(line)["name"] for line in described.out.splitlines()} == set(before)
    assert (reset.status, set(reset.out.splitlines())) == (0, {f"emptied {name}" for name in changelogs})
    assert {
        name for name, topic_id in topic_ids(changed, Cluster(changed)).items() if topic_id != before[name]
    } == changelogs


def test_reset_state_asks_first() -> None:
    process = start("topics", "reset-state", "--broker", "127.0.0.1:1")

    _, err = process.communicate("n\n")

    assert process.returncode == 1
    assert "Delete all states and offsets of caststream on 127.0.0.1:1, read its sources again, and publish once" in err
    assert err.endswith("caststream: nothing was done\n")


@pytest.mark.kafka
def test_a_file_is_replayed_into_the_topic_of_its_kind(run: Run, settings: Settings, tmp_path: Path) -> None:
    run("generate", "signals", "a.h5", "--samples", "3", "--steps", "40")

    done = run("replay", "a.h5", "--speed", "max", "--run", "r", "--data-dir", str(tmp_path), *of(settings))

    records = consume_all(settings, settings.topic("signal-samples"))
    assert done.status == 0
    assert "done: 120 records of 3 streams, 3 sequences of run r" in done.err
    assert len(records) == 120
    assert {record.json["sequence"] for record in records} == {"r-0", "r-1", "r-2"}


@pytest.mark.kafka
def test_a_replay_that_is_stopped_says_what_it_sent(run: Run, settings: Settings, tmp_path: Path) -> None:
    file = str(tmp_path / "a.h5")
    run("generate", "signals", file, "--samples", "1", "--steps", "600000")
    process = start("replay", file, "--data-dir", str(tmp_path), *of(settings))
    consume_until(settings, settings.topic("signal-samples"), 1)

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()

    sent = len(consume_all(settings, settings.topic("signal-samples")))
    assert process.returncode == 130
    assert f"stopped: {sent:,} records of 1 streams" in err


def test_what_is_wrong_with_many_lines_is_said_once_and_counted() -> None:
    said: list[str] = []
    bad = FaultyLines(said.append)
    for number in range(1, 2001):
        bad.tell(number, "names no stream")
    bad.tell(2001, "is no JSON object")
    bad.tell(2002, "step is 1.5")
    bad.tell(2003, "step is 1.5")

    bad.end()

    assert said == [
        "line 1: names no stream",
        "line 2001: is no JSON object",
        "line 2002: step is 1.5",
        "1,999 more lines, the last of them line 2000: names no stream",
        "line 2003 too: step is 1.5",
    ]


def test_bad_lines_of_endless_kinds_take_no_endless_memory() -> None:
    said: list[str] = []
    bad = FaultyLines(said.append)
    for number in range(MOST_KINDS + 10):
        bad.tell(number, f"step is {number}.5")

    bad.tell(5000, f"step is {MOST_KINDS + 1}.5")

    assert len(said) == MOST_KINDS + 11


@pytest.mark.kafka
def test_lines_become_records_and_a_bad_one_is_named(settings: Settings) -> None:
    good = {"signal": 0.5, "condition_vector": [1, 0, 0, 0]}

    process = start("send", "signal", "--stream", "press-7", *of(settings))
    _, err = process.communicate(f"{json.dumps(good)}\nnot json\n{json.dumps(good)}\n")

    records = consume_all(settings, settings.topic("signal-samples"))
    assert process.returncode == 1
    assert "line 2: " in err
    assert err.endswith("done: 2 records sent, 1 bad lines\n")
    assert [record.key for record in records] == [b"press-7", b"press-7"]
    assert [record.json["signal"] for record in records] == [0.5, 0.5]


@pytest.mark.kafka
def test_tail_shows_records_and_ends_after_a_count(run: Run, settings: Settings) -> None:
    headers = [("error.reason", b"not_decodable"), ("error.message", b"no"), ("error.topic", b"signal-samples")]
    headers += [("error.partition", b"1"), ("error.offset", b"5"), ("error.timestamp_ms", b"7")]
    produce(settings, settings.topic("dead-letters"), [ToSend("a", b"{", headers=headers)])

    as_json = run("tail", "dead-letters", "--from-beginning", "--count", "1", "--json", *of(settings))
    as_text = run("tail", "dead-letters", "--from-beginning", "--count", "1", *of(settings))

    assert (as_json.status, as_text.status) == (0, 0)
    assert {"reason": "not_decodable", "offset": 5, "key": "a", "value": "{"}.items() <= json.loads(as_json.out).items()
    assert "not_decodable" in as_text.out
