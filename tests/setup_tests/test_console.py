from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import block_until

from bootstrap import console
from bootstrap.console import SetupError, error_lines, run_logged

ROOT = Path(__file__).parents[2]


def test_the_output_goes_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "a.log"
    run_logged("Saying hello", ["sh", "-c", "echo hello; echo $WHO >&2"], log, environment={"WHO": "you"})
    assert log.read_text() == "hello\nyou\n"
    assert capsys.readouterr().err == "  Saying hello: done after 0:00\n"


def test_a_failure_shows_the_telling_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = "echo '[ 1/9] g++ -Werror=all x.c'; echo 'x.c:1: error: bad'; echo bye; exit 3"
    with pytest.raises(SetupError, match=r"^Work failed\. Full log: .*a\.log$"):
        run_logged("Work", ["sh", "-c", script], tmp_path / "a.log")
    shown = capsys.readouterr().err.splitlines()
    assert shown == ["  Work: failed after 0:00", "    x.c:1: error: bad"]


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot run /no/such/program: No such file"):
        run_logged("Work", ["/no/such/program"], tmp_path / "a.log")


def test_the_first_errors_and_what_they_announce() -> None:
    text = "CMake Error at ggml-cuda/CMakeLists.txt:178:\n\n  target not found\n\nok\nerror: a\nerror: b\n"
    expected = ["CMake Error at ggml-cuda/CMakeLists.txt:178:", "target not found", "error: a"]
    assert error_lines(text, limit=3) == expected


def test_without_telling_lines_the_last_ones() -> None:
    text = "\n".join(str(number) for number in range(50))
    assert error_lines(text, limit=3) == ["47", "48", "49"]
    assert error_lines("") == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("  [44/193] /usr/bin/g++ -c ggml.cpp", " 22%  [44/193]"),
        ("[ 57%] Building CXX object ggml.cpp.o", " 57%"),
        ("Collecting numpy==2.4.6", "Collecting numpy==2.4.6"),
        ("  Downloading numpy.whl (16 MB)", "Downloading numpy.whl (16 MB)"),
        ("anything else", ""),
    ],
)
def test_progress_is_read_from_the_tools(line: str, status: str) -> None:
    progress = console._Progress("Work")
    progress.note(line)
    assert progress.status == status


def test_a_terminal_sees_a_ticking_line(tmp_path: Path) -> None:
    """On a terminal the line changes in place; `script`-like, through a pseudo-terminal.

    The clock stands until the command's output is read, then it is a second later; the command ends only when
    that line is drawn.
    """
    drawn = tmp_path / "drawn"
    script = f"echo '[1/4] a'; until [ -e {drawn} ]; do sleep 0.02; done"
    code = (
        "import sys; sys.path.insert(0, 'scripts')\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "from bootstrap import console\n"
        "now = [100.0]\n"
        "console.time = SimpleNamespace(monotonic=lambda: now[0])\n"
        "note, show = console._Progress.note, console._Progress.show\n"
        "def noting(progress, line):\n"
        "    note(progress, line)\n"
        "    now[0] = 101.2\n"
        "def showing(progress):\n"
        "    read = now[0] > 101  # looked at before drawing: it may be read just after\n"
        "    show(progress)\n"
        "    if read:\n"
        f"        Path({str(drawn)!r}).touch()\n"
        "console._Progress.note, console._Progress.show = noting, showing\n"
        f"console.run_logged('Work', ['sh', '-c', {script!r}], Path({str(tmp_path / 'a.log')!r}))\n"
    )
    reader, writer = os.openpty()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=writer, check=True, timeout=30)
    os.close(writer)
    seen = os.read(reader, 65536).decode()
    os.close(reader)
    assert done.returncode == 0
    assert "\r\x1b[K  Work  0:01   25%  [1/4]" in seen
    assert seen.endswith("  Work: done after 0:01\r\n")


def test_stopping_stops_what_runs_below(tmp_path: Path) -> None:
    """SIGTERM to the set-up ends the compilers that pip started, not only pip."""
    pid_file = tmp_path / "pid"
    code = (
        "import signal, sys; sys.path.insert(0, 'scripts')\n"
        "from pathlib import Path\n"
        "from bootstrap.console import run_logged\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\n"
        f"script = 'sleep 60 & echo $! > {pid_file}; wait'\n"
        f"run_logged('Work', ['sh', '-c', script], Path({str(tmp_path / 'a.log')!r}))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL) as setup:
        grandchild = _wait_for_pid(pid_file)
        setup.send_signal(signal.SIGTERM)
        assert setup.wait(timeout=20) == 130
    block_until(lambda: not _runs(grandchild))  # it was signalled; the system may take a moment


def _wait_for_pid(file: Path) -> int:
    for _ in range(400):
        if file.exists() and file.read_text().strip():
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError("the command did not start")


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
