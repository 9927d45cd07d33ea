"""Real cases, played: what people report of recordings, exports, gateways and clusters, each with what is right.

`make cases` plays them and prints a table; tests/test_cases.py holds the quick ones.
"""
