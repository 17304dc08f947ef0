"""What a run on Prism is told, beyond where it is."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions

from pipeline import prism


@pytest.mark.prism
def test_it_is_told_not_to_split_bundles_in_a_word_that_it_knows(
    prism_binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRISM_BIN", prism_binary)
    options = PipelineOptions([])
    with prism.serving(options):
        assert prism.NO_SPLITS in options.view_as(DebugOptions).experiments
    assert prism.NO_SPLITS.encode() in Path(prism_binary).read_bytes()
