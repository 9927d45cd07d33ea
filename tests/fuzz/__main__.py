"""``python -m tests.fuzz --inputs 1000000 --seed 1``: all targets, or one; see `tests.fuzz.runner`."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time

from tests.fuzz.runner import BLOCK, NOTE, TARGETS, Failure, peak_mib, run


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="over all targets, each with its share")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=TARGETS, help="only this one, with all the inputs")
    parser.add_argument("--block", type=int, help="only this block")
    options = parser.parse_args()
    faulthandler.enable()
    _say(f"seed {options.seed}; should this process end without a word, {NOTE} says at which block")
    for name in [options.target] if options.target else TARGETS:
        inputs = options.inputs if options.target else round(options.inputs * TARGETS[name].share)
        inputs = inputs if options.block is None else BLOCK
        started = time.monotonic()
        try:
            run(name, inputs, options.seed, options.block or 0)
        except Failure as error:
            _say(f"{name}: FAILED: {error}")
            return 1
        seconds = time.monotonic() - started
        _say(f"{name}: {inputs} inputs in {seconds:.1f} s, peak memory {peak_mib():.0f} MiB")
    NOTE.unlink(missing_ok=True)
    return 0


sys.exit(main())
