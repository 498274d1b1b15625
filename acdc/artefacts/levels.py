"""Coordinates under the name that they had in artefacts before there were hidden neurons."""

from collections.abc import Mapping
from typing import Any

from acdc.options import Level

MLP_WIDTH = "mlp_width"  # what artefacts of hidden neurons have and those of coordinates lack


def with_present_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record in which a level of neurons, and a list of them, are those of coordinates unless it says how many hidden
    neurons an MLP has."""
    if record.get("level") != Level.neurons.value or record.get(MLP_WIDTH) is not None:
        return dict(record)
    names = {Level.neurons.value: Level.coordinates.value}
    return {names.get(name, name): value for name, value in record.items()} | {"level": Level.coordinates.value}
