"""What `pip install .` puts on a machine, and what the files of the set-up promise each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lock

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pins}


def requirements() -> list[Requirement]:
    return [
        Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    ]


def test_the_wheel_holds_every_source_and_style_sheet(wheel: zipfile.ZipFile) -> None:
    packed = set(wheel.namelist())
    for package in ("engine", "memory", "stevemin_chat"):
        for suffix in ("*.py", "*.tcss"):
            wanted = {str(path.relative_to(ROOT)) for path in (ROOT / package).rglob(suffix)}
            assert wanted <= packed, sorted(wanted - packed)
    assert any(name.endswith(".tcss") for name in packed)


def test_the_wheel_holds_the_catalogue_and_nothing_of_the_workshop(wheel: zipfile.ZipFile) -> None:
    assert wheel.read("stevemin_chat/models.toml") == (ROOT / "models.toml").read_bytes()
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"engine", "memory", "stevemin_chat", "stevemin-0.1.0.dist-info"}


def test_the_console_script(wheel: zipfile.ZipFile) -> None:
    entry_points = wheel.read("stevemin-0.1.0.dist-info/entry_points.txt").decode()
    assert f"stevemin = {PROJECT['scripts']['stevemin']}" in entry_points.splitlines()


def test_every_dependency_has_bounds() -> None:
    builders = [Requirement(text) for text in PYPROJECT["build-system"]["requires"]]
    for requirement in [*requirements(), *builders]:
        operators = {part.operator for part in requirement.specifier}
        assert operators == {"=="} or {">=", "<"} <= operators, requirement


def test_every_dependency_is_pinned_within_what_it_allows() -> None:
    pins = constraints()
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is missing in constraints.txt"
        assert requirement.specifier.contains(pins[name]), f"{requirement} and =={pins[name]}"
    assert pins["torch"] == "2.13.0"


class Locked(NamedTuple):
    """A package of requirements/, and the marker of the platforms it is for."""

    file: str
    version: str
    requirement: Requirement
    hashes: list[str]


def locked() -> dict[str, list[Locked]]:
    """All packages of requirements/ by name; some have a version for each range of Pythons."""
    found: dict[str, list[Locked]] = defaultdict(list)
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        for block in re.split(r"\n(?=\w)", text)[1:]:
            requirement = Requirement(block.splitlines()[0].removesuffix(" \\"))
            (pin,) = requirement.specifier
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
            package = Locked(path.stem, pin.version, requirement, hashes)
            found[canonicalize_name(requirement.name)].append(package)
    return found


def test_all_that_is_locked_has_one_version_and_hashes() -> None:
    for name, packages in locked().items():
        for package in packages:
            assert package.hashes, name
            assert next(iter(package.requirement.specifier)).operator == "==", name
        here = {package.version for package in packages if applies(package.requirement)} - {"2.13.0+cpu"}
        assert len(here) <= 1, f"{name}: {here}"
    assert sum(len(packages) for packages in locked().values()) > 150


def test_the_lock_agrees_with_the_constraints() -> None:
    lock = locked()
    for name, version in constraints().items():
        assert version in {package.version for package in lock[name]}, name


def test_the_lock_holds_everything_that_is_needed() -> None:
    """Follow what the installed packages require, from pyproject.toml and the build tools down."""
    lock, missing, seen = locked(), [], set[tuple[str, str]]()
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    waiting = [*requirements(), *map(Requirement, build), Requirement("scikit-build-core>=0.9.2")]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        versions = [package.version for package in lock[name] if applies(package.requirement)]
        if not any(requirement.specifier.contains(version, prereleases=True) for version in versions):
            missing.append(str(requirement))
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                below = map(Requirement, metadata.requires(name) or ())
                waiting += [each for each in below if applies(each, extra)]
    assert not missing
    assert len(seen) > 120


def test_what_torch_needs_for_cuda_is_apart() -> None:
    assert lock.is_cuda("nvidia-cublas==13.1.1.3 ; sys_platform == 'linux'")
    assert lock.is_cuda("triton==3.7.1")
    assert not lock.is_cuda("nvidia-ml-py==13.615.71"), "it reads the GPU's load"
    packages = locked()
    assert {package.file for package in packages["nvidia-cublas"]} == {"cuda"}
    assert {package.file for package in packages["torch"]} == {"runtime", "torch-cpu"}


def applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "Makefile", ".ci/run", "requirements"])
def test_no_package_index_is_named(name: str) -> None:
    files = [ROOT / name] if (ROOT / name).is_file() else [*(ROOT / name).iterdir()]
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text), file


def test_make_lists_its_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    for target in ("chat", "test", "campaign", "coverage", "check", "lock", "bench", "peers", "clean"):
        assert f"  make {target} " in done.stdout


def test_make_with_an_interpreter_that_is_not_there() -> None:
    command = ["make", "install", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert done.stderr.startswith("no-such-python was not found: sudo apt-get install python3")
