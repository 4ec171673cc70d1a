"""Manifests of datasets whose policies choose discrete actions."""

from __future__ import annotations

import json

import pytest
from helpers.small_collections import edit_manifest
from tipl_bench.registry.manifest import Manifest, read_manifest
from tipl_bench.rl import PolicyLayout
from tipl_bench.utils.errors import DatasetError


def test_a_manifest_says_what_its_policies_outputs_are(collected, dataset):
    """The fields that came later are named, and in the digest, only where they say something."""
    text = json.loads(collected.manifest.to_json())
    assert "distribution" not in text
    assert "entropy_coefficient" not in text["collection"]["hyperparameters"]
    layout = PolicyLayout(4, (4, 4), 2, distribution="categorical")
    changes = {"action_size": 2, "distribution": "categorical", "parameters": layout.shapes}
    other = Manifest.model_validate(text | changes)
    assert other.layout == layout
    assert json.loads(other.to_json())["distribution"] == "categorical"
    assert other.digest != collected.manifest.model_copy(update={"action_size": 2, "parameters": layout.shapes}).digest
    settings = collected.manifest.collection.hyperparameters.model_copy(update={"entropy_coefficient": 0.01})
    collection = collected.manifest.collection.model_copy(update={"hyperparameters": settings})
    assert collected.manifest.model_copy(update={"collection": collection}).digest != collected.digest
    edit_manifest(dataset.folder, lambda manifest: manifest.update(distribution="categorical"))
    with pytest.raises(DatasetError, match="names or shapes are not those of the layout"):
        read_manifest(dataset.folder)
