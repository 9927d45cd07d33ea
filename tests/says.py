"""A program for tests: it prints what it was given, ends with a given status, or waits."""

from __future__ import annotations

import os
import sys
import time


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    what, *more = sys.argv[1:]
    if what == "who":
        files = [number for number in range(64) if os.path.exists(f"/proc/self/fd/{number}")]
        say(f"{sys.argv[1:]} {dict(os.environ)} {os.getpid()} {os.getsid(0)} {files}")
    elif what == "wait":
        say("waiting")
        time.sleep(60)
    elif more == ["error"]:
        raise RuntimeError("as told")
    elif more == ["os._exit"]:
        os._exit(3)
    else:
        sys.exit(int(more[0]) if more[0].isdigit() else more[0])
