"""`python -m tools.docs.demo_picture [FILE]`: docs/images/demo.svg, the live view of a real run of the demo.

The demo draws its view many times per second. Half-way through, one of these drawings is drawn again on a console that
records, and saved.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from unittest.mock import patch

from rich.console import Console, Group

from stream_app.demo import run
from stream_app.demo.view import View
from stream_app.settings import load_settings

PICTURE = Path("docs/images/demo.svg")
SECONDS = 20.0
WIDTH = 84


class Recorded(View):
    """The demo's view, which keeps the last drawing from before half of the predictions were there."""

    kept: Group = Group()

    def update(self) -> None:
        """Draw, and keep the drawing."""
        super().update()
        if self.watched.grid.seen < self.targets.size / 2:
            Recorded.kept = self.drawing()


def without_fonts(svg: str) -> str:
    """The picture without rich's links to fonts on the internet: it is drawn with a font of the reader's machine."""
    svg = re.sub(r"@font-face \{.*?\n    \}", "", svg, flags=re.DOTALL)
    svg = svg.replace("font-family: Fira Code, monospace", "font-family: monospace")
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


def main() -> None:
    """Run the demo and write the picture."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with patch.object(run, "View", Recorded):
        summary = run.run_demo(run.DemoPlan(seconds=SECONDS), load_settings())
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Recorded.kept)
    file.write_text(without_fonts(console.export_svg(title="caststream demo")))
    print(f"wrote {file}; lost {summary.lost}, repeated {summary.repeated}")


if __name__ == "__main__":
    main()
