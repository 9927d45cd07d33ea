"""Tokens for SASL OAUTHBEARER: from a file that another program renews, or from a command that prints one.

A token never stands in an error, a log or a command line. It is read again for every connection of aiokafka, and before
librdkafka's expires.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import OutageError, StartupError

COMMAND_TIMEOUT_S = 30.0
# Of a token that does not say until when it holds.
OPAQUE_S = 300.0
# A command's token is used again until so much of its time is over.
KEPT_SHARE = 0.8
_TOKEN = re.compile(r"[-._~+/A-Za-z0-9]+=*")  # RFC 6750
_SHOWN = 200


@dataclass(frozen=True)
class Token:
    """A token, the time at which it expires (seconds since 1970), and the time until which it need not be renewed."""

    text: str
    expires_s: float
    keep_until_s: float

    def __repr__(self) -> str:
        return f"Token(expires_s={self.expires_s})"


class TokenSource:
    """Gives the token that holds now. May be asked from any thread.

    Args:
        file: holds nothing but the token, or
        command: prints it, or an OAuth answer in JSON with ``access_token``.
    """

    def __init__(self, file: Path | None, command: str) -> None:
        self._file = file
        self._command = command
        self._lock = threading.Lock()
        self._kept: Token | None = None

    @property
    def name(self) -> str:
        """The setting that it comes from, and its value."""
        return f"sasl_oauth_token_file {self._file}" if self._file else f"sasl_oauth_token_command {self._command!r}"

    def token(self) -> Token:
        """Raises StartupError where there is none that holds: OutageError where the command has failed."""
        if self._file:
            return self._read(read_secret(self._file, self.name).strip())
        with self._lock:
            if self._kept is None or time.time() >= self._kept.keep_until_s:
                self._kept = self._read(self._ask_command())
            return self._kept

    def _read(self, said: str) -> Token:
        fields = _object(said) if said.startswith("{") else {}
        text = str(fields.get("access_token", "")) if fields else said
        if not _TOKEN.fullmatch(text):
            raise StartupError(f"{self.name}: gives no token: one word of letters, digits and -._~+/ was expected")
        now_s = time.time()
        expires_s = _expiry(text) or now_s + _number(fields.get("expires_in"), OPAQUE_S)
        if expires_s <= now_s:
            when = datetime.fromtimestamp(expires_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            raise StartupError(f"{self.name}: its token has expired at {when}: a new one is needed")
        return Token(text, expires_s, now_s + KEPT_SHARE * (expires_s - now_s))

    def _ask_command(self) -> str:
        try:
            words = shlex.split(self._command)
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
            )
        except ValueError as error:
            raise StartupError(f"{self.name}: is no command line: {error}") from None
        except OSError as error:
            raise StartupError(f"{self.name}: cannot be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise OutageError(f"{self.name}: has printed no token within {COMMAND_TIMEOUT_S:g} s") from None
        if done.returncode != 0:
            why = done.stderr.decode(errors="replace").strip().splitlines()
            said = f": {why[-1][:_SHOWN]}" if why else ""
            raise OutageError(f"{self.name}: ended with status {done.returncode}{said}")
        return done.stdout.decode(errors="replace").strip()

    def for_librdkafka(self, _config: str) -> tuple[str, float]:
        """librdkafka's ``oauth_cb``: it asks again when most of the token's time is over."""
        found = self.token()
        return found.text, found.expires_s


def read_secret(path: Path, name: str) -> str:
    """The content of a file that holds a secret; ``name`` is its setting, and nothing of the content is in an error.

    Raises:
        StartupError: it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StartupError(f"{name}: cannot be read: {reason}") from None  # it would carry the secret along


def _expiry(token: str) -> float:
    """``exp`` of a JSON web token; 0 where it is none, or does not say. Only the broker checks the signature."""
    parts = token.split(".")
    if len(parts) != 3:
        return 0.0
    try:
        claims = _object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return 0.0
    return _number(claims.get("exp"), 0.0)


def _object(text: str | bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
