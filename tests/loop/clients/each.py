"""Calls the functions of a script one after the other; prints a line of JSON for each.

    python each.py SCRIPT [NAME ...]

The line has the function's name and, if it failed, its traceback. Names that begin with an
underscore belong to the script. Runs in a client's own environment: standard library only.
"""

from __future__ import annotations

import inspect
import json
import runpy
import sys
import traceback


def main(script: str, *names: str) -> None:
    for name, part in runpy.run_path(script, run_name="script").items():
        mine = inspect.isfunction(part) and part.__module__ == "script"
        if not mine or name.startswith("_") or (names and name not in names):
            continue
        error = ""
        try:
            part()
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"name": name, "error": error}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
