#!/bin/sh
# make-venv.sh [PYTHON]: makes .venv, unless one that runs is there; refuses one of another Python than the one named.

version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

there=$(version .venv/bin/python)
if [ -n "$there" ]; then
    [ -z "$1" ] || [ "$there" = "$(version "$1")" ] && exit 0
    echo "The folder .venv here was made with Python $there, which is not PYTHON=$1: run 'make clean' first." >&2
    exit 1
fi
python=$(sh tools/find-python.sh "$1") || exit 1
echo "Setting up with $python, in .venv"
"$python" -m venv --clear .venv
