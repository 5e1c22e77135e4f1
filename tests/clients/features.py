"""Shared by the scripts of this folder: features that are tried one after the other.

A script is `tests/clients/run NAME [URL]`, or `PYTHON try_NAME.py URL`. It declares its features and calls
try_all(), which prints a line for each of them.
"""

import asyncio
import inspect
import json
import os
import sys
import time
import traceback
import urllib.request
from pathlib import Path

URL = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:7860"
V1 = URL + "/v1"
KEY = os.environ.get("KINGLET_KEY", "none")  # for a server that wants one

_features = []


def feature(text):
    """Declares a function, which may be a coroutine, as a feature. It fails by an exception."""

    def declare(function):
        _features.append((text, function))
        return function

    return declare


def try_all():
    """Tries the features and ends the program: with 1 if one failed."""
    failed = 0
    for text, function in _features:
        try:
            result = function()
            if inspect.isawaitable(result):
                asyncio.run(_finish(result))
        except Exception:
            failed += 1
            print(f"FAILED  {text}", flush=True)
            traceback.print_exc()
        else:
            print(f"ok      {text}", flush=True)
    sys.exit(1 if failed else 0)


async def _finish(result):
    return await result


def get_json(path):
    request = urllib.request.Request(URL + path, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def model_name():
    """The name of the first model that is served."""
    return get_json("/v1/models")["data"][0]["id"]


def expect_idle(seconds=10):
    """Waits until the server computes nothing any more: a request whose client is gone has ended. Of
    /health; other servers have no such figure."""
    deadline = time.monotonic() + seconds
    while (running := get_json("/health").get("running", 0)) != 0:
        assert time.monotonic() < deadline, f"{running} requests still run"
        time.sleep(0.02)


def scratch():
    """An empty directory for the files of a client."""
    directory = Path(os.environ.get("CLIENT_SCRATCH") or "build/clients/scratch")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def raises(kind, function, *args, **kwargs):
    """Returns the exception of this class that the call raises."""
    try:
        function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")
