"""Fixtures for the tests of experiments: a tiny network, a learnable problem, and an experiment on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import write_data, write_model


@pytest.fixture
def experiment_path(tmp_path: Path) -> Path:
    """A YAML file with two BNs, both statistics sources and two seeds, which trains in a second."""
    model, data = write_model(tmp_path), write_data(tmp_path, n=24)
    path = tmp_path / "tiny.yaml"
    path.write_text(f"""
name: tiny
preset: controlled
summary: a tiny network on a tiny problem
model: {model}
data: {data}
bn: [sample, stein]
seeds: 2
parts:
  - name: standard
    recipe: fit
    train: {{epochs: 2}}
    batch-size: 20
    attack: [fgsm:eps=4/255, pgd:eps=4/255, noise-gaussian]
""")
    return path
