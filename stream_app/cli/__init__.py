"""The command line: options, commands and what they print. Nothing imports it.

Begin with `main`, which has every command; the longer ones stand in `..._commands`.
"""
