"""What deploy/ holds is made from the options and the lock, and is what the service takes."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import template
from copies import CHECKOUT

pytest.importorskip("google.cloud.dataflow_v1beta3", reason="the extra gcp is not installed")
from google.cloud.dataflow_v1beta3 import types
from google.protobuf import json_format
from googleapiclient.discovery_cache import get_static_doc
from jsonschema import Draft202012Validator

_DEPLOY = CHECKOUT / "deploy"

_MODES = pytest.mark.parametrize("mode", ["batch", "streaming"])


def test_what_is_written_is_what_the_options_make() -> None:
    stale = [path.name for path, text in template.files().items() if path.read_text() != text]
    assert not stale, "run python deploy/template.py"


@_MODES
def test_google_s_own_messages_take_the_templates(mode: str) -> None:
    # Unknown fields and values are refused.
    spec = json_format.ParseDict(template.container_spec(mode), types.ContainerSpec()._pb)
    metadata = json_format.ParseDict(template.metadata(mode), types.TemplateMetadata()._pb)
    assert spec.metadata == metadata


def _schema(name: str) -> dict[str, Any]:
    """A JSON schema of what Google's API takes, unknown fields refused."""
    published = json.loads(get_static_doc("dataflow", "v1b3"))["schemas"]
    return {
        "$defs": {each: _strict(schema) for each, schema in published.items()},
        "$ref": f"#/$defs/{name}",
    }


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    made = {key: schema[key] for key in ("type", "enum") if key in schema}
    if "items" in schema:
        made["items"] = _strict(schema["items"])
    if "properties" in schema:
        made["properties"] = {key: _strict(each) for key, each in schema["properties"].items()}
        made["additionalProperties"] = False
    return made


@_MODES
def test_the_schema_of_google_s_api_takes_the_templates(mode: str) -> None:
    spec = template.container_spec(mode)
    takes_specs = Draft202012Validator(_schema("ContainerSpec"))
    takes_specs.validate(spec)
    Draft202012Validator(_schema("TemplateMetadata")).validate(template.metadata(mode))
    assert not takes_specs.is_valid({**spec, "images": []})
    assert not takes_specs.is_valid({**spec, "metadata": {"parameters": [{"paramType": "PATH"}]}})


@_MODES
def test_defaults_and_choices_pass_their_own_checks(mode: str) -> None:
    for parameter in template.metadata(mode)["parameters"]:
        assert all(parameter[key] for key in ("name", "label", "helpText"))
        default = parameter.get("defaultValue")
        for regex in parameter.get("regexes", []):
            assert default is None or re.search(regex, default), parameter
        if "enumOptions" in parameter and default is not None:
            assert default in [each["value"] for each in parameter["enumOptions"]]


def test_an_option_without_a_label_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(template._LABELS, "decimals")
    with pytest.raises(ValueError, match="decimals"):
        template.metadata("batch")


def _beam_of(lock: Path) -> str:
    found = re.search(r"^apache-beam(?:\[\w+\])?==(\S+)", lock.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_locks_have_the_newest_beam_allowed_and_one_has_the_oldest() -> None:
    project = (CHECKOUT / "pyproject.toml").read_text()
    floor, ceiling = re.search(r'"apache-beam>=([\d.]+),<2\.(\d+)"', project).groups()
    newest = {_beam_of(CHECKOUT / f"requirements{kind}.lock") for kind in ("", "-test")}
    (version,) = newest | {_beam_of(_DEPLOY / "requirements.lock")}
    assert int(version.split(".")[1]) == int(ceiling) - 1
    assert _beam_of(CHECKOUT / "requirements-lowest.lock").startswith(f"{floor}.")


def test_the_dockerfile_names_no_version_of_beam_of_its_own() -> None:
    dockerfile = (_DEPLOY / "Dockerfile").read_text()
    assert not re.search(r"\d+\.\d+\.\d+", dockerfile), "a version in a second place"
    assert "latest" not in dockerfile
    pythons = re.findall(r"^FROM \S*?python:?(\d\.?\d+)", dockerfile, re.MULTILINE)
    assert [each.replace(".", "") for each in pythons] == ["311"] * 3
    assert "beam_python3.11_sdk:${BEAM_VERSION}" in dockerfile


def test_the_build_passes_that_version_on(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    built = subprocess.run(
        ["bash", _DEPLOY / "build.sh", "image:1"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    lock = (_DEPLOY / "requirements.lock").read_text()
    version = re.search(r"^apache-beam(?:\[\w+\])?==(\S+)", lock, re.MULTILINE)[1]
    assert f"BEAM_VERSION={version}" in built.stdout.splitlines()
    assert "image:1" in built.stdout.splitlines()
