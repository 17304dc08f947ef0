"""What a run on Prism is told, beyond where it is."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions

from pipeline import beam_internals
from pipeline.runners import prism


@pytest.mark.prism
def test_it_is_told_not_to_split_bundles_in_a_word_that_it_knows(
    prism_binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRISM_BIN", prism_binary)
    options = PipelineOptions([])
    with prism.serving(options, is_debugging=False):
        assert beam_internals.NO_SPLITS_OF_BUNDLES in options.view_as(DebugOptions).experiments
    assert beam_internals.NO_SPLITS_OF_BUNDLES.encode() in Path(prism_binary).read_bytes()
