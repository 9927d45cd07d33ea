"""Find dead letters, correct them, and send them back to where they came from.

The command line and `stream_app.verify` call it. Begin with `letter` (what one holds), then `dead_letters`, which
decides what may go back, and `resend`.
"""
