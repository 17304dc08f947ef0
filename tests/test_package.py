"""What users install: the wheel has the package and nothing else, and the locks what it needs."""

import email
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from copies import CHECKOUT, copy_package, copy_project_files
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_NATIVE = (
    "SHA256SUMS",
    "linux-aarch64.so",
    "linux-x86_64.so",
    "macos-arm64.dylib",
    "macos-x86_64.dylib",
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    checkout = folder / "checkout"
    copy_package(checkout)
    copy_project_files(checkout)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, "."],
        cwd=checkout,
        capture_output=True,
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def _about(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [each for each in wheel.namelist() if each.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def test_the_wheel_has_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    about = {name.partition(".dist-info/")[2] for name in wheel.namelist()} - {""}
    modules = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "pipeline").rglob("*.py")}
    native = {f"pipeline/parsing/native/{name}" for name in _NATIVE}
    assert names == modules | {"pipeline/py.typed"} | native
    assert about == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"),
        "licenses/LICENSE",
    }


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    commands = _about(wheel, "entry_points.txt").split()
    assert commands == ["[console_scripts]", "unbabel_cli", "=", "pipeline.__main__:main"]


@pytest.mark.parametrize(
    ("lock", "extra"),
    [
        ("requirements.lock", ""),
        ("requirements-test.lock", "test"),
        ("deploy/requirements.lock", "gcp"),
    ],
)
def test_a_lock_has_all_that_the_wheel_asks_for(
    lock: str, extra: str, wheel: zipfile.ZipFile
) -> None:
    locked = _locked(CHECKOUT / lock)
    metadata = email.message_from_string(_about(wheel, "METADATA"))
    asked = metadata.get_all("Requires-Dist")
    for requirement in _needed(asked, asked, extra):
        name = canonicalize_name(requirement.name)
        assert name in locked
        assert requirement.specifier.contains(locked[name]), requirement


def _locked(lock: Path) -> dict[str, str]:
    """The versions in a lock, by name, for this Python."""
    lines = re.findall(r"^(\w\S*==[^\\\n]*?)(?: \\)?$", lock.read_text(), re.MULTILINE)
    pinned = [Requirement(line) for line in lines]
    return {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in pinned
        if each.marker is None or each.marker.evaluate()
    }


def _needed(asked: list[str], own: list[str], extra: str) -> Iterator[Requirement]:
    """What is asked for with an extra, and what the extras of that ask for."""
    for requirement in map(Requirement, asked):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        is_own = requirement.name == "unbabel-cli"
        if not is_own:
            yield requirement
        for further in requirement.extras:
            of_it = own if is_own else importlib.metadata.requires(requirement.name) or []
            yield from _needed(of_it, own, further)
