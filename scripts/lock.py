"""Write requirements/: every package that the set-up installs, with the hashes of all its files.

One resolution for Linux and macOS from pyproject.toml and constraints.txt. Versions locked before are kept,
unless --upgrade is given. `make lock` runs this script.

- `build.txt`: what compiles llama.cpp and installs stevemin itself.
- `llama.txt`: the sources of llama-cpp-python, which the set-up compiles for the machine.
- `runtime.txt`: everything else that the chat needs.
- `torch-cpu.txt`: PyTorch's CPU build, for a machine whose pip is offered it.
- `cuda.txt`: the libraries that torch's Linux wheels need otherwise.
- `dev.txt`: what tests and checks need besides.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tomllib
import venv
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
SCRATCH = ROOT / "build" / "lock"
UV = "uv==0.13.9"
BUILD = ("editables", "hatchling", "scikit-build-core")

# PyTorch's CPU builds are not on the package index, so no resolver finds their hashes: written down by hand.
TORCH = "2.13.0"
CPU_BUILDS = (
    "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",  # CPython 3.11, Linux x86_64
)

# The marker of a package that all environments of pyproject.toml's [tool.uv] need.
EVERYWHERE = " ; python_full_version < '3.15' and (sys_platform == 'darwin' or sys_platform == 'linux')"

Locked = dict[str, str]  # "name==version ; marker" -> its lines in a requirements file


def main() -> None:
    """Resolve everything once, then split it by purpose."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions within the bounds")
    upgrade = parser.parse_args().upgrade
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    chat, dev = project["dependencies"], project["optional-dependencies"]["dev"]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    kept = [] if upgrade else [path for path in FOLDER.glob("*.txt") if path.stem != "torch-cpu"]
    before = "".join(path.read_text(encoding="utf-8") for path in kept)
    everything, text = resolve([*chat, *dev, *BUILD], before)
    runtime, _ = resolve(chat, text)
    build, _ = resolve(BUILD, text)
    assert runtime.keys() | build.keys() <= everything.keys(), "the parts are not of one resolution"
    assert f"torch=={TORCH}" in runtime, "write down the version and the hashes of the new torch's CPU builds"
    cpu_build = f"torch=={TORCH}+cpu"
    llama = {pin for pin in runtime if pin.startswith("llama-cpp-python==")}
    cuda = {pin for pin in runtime if is_cuda(pin)}
    write("build", build)
    write("llama", {pin: runtime[pin] for pin in llama})
    write("runtime", {pin: lines for pin, lines in runtime.items() if pin not in llama | cuda})
    hashes = [f"--hash=sha256:{digest}" for digest in CPU_BUILDS]
    write("torch-cpu", {cpu_build: " \\\n    ".join([cpu_build, *hashes])})
    write("cuda", {pin: runtime[pin] for pin in cuda})
    write("dev", {pin: lines for pin, lines in everything.items() if pin not in runtime | build})


def resolve(requirements: Iterable[str], before: str) -> tuple[Locked, str]:
    """Everything that the requirements need, with hashes; and the same as text.

    Args:
        before: a requirements file whose versions are kept where they fit.
    """
    asked, target = SCRATCH / "asked.in", SCRATCH / "resolved.txt"
    asked.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    target.write_text(before, encoding="utf-8")  # uv keeps the versions that its output file has
    options = ["--universal", "--generate-hashes", "--python-version", "3.11", "--no-header", "--no-annotate"]
    options += ["--quiet", "--constraints", "constraints.txt", "--output-file", str(target)]
    subprocess.run([uv(), "pip", "compile", str(asked), *options], cwd=ROOT, check=True)
    text = target.read_text(encoding="utf-8")
    return entries(text), text


def entries(text: str) -> Locked:
    """The packages of a requirements file."""
    found = {}
    for lines in re.split(r"\n(?=\w)", text.strip()):
        lines = lines.replace(EVERYWHERE, "")
        pin = lines.splitlines()[0].removesuffix(" \\")
        found[pin] = lines
    return found


def is_cuda(pin: str) -> bool:
    """Whether torch needs a package for CUDA only."""
    return bool(re.match(r"(cuda|nvidia|triton)\b", pin)) and not pin.startswith("nvidia-ml-py==")


def write(name: str, locked: Locked) -> None:
    """Write one requirements file."""
    head = "# Written by `make lock`, to be installed with --require-hashes --no-deps.\n"
    body = "".join(f"{locked[pin]}\n" for pin in sorted(locked))
    (FOLDER / f"{name}.txt").write_text(head + body, encoding="utf-8")


def uv() -> str:
    """The resolver, installed once into the scratch folder."""
    tool = SCRATCH / "venv" / "bin" / "uv"
    if not tool.is_file():
        venv.create(SCRATCH / "venv", with_pip=True)
        subprocess.run([str(tool.with_name("python")), "-m", "pip", "install", "--quiet", UV], check=True)
    return str(tool)


if __name__ == "__main__":
    main()
