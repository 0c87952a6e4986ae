"""A process that reads the files it is told of: what makes a library crash ends it, and not the tests.

`python reading.py` takes "reader, tab, path" a line on stdin, and answers each with a line of JSON: the reader's
refusal, or null where it reads the file.
"""

import json
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from mirrba.errors import MirrbaError
from mirrba.images import read_volume
from mirrba.metrics import read_landmarks
from mirrba.segments import read_segmentation
from mirrba.transforms import read_transform

READERS = {reader.__name__: reader for reader in (read_volume, read_segmentation, read_transform, read_landmarks)}


class Reading:
    """The process, seen from the tests."""

    def __init__(self) -> None:
        self._process = None

    def refusal(self, reader: str, path: Path) -> str | None:
        """What the reader says of the file, None where it reads it. An AssertionError where the process has ended."""
        if self._process is None:
            command = [sys.executable, __file__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{reader}\t{path}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            code = self.close()
            raise AssertionError(f"{reader} of {path} ended the process (exit code {code})")
        return json.loads(answer)

    def close(self) -> int | None:
        """The exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        with suppress(BrokenPipeError), process:
            process.stdin.close()
        return process.wait()


def _refusal(reader: str, path: str) -> str | None:
    try:
        READERS[reader](path)
    except MirrbaError as error:
        return str(error)
    return None


if __name__ == "__main__":
    warnings.simplefilter("error")  # numpy's would reach the user
    for line in sys.stdin:
        print(json.dumps(_refusal(*line.rstrip("\n").split("\t"))), flush=True)
