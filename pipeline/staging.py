"""What the workers of a job install: this package, and what the options name beside it."""

from __future__ import annotations

import importlib.util
import os
from fnmatch import fnmatch

from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    SetupOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.stager import SKIP_REQUIREMENTS_CACHE

from pipeline.errors import OptionError

# The names that Beam stages.
_STAGED = {
    "setup_file": ("setup.py", "pyproject.toml"),
    "requirements_file": ("*",),
    "extra_package": ("*.whl", "*.tar.gz", "*.tar", "*.zip"),
}
_THIS_PACKAGE = "unbabel[-_]cli-*"
_REMEDY = (
    "--setup_file=./setup.py from a checkout, --extra_package=WHEEL, "
    "or --sdk_container_image=IMAGE with the package installed"
)


def check_staged(options: PipelineOptions) -> None:
    """Refuses what Beam cannot stage.

    Raises:
        OptionError: a file is not there, or none that Beam takes by this option.
    """
    setup = options.view_as(SetupOptions)
    named = [("setup_file", setup.setup_file), ("requirements_file", setup.requirements_file)]
    named += [("extra_package", each) for each in setup.extra_packages or ()]
    for name, path in named:
        if path is None:
            continue
        if not os.path.isfile(path):
            raise OptionError(f"--{name}={path} is no file of this machine; pass {_REMEDY}")
        if not any(fnmatch(os.path.basename(path), staged) for staged in _STAGED[name]):
            raise OptionError(
                f"--{name}={path} is none of {', '.join(_STAGED[name])}; pass {_REMEDY}"
            )
    is_fetched = setup.requirements_cache != SKIP_REQUIREMENTS_CACHE
    if setup.requirements_file is not None and is_fetched and not _has_pip():
        raise OptionError(
            f"--requirements_file={setup.requirements_file} is fetched here by pip, which this "
            f"Python has not: install it, or pass --requirements_cache={SKIP_REQUIREMENTS_CACHE}"
        )


def image_of(options: PipelineOptions) -> str | None:
    """The container image of the workers, by its option or the older name of that, if any."""
    worker = options.view_as(WorkerOptions)
    image: str | None = worker.sdk_container_image or worker.worker_harness_container_image
    return image


def stage_this_package(options: PipelineOptions) -> None:
    """Names the setup.py of the checkout that runs, where no option brings the package along.

    Raises:
        OptionError: this is no checkout, or it cannot be packed.
    """
    setup = options.view_as(SetupOptions)
    if setup.setup_file is not None:
        _check_packing(setup.setup_file)
        # Beam changes to its folder, and then looks for it by the path that it was given.
        setup.setup_file = os.path.abspath(setup.setup_file)
        return
    packages = map(os.path.basename, setup.extra_packages or ())
    if image_of(options) or any(fnmatch(package, _THIS_PACKAGE) for package in packages):
        return
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    setup_file = os.path.join(checkout, "setup.py")
    if not os.path.exists(setup_file):
        raise OptionError(f"the workers need this package too: pass {_REMEDY}")
    _check_packing(setup_file)
    setup.setup_file = setup_file


def _check_packing(setup_file: str) -> None:
    """Raises OptionError where this Python lacks what Beam runs to pack a package."""
    missing = [name for name in ("build", "setuptools") if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(
            f"{setup_file}: this Python lacks {' and '.join(missing)} to pack it for the workers: "
            "pip install 'unbabel-cli[gcp]', or pass --extra_package=WHEEL, or "
            "--sdk_container_image=IMAGE with the package installed"
        )


def say_nothing_of_pip(options: PipelineOptions) -> None:
    """Keeps Beam from printing that there is no pip, by which it notes what is installed here."""
    if not _has_pip():
        options.view_as(DebugOptions).add_experiment("disable_logging_submission_environment")


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None
