"""Settings: which place wins, and that nothing wrong or unknown passes."""

from __future__ import annotations

import ssl
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from core.errors import StartupError
from stream_app.settings import Settings, accepted, load_settings

DEFAULTS = {
    "broker": "127.0.0.1:9092",
    "app_id": "caststream",
    "topic_prefix": "",
    "partitions": 4,
    "replication_factor": 1,
    "processing_guarantee": "at_least_once",
    "commit_interval": 0.5,
    "max_commit_interval": 5,
    "max_delay": 0.006,
    "session_timeout": 6,
    "output_format": "json",
    "signal_checkpoint": None,
    "defect_checkpoint": None,
    "device": "cpu",
    "window_length": 500,
    "window_min": 100,
    "hop": 30,
    "gap_policy": "step",
    "max_gap": 50,
    "max_step_jump": 1_000_000,
    "idle_timeout": 300,
    "max_state_bytes": 65_536,
    "metrics_host": "127.0.0.1",
    "metrics_port": 8300,
    "data_dir": Path.home() / ".local/share/caststream",
    "log_format": "text",
}


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CASTSTREAM_DATA_DIR", raising=False)


def test_the_defaults_are_the_documented_ones() -> None:
    settings = load_settings()

    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


def test_arguments_win_over_the_environment_and_it_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("caststream.toml").write_text('app_id = "file"\ntopic_prefix = "file-"\npartitions = 3\n')
    monkeypatch.setenv("CASTSTREAM_TOPIC_PREFIX", "environment-")
    monkeypatch.setenv("CASTSTREAM_PARTITIONS", "5")

    settings = load_settings(partitions=7, hop=None)

    assert (settings.app_id, settings.topic_prefix, settings.partitions, settings.hop) == (
        "file",
        "environment-",
        7,
        30,
    )


def test_a_variable_may_have_its_name_in_small_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("caststream_app_id", "small")

    assert load_settings().app_id == "small"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("broker", "somewhere", "host:port"),
        ("broker", "somewhere:0", "host:port"),
        ("broker", "a:1,,b:2", "host:port"),
        ("app_id", "", "1 to 150 letters"),
        ("app_id", "a b", "1 to 150 letters"),
        ("topic_prefix", "a/", "up to 100 letters"),
        ("partitions", "0", "an integer from 1 to 10000"),
        ("partitions", "four", "an integer from 1 to 10000"),
        ("processing_guarantee", "twice", "one of at_least_once, exactly_once"),
        ("commit_interval", "0", "a number from 0.01 to 60"),
        ("idle_timeout", "nan", "a number from 0.1 to 31536000"),
        ("idle_timeout", "inf", "a number from 0.1 to 31536000"),
        ("device", "gpu", "cpu, cuda or cuda:N"),
        ("window_length", "501", "an integer from 100 to 500"),
        ("gap_policy", "guess", "one of step, hold, reset"),
        ("max_step_jump", "9007199254740992", "an integer from 1 to 9007199254740991"),
        ("metrics_port", "65536", "an integer from 0 to 65535"),
        ("data_dir", "", "a path"),
        ("security_protocol", "TLS", "one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    ],
)
def test_a_wrong_value_is_refused_by_name_value_range_and_place(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"CASTSTREAM_{name.upper()}", value)

    with pytest.raises(StartupError) as caught:
        load_settings()

    place = f"(environment variable CASTSTREAM_{name.upper()})"
    assert str(caught.value).startswith(f"setting {name}: {value!r} is not accepted {place}; accepted: {words}")


def test_a_wrong_value_in_the_file_is_refused_naming_the_file() -> None:
    Path("caststream.toml").write_text("hop = 0\n")

    with pytest.raises(StartupError, match=r"setting hop: 0 is not accepted \(file caststream.toml\)"):
        load_settings()


