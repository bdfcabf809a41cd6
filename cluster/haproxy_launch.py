"""Starts HAProxy on Serve's configuration, with the parts put right that Serve gives no setting for.

Serve runs this file as its HAProxy: `haproxy_launch.py HAPROXY ERRORS_DIR ARGUMENT...`. It must start fast, each time that
the configuration changes, so it imports next to nothing.
"""

import os
import re
import sys

ERROR_FILES = {status: f"{status}.http" for status in (502, 503, 504)}

# Serve's statistics and metrics are for this machine; `bind :PORT` and `bind *:PORT` are open to all.
_OPEN_TO_ALL = re.compile(r"^(\s*bind )\*?:(\d+)", re.MULTILINE)
# Serve tells callers that a replica which died under their request was an error of the request.
_ERROR_FILE = re.compile(r"^(\s*errorfile (\d+)) .*$", re.MULTILINE)
# Every path is the application's, so one without a backend is one whose application is not there yet.
_NOT_FOUND = re.compile(r"^(\s*http-request return) status 404 content-type text/plain lf-string .*$", re.MULTILINE)


def put_right(configuration: str, errors_dir: str) -> str:
    """Serve's configuration with ports on loopback, and answers of HAProxy's own that say when to try again."""
    found = _OPEN_TO_ALL.sub(r"\g<1>127.0.0.1:\g<2>", configuration)
    found = _ERROR_FILE.sub(lambda line: f"{line[1]} {errors_dir}/{ERROR_FILES[int(line[2])]}", found)
    return _NOT_FOUND.sub(r"\g<1> status 503 default-errorfiles", found)


def main(haproxy: str, errors_dir: str, *arguments: str) -> None:
    """Become HAProxy."""
    if "-f" in arguments:
        path = arguments[arguments.index("-f") + 1]
        with open(path, "r+", encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes longest of all to import
            text = put_right(file.read(), errors_dir)
            file.seek(0)
            file.write(text)
            file.truncate()
    os.execv(haproxy, [haproxy, *arguments])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
