"""acdc: find, verify and draw the circuit behind a behaviour of a transformer.

import acdc

model = acdc.load_model("trio")
task = acdc.load_task("ioi", model)
result = acdc.discover(model, task, method="acdc")
report = acdc.verify(model, task, result.circuit)
result.circuit.to_svg("circuit.svg")
"""

from typing import TYPE_CHECKING

from acdc import display

if TYPE_CHECKING:
    from acdc.api import (
        AblationEffect,
        AttributionGraph,
        Circuit,
        Curve,
        Explained,
        FeatureCircuit,
        FeatureDictionary,
        GraphVerification,
        InputError,
        Intervened,
        Metric,
        MetricFunction,
        Model,
        PatchRecord,
        Picture,
        Report,
        Result,
        RowBatch,
        Steered,
        StoredJob,
        Task,
        Trained,
        ablate_features,
        discover,
        discover_features,
        draw,
        draw_difference,
        draw_features,
        draw_patching,
        explain,
        intervene,
        load_dictionary,
        load_graph,
        load_model,
        load_task,
        patch,
        run_jobs,
        silent,
        steer,
        sweep,
        trace,
        train_dictionary,
        verify,
        verify_features,
        verify_graph,
    )

__all__ = [
    "AblationEffect",
    "AttributionGraph",
    "Circuit",
    "Curve",
    "Explained",
    "FeatureCircuit",
    "FeatureDictionary",
    "GraphVerification",
    "InputError",
    "Intervened",
    "Metric",
    "MetricFunction",
    "Model",
    "PatchRecord",
    "Picture",
    "Report",
    "Result",
    "RowBatch",
    "Steered",
    "StoredJob",
    "Task",
    "Trained",
    "ablate_features",
    "discover",
    "discover_features",
    "draw",
    "draw_difference",
    "draw_features",
    "draw_patching",
    "explain",
    "intervene",
    "load_dictionary",
    "load_graph",
    "load_model",
    "load_task",
    "patch",
    "run_jobs",
    "silent",
    "steer",
    "sweep",
    "trace",
    "train_dictionary",
    "verify",
    "verify_features",
    "verify_graph",
]

display.provide(
    {
        "attribution graph as SVG": "acdc.render.attribution.picture:to_svg",
        "attribution graph in a folder": "acdc.artefacts.attribution.store:save_graph",
        "circuit as DOT": "acdc.render.dot:to_dot",
        "circuit as data frame": "acdc.artefacts.frames:circuit_frame",
        "circuit as networkx": "acdc.artefacts.circuit_graphs:to_networkx",
        "circuit as SVG": "acdc.render.svg:to_svg",
        "circuit of edges": "acdc.runs.by_hand:circuit_of",
        "circuit with matplotlib": "acdc.render.figure:plot",
        "circuit explorer": "acdc.render.report.embedded:explore",
        "circuit in a file": "acdc.render.graphviz:save_circuit",
        "curve as SVG": "acdc.render.curve:to_svg",
        "picture as SVG": "acdc.render.svg:write",
        "picture in a file": "acdc.render.graphviz:save",
        "report as data frame": "acdc.artefacts.frames:report_frame",
        "report as HTML": "acdc.render.notebook:report_html",
        "task of rows": "acdc.task.load:task_of",
        "result as HTML": "acdc.render.notebook:circuit_html",
    }
)


def __getattr__(name: str) -> object:
    """Import torch only when the interface is used: the command line answers `--help` without it."""
    if name not in __all__:
        raise AttributeError(f"module 'acdc' has no attribute {name!r}")
    from acdc import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