def test_a_wrong_argument_is_refused() -> None:
    with pytest.raises(StartupError, match=r"setting hop: '0' is not accepted; accepted: an integer from 1 to 500"):
        load_settings(hop="0")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"window_length": 200, "window_min": 201}, "window_min 201 is above window_length 200"),
        ({"commit_interval": 6}, "max_commit_interval 5.0 is below commit_interval 6.0"),
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL needs sasl_username and a password: sasl_password or"),
        ({"ssl_certfile": "a.pem"}, "ssl_certfile and ssl_keyfile go together"),
        (
            {"ssl_password": "a", "ssl_password_file": "b"},
            "ssl_password and ssl_password_file are both given: leave out one",
        ),
        (
            {"sasl_password": "a", "sasl_password_file": "b"},
            "sasl_password and sasl_password_file are both given: leave out one",
        ),
        ({"sasl_password_file": "nowhere"}, "sasl_password_file nowhere: cannot be read: No such file"),
        ({"ssl_password_file": "."}, "ssl_password_file .: cannot be read: Is a directory"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        load_settings(**values)


def test_an_unknown_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASTSTREAM_TOPIC_PREFX", "a-")

    with pytest.raises(StartupError, match=r"unknown setting 'topic_prefx' .*CASTSTREAM_TOPIC_PREFX.*'topic_prefix'"):
        load_settings()


@pytest.mark.parametrize("text", ['brokr = "a:1"\n', "[kafka]\nhop = 3\n"])
def test_an_unknown_name_in_the_file_is_refused(text: str) -> None:
    Path("caststream.toml").write_text(text)

    with pytest.raises(StartupError, match=r"unknown setting '(brokr|kafka)' \(file caststream.toml\)"):
        load_settings()


@pytest.mark.parametrize("content", [b"hop = \n", b"\xff\xfe\n"])
def test_a_file_that_is_not_toml_is_refused_in_one_line(content: bytes) -> None:
    Path("caststream.toml").write_bytes(content)

    with pytest.raises(StartupError, match=r"^caststream\.toml: [^\n]+$"):
        load_settings()


def test_settings_are_frozen_and_replace_makes_a_checked_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(hop=10)
    monkeypatch.setenv("CASTSTREAM_MAX_GAP", "7")

    with pytest.raises(ValidationError):
        settings.hop = 11  # type: ignore[misc]
    changed = settings.replace(window_min=200)

    assert (changed.hop, changed.window_min, changed.max_gap) == (10, 200, 50)
    assert settings.window_min == 100
    with pytest.raises(StartupError, match="hop: 0"):
        settings.replace(hop=0)


def test_a_child_process_gets_the_same_settings_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("caststream_hop", "11")  # names count in any case: it must not stand beside ours
    Path("caststream.toml").write_text('topic_prefix = "of-the-file-"\nsignal_checkpoint = "other.pt"\n')
    settings = load_settings().replace(
        hop=7, topic_prefix="", signal_checkpoint=None, commit_interval=0.1, sasl_username="u", sasl_password="p ö"
    )
    code = "from stream_app.settings import load_settings as load; "
    code += f"print(load() == load(**{_as_code(settings)}))"

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=settings.process_environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "True\n"


def _as_code(settings: Settings) -> str:
    values = {name: str(value) if isinstance(value, Path) else value for name, value in settings}
    return repr(
        {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()}
    )


def test_topic_and_changelog_names() -> None:
    settings = load_settings(topic_prefix="plant7.", app_id="line-2")

    assert settings.topic("signal-samples") == "plant7.signal-samples"
    assert settings.changelog("signal-states") == "line-2-signal-states-changelog"


def test_the_client_configuration_speaks_plaintext_by_default() -> None:
    assert load_settings(broker="a:1, b:2").client_config() == {
        "bootstrap.servers": "a:1,b:2",
        "security.protocol": "PLAINTEXT",
    }


def test_the_client_configuration_carries_tls_and_sasl() -> None:
    config = load_settings(
        security_protocol="SASL_SSL",
        ssl_cafile="ca.pem",
        ssl_certfile="me.pem",
        ssl_keyfile="me.key",
        ssl_password="of the key",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="me",
        sasl_password="secret",
    ).client_config()

    assert config == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "me.pem",
        "ssl.key.location": "me.key",
        "ssl.key.password": "of the key",
        "ssl.endpoint.identification.algorithm": "https",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": "secret",
    }


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_passwords_by_file_are_read_and_handed_on_as_the_files_names(end: str) -> None:
    Path("user").write_text(f" of the user{end}")
    Path("key").write_text(f"of the key{end}")
    settings = load_settings(
        security_protocol="SASL_SSL",
        ssl_certfile="me.pem",
        ssl_keyfile="me.key",
        ssl_password_file="key",
        sasl_username="me",
        sasl_password_file="user",
    )
    config = settings.client_config()

    assert (config["sasl.password"], config["ssl.key.password"]) == (" of the user", "of the key")
    assert "of the user" not in "".join(settings.environment().values())
    assert settings.environment()["CASTSTREAM_SASL_PASSWORD_FILE"] == "user"
    Path("user").write_text("changed meanwhile")
    assert settings.client_config()["sasl.password"] == "changed meanwhile"


