"""Open a dictionary of whatever format it is in; a new format is one more reader here."""

from pathlib import Path

from acdc.attribution.dictionary import Dictionary
from acdc.attribution.transcoders import Transcoders
from acdc.model.load import Model


def open_dictionary(folder: Path, model: Model) -> Dictionary:
    """The dictionary in a folder. Raises InputError for one that does not fit the model, or of an unknown format."""
    return Transcoders(folder, model.anatomy, model.dtype, model.device)
