"""What users install: the wheel has the package, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from copies import CHECKOUT, copy_package, copy_project_files


@pytest.mark.slow
def test_the_wheel_has_the_package_and_nothing_else(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    copy_package(checkout)
    copy_project_files(checkout)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, "."],
        cwd=checkout,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    modules = {f"pipeline/{path.name}" for path in (CHECKOUT / "pipeline").glob("*.py")}
    assert names == modules | {"pipeline/py.typed"}
    assert about == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"),
        "licenses/LICENSE",
    }
