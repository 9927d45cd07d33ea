#!/bin/sh
# Prints where caststream keeps Kafka's jars when the home directory cannot be written; nothing where it can.

place=$HOME/.local/share/caststream
[ -n "$HOME" ] && mkdir -p "$place" 2>/dev/null && [ -w "$place" ] || echo "$PWD/.venv/data"
