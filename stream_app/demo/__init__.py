"""`caststream demo`: broker, worker and replay together, a live view, and a summary that is checked.

Only the command line calls it. Begin with `run`.
"""
