#!/bin/sh
# find-python.sh [PYTHON]: prints the newest Python on the PATH that caststream can be set up with, or judges the one named.
# Each candidate is run: a pyenv shim may be on the PATH and lead nowhere, and Debian's python3 may lack venv or headers.

VERSIONS="3.13 3.12 3.11"
RANGE="3.11 to 3.13"

# Prints the version, then what is missing.
PROBE='
import os, sys, sysconfig
found = ["%d.%d" % sys.version_info[:2]]
try:
    import ensurepip, venv
except ImportError:
    found.append("venv")
places = (sysconfig.get_path("include"), sysconfig.get_config_var("INCLUDEPY"))
if not any(place and os.path.exists(os.path.join(place, "Python.h")) for place in places):
    found.append("headers")
if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
    found[0] = "not-standard"
print(" ".join(found))
'

fail() {
    echo "$1" >&2
    exit 1
}

incomplete= # what the newest one of a right version lacks
others=     # versions that do not fit

# consider NAME: prints the name and ends where it fits.
consider() {
    command -v "$1" >/dev/null 2>&1 || return
    found=$("$1" -c "$PROBE" 2>/dev/null) || return
    version=${found%% *}
    case " $VERSIONS " in
    *" $version "*) ;;
    *)
        others="$others, $1 is Python $version"
        return
        ;;
    esac
    [ "$found" = "$version" ] && command -v "$1" && exit 0
    [ -n "$incomplete" ] && return
    case $found in
    *venv*) incomplete="$incomplete python$version-venv" ;;
    esac
    case $found in
    *headers*) incomplete="$incomplete python$version-dev" ;;
    esac
    name=$1
}

# everywhere NAME: considers each program of this name on the PATH, as the first may be a shim that leads nowhere.
everywhere() {
    IFS=:
    for directory in $PATH; do
        unset IFS
        consider "$directory/$1"
    done
    unset IFS
}

if [ -n "$1" ]; then
    consider "$1"
else
    for wanted in $VERSIONS; do
        everywhere "python$wanted"
    done
    everywhere python3
fi

[ -n "$incomplete" ] && fail "$name lacks parts that caststream needs. On Debian or Ubuntu: apt install$incomplete"
[ -n "$others" ] && fail "caststream needs Python $RANGE;${others#,}. Install one, or name one: make demo PYTHON=/path/to/python3.12"
[ -n "$1" ] && fail "PYTHON=$1 does not run. caststream needs Python $RANGE."
fail "caststream needs Python $RANGE and none was found. On Debian or Ubuntu: apt install python3-venv python3-dev; or name one: make demo PYTHON=/path/to/python3.12"
