"""Set up what the Makefile needs: .venv with a compiled llama.cpp, and the peers of the benchmarks.

Any python3 may run this file, so it keeps to old syntax until the version is known.
"""

import shutil
import signal
import subprocess
import sys

NEEDED = (3, 11)


def newer_python():
    # type: () -> str
    """The name of a new enough Python on PATH that starts, or an empty string."""
    for minor in range(20, NEEDED[1] - 1, -1):
        name = "python3.{0}".format(minor)  # noqa: UP030, UP032
        if shutil.which(name) and subprocess.call([name, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return name
    return ""


def interrupt(_signal, _frame):
    # type: (int, object) -> None
    """Let SIGTERM do what Ctrl-C does."""
    raise KeyboardInterrupt


def main():
    # type: () -> int
    """Check the interpreter, then run the set-up."""
    if sys.version_info < NEEDED:
        found = newer_python()
        have = ".".join(str(part) for part in sys.version_info[:3])
        remedy = "Found one: make chat PYTHON=" + found
        if not found:
            remedy = "Install it: sudo apt-get install python3.11-venv, then make chat PYTHON=python3.11"
        sys.stderr.write("stevemin needs Python 3.11 or newer, not " + have + ". " + remedy + "\n")
        return 1
    from bootstrap.main import run

    signal.signal(signal.SIGTERM, interrupt)
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
