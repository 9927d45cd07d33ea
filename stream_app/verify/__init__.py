"""``caststream verify``: an audit of any system, running or stopped, against the models run offline.

Source topics, outputs, dead letters, changelogs and committed offsets are read by a plain client, which shares no code
with the worker's way to Kafka; what must come of the records is computed again in `core.audit`. The command line calls
`verify`, and so does the fault suite. Begin with `run`.
"""

from stream_app.verify.report import VerifyReport
from stream_app.verify.run import verify

__all__ = ["VerifyReport", "verify"]
