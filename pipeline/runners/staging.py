"""Staging: what the workers of a job install."""

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

import pipeline
from pipeline.core.errors import OptionError

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
        OptionError: a file does not exist, or Beam does not accept it for this option.
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
    """The container image of the workers, by its option or the older name of the option."""
    worker = options.view_as(WorkerOptions)
    image: str | None = worker.sdk_container_image or worker.worker_harness_container_image
    return image


def stage_this_package(options: PipelineOptions) -> None:
    """Sets `--setup_file` to that of this checkout, if no option stages the package.

    Raises:
        OptionError: this is not a checkout, or it cannot be packed.
    """
    setup = options.view_as(SetupOptions)
    if setup.setup_file is not None:
        _check_packing(setup.setup_file)
        # Absolute, since Beam changes the working folder before it uses the path.
        setup.setup_file = os.path.abspath(setup.setup_file)
        return
    packages = map(os.path.basename, setup.extra_packages or ())
    if image_of(options) or any(fnmatch(package, _THIS_PACKAGE) for package in packages):
        return
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(pipeline.__file__)))
    setup_file = os.path.join(checkout, "setup.py")
    if not os.path.exists(setup_file):
        raise OptionError(f"the workers need this package too: pass {_REMEDY}")
    _check_packing(setup_file)
    setup.setup_file = setup_file


def _check_packing(setup_file: str) -> None:
    """Raises OptionError if this Python lacks the tools that Beam runs to pack a package."""
    missing = [name for name in ("build", "setuptools") if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(
            f"{setup_file}: this Python lacks {' and '.join(missing)} to pack it for the workers: "
            "pip install 'unbabel-cli[gcp]', or pass --extra_package=WHEEL, or "
            "--sdk_container_image=IMAGE with the package installed"
        )


def say_nothing_of_pip(options: PipelineOptions) -> None:
    """Stops Beam from printing that there is no pip, which it uses to list installed packages."""
    if not _has_pip():
        options.view_as(DebugOptions).add_experiment("disable_logging_submission_environment")


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None