def test_a_password_file_that_is_no_text_is_refused_and_not_quoted() -> None:
    Path("user").write_bytes(b"hunter2\xff")

    with pytest.raises(StartupError, match="sasl_password_file user: cannot be read: it is not UTF-8 text") as caught:
        load_settings(sasl_password_file="user")

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_without_ssl_cafile_both_kafka_clients_trust_the_same_authorities() -> None:
    places = ssl.get_default_verify_paths()

    found = load_settings(security_protocol="SSL").client_config().get("ssl.ca.location")

    assert found == (places.cafile or places.capath)


@pytest.mark.parametrize("setting", ["sasl_password", "ssl_password"])
@pytest.mark.parametrize("wrong", [{"hop": "0"}, {"window_length": "100", "window_min": "200"}, {"sasl_pasword": "x"}])
def test_passwords_show_up_in_no_message_and_in_no_traceback(
    monkeypatch: pytest.MonkeyPatch, setting: str, wrong: dict[str, str]
) -> None:
    monkeypatch.setenv(f"CASTSTREAM_{setting.upper()}", "hunter2")
    settings = load_settings()
    for name, value in wrong.items():
        monkeypatch.setenv(f"CASTSTREAM_{name.upper()}", value)

    with pytest.raises(StartupError) as caught:
        load_settings()

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in repr(settings) + str(settings)


@pytest.mark.parametrize("setting", ["sasl_password", "ssl_password"])
def test_a_password_that_is_not_accepted_is_not_quoted(setting: str) -> None:
    Path("caststream.toml").write_text(f'{setting} = ["hunter2"]\n')

    with pytest.raises(StartupError, match=f"setting {setting}: the value is not accepted") as caught:
        load_settings()

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_every_setting_says_what_it_accepts() -> None:
    assert all(accepted(name) for name in Settings.model_fields)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CASTSTREAM_PORT", "tcp://10.0.3.7:8300"),
        ("CASTSTREAM_SERVICE_HOST", "10.0.3.7"),
        ("CASTSTREAM_SERVICE_PORT", "8300"),
        ("CASTSTREAM_SERVICE_PORT_METRICS", "8300"),
        ("CASTSTREAM_PORT_8300_TCP", "tcp://10.0.3.7:8300"),
        ("CASTSTREAM_PORT_8300_TCP_ADDR", "10.0.3.7"),
        ("CASTSTREAM_METRICS_PORT", "tcp://10.0.3.7:80"),  # of a service caststream-metrics
    ],
)
def test_a_variable_that_kubernetes_writes_for_a_service_is_told_as_that(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(StartupError, match=rf"{variable}.*enableServiceLinks: false"):
        load_settings()


def test_a_misspelt_setting_is_not_taken_for_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASTSTREAM_METRIC_PORT", "8300")

    with pytest.raises(StartupError, match=r"did you mean 'metrics_port'\?$"):
        load_settings()


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user number without an entry, and no HOME, as containers have it."""

    def fails(path: Path) -> Path:
        if path.parts and path.parts[0].startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.setattr(Path, "expanduser", fails)


@pytest.mark.usefixtures("no_home")
def test_without_a_home_directory_only_what_needs_the_data_directory_refuses(tmp_path: Path) -> None:
    settings = load_settings()

    with pytest.raises(StartupError, match=r"no home directory for ~ in ~/\.local/share/caststream; name .*DATA_DIR"):
        settings.need_data_dir()
    assert load_settings(data_dir=str(tmp_path)).need_data_dir() == tmp_path


@pytest.mark.usefixtures("no_home")
def test_without_a_home_directory_a_child_process_loads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    assert load_settings() == settings


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("name", ["data_dir", "signal_checkpoint", "ssl_cafile"])
def test_a_path_in_a_home_directory_that_is_not_there_is_refused_by_its_reason(name: str) -> None:
    with pytest.raises(
        StartupError, match=rf"setting {name}: '~/x' is not accepted: there is no home directory for ~;"
    ):
        load_settings(**{name: "~/x"})


def test_settings_with_equal_values_are_equal_whether_their_tasks_were_read_or_not() -> None:
    one, other = Settings(), Settings()
    one.declarations()

    assert one == other
    assert hash(one) == hash(other)
    assert one != Settings(partitions=5)
    assert one != dict(one)
