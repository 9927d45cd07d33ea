"""``caststream generate``."""

# Typer reads the annotations of the commands as objects, so they are not postponed here.
from pathlib import Path
from typing import Annotated

import typer

from stream_app.cli.options import HELP, command, say

generate_app = typer.Typer(no_args_is_help=True, context_settings=HELP)

FileSeedOption = Annotated[int, typer.Option(help="The same seed gives the same file.")]


@command(generate_app, "signals", example="caststream generate signals train.h5 --samples 1000 --seed 1")
def generate_signals_file(
    file: Annotated[Path, typer.Argument(help="The HDF5 file to write.", show_default=False)],
    samples: Annotated[int, typer.Option(help="Number of mixtures.")] = 100,
    seed: FileSeedOption = 0,
    steps: Annotated[int, typer.Option(help="Steps of each mixture, 1 ms each.")] = 10_000,
) -> None:
    """Write noisy mixtures of four sinusoids, and the selected one."""
    from core.data.signals import generate_signals
    from stream_app.cli.progress import bar

    with bar("writing", samples) as told:
        generate_signals(file, samples, seed, steps, told)
    say(f"wrote {samples:,} signals to {file}")


@command(generate_app, "castings", example="caststream generate castings casts.h5 --casts 1000 --seed 1")
def generate_castings_file(
    file: Annotated[Path, typer.Argument(help="The HDF5 file to write.", show_default=False)],
    casts: Annotated[int, typer.Option(help="Number of casts.")] = 100,
    seed: FileSeedOption = 0,
) -> None:
    """Write casts of a continuous caster: five sensors at 1 Hz; some casts are defective."""
    from core.data.castings import generate_castings
    from stream_app.cli.progress import bar

    with bar("writing", casts) as told:
        generate_castings(file, casts, seed, told)
    say(f"wrote {casts:,} casts to {file}")


@command(generate_app, "pump", example="caststream generate pump history.h5 --days 7 --no-faults")
def generate_pump_file(
    file: Annotated[Path, typer.Argument(help="The HDF5 file to write.", show_default=False)],
    streams: Annotated[int, typer.Option(help="Number of pumps.")] = 4,
    days: Annotated[float, typer.Option(help="Days of each pump.")] = 3.0,
    rate: Annotated[float, typer.Option(help="Samples per second.")] = 0.1,
    seed: FileSeedOption = 0,
    faults: Annotated[
        bool, typer.Option("--faults/--no-faults", help="With faults, or the same pumps without any.")
    ] = True,
    after: Annotated[float, typer.Option(help="Days that each pump has run before, which are left out.")] = 0.0,
) -> None:
    """Write twelve sensors of pumps with load changes and faults, the truth, and the score of the true model."""
    from core.data.pump.file import generate_pump
    from stream_app.cli.progress import bar

    with bar("writing", streams) as told:
        generate_pump(file, streams, days, rate, seed, faults, told, after)
    say(f"wrote {streams:,} pumps to {file}")
