"""Submissions to the circuit track of MIB (Mueller et al. 2025): a folder for each task and model, named `task_model`.

It holds either one file with a score for every edge, from which circuits of all sizes are cut there, or one file of
membership for each of nine sizes. Both are EAP-IG's graphs; in the second, scores are 1 and 0.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from acdc.artefacts.codecs import eap_ig
from acdc.artefacts.codecs.foreign import Codec, ForeignGraph
from acdc.errors import InputError
from acdc.graph import Anatomy, ComponentGraph

NAME, IMPORTANCES = "mib", "importances.json"
PERCENTAGES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
MODELS = {"Qwen2.5-0.5B": "qwen2.5", "gemma-2-2b": "gemma2", "Llama-3.1-8B": "llama3"}  # as MIB calls them


def folder_name(task: str, model: str) -> str:
    """`task_model`; an underscore parts the two and stands in neither."""
    known = MODELS.get(model.rsplit("/", 1)[-1], model)
    return "_".join(re.sub(r"[^\w.-]+|_", "-", name) for name in (task, known))


def importances(found: ForeignGraph, graph: ComponentGraph) -> dict[str, bytes]:
    """One scored file. Raises InputError for what has no scores of all edges."""
    _require_scores(found)
    return {IMPORTANCES: eap_ig.encode(found, graph)}


def circuits(found: ForeignGraph, graph: ComponentGraph) -> dict[str, bytes]:
    """A file for each percentage: the edges of largest |score|, at most so many of all. Raises InputError likewise."""
    scores = _require_scores(found)
    mark = found.mark.model_copy(update={"scored": "none", "repeated": False})  # a cut may part what shares a slot
    order = np.argsort(-np.abs([scores[name] for name in graph.names]), kind="stable")
    files = {}
    for percentage in PERCENTAGES:
        count = math.floor(graph.n_edges * percentage / 100 + 1e-9)
        edges = {graph.names[i]: None for i in sorted(order[:count])}
        chosen = ForeignGraph(edges=edges, mark=mark)
        files[f"circuit_{percentage}.json"] = eap_ig.encode(chosen, graph, scored=False)
    return files


def _require_scores(found: ForeignGraph) -> Mapping[str, float]:
    if found.scores is None:
        raise InputError(
            f"format {NAME} needs a score for every edge, which this run lacks: use a run of 'acdc score', or of a "
            "method that scores"
        )
    return found.scores


def decode(path: Path, anatomy: Anatomy) -> ForeignGraph:
    """A file, or a folder with one. Raises InputError for a folder with several circuits."""
    return eap_ig.decode(find_file(path), anatomy)


def find_file(path: Path) -> Path:
    """The file that a path names, of a folder the only one."""
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".pt"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise InputError(f"{path} must hold one .json file, not {len(files)} ({names}): name one of its files instead")
    return files[0]


CODEC = Codec(NAME, eap_ig.terms, eap_ig.encode, decode)
