"""acdc: find, verify and draw the circuit behind a behaviour of a transformer.

import acdc

model = acdc.load_model("trio")
task = acdc.load_task("ioi", model)
result = acdc.discover(model, task, method="acdc")
report = acdc.verify(model, task, result.circuit)
result.circuit.to_svg("circuit.svg")
"""

import warnings
from importlib import metadata
from typing import TYPE_CHECKING

from acdc import display

if TYPE_CHECKING:
    __version__: str
    from acdc.api import (
        Ablation,
        AblationEffect,
        AttributionGraph,
        Circuit,
        Comparison,
        Curve,
        Explained,
        FeatureCircuit,
        FeatureDictionary,
        GraphVerification,
        InputError,
        Intervened,
        JobPlan,
        Method,
        Metric,
        MetricFunction,
        Model,
        PatchRecord,
        Picture,
        Report,
        Result,
        RowBatch,
        SavedRun,
        Scored,
        Steered,
        StoredJob,
        Task,
        TaskCheck,
        Trained,
        ablate_features,
        ablations,
        check_task,
        diff,
        discover,
        discover_features,
        draw,
        draw_difference,
        draw_features,
        draw_patching,
        explain,
        formats,
        import_circuit,
        intervene,
        load_dictionary,
        load_graph,
        load_model,
        load_run,
        load_task,
        methods,
        metrics,
        minimise,
        models,
        patch,
        plan,
        run_jobs,
        save_model,
        score,
        silent,
        steer,
        sweep,
        tasks,
        trace,
        train_dictionary,
        verify,
        verify_features,
        verify_graph,
    )

__all__ = [
    "__version__",
    "Ablation",
    "AblationEffect",
    "AttributionGraph",
    "Circuit",
    "Comparison",
    "Curve",
    "Explained",
    "FeatureCircuit",
    "FeatureDictionary",
    "GraphVerification",
    "InputError",
    "Intervened",
    "JobPlan",
    "Method",
    "Metric",
    "MetricFunction",
    "Model",
    "PatchRecord",
    "Picture",
    "Report",
    "Result",
    "RowBatch",
    "SavedRun",
    "Scored",
    "Steered",
    "StoredJob",
    "Task",
    "TaskCheck",
    "Trained",
    "ablate_features",
    "ablations",
    "check_task",
    "diff",
    "discover",
    "discover_features",
    "draw",
    "draw_difference",
    "draw_features",
    "draw_patching",
    "explain",
    "formats",
    "import_circuit",
    "intervene",
    "load_dictionary",
    "load_graph",
    "load_model",
    "load_run",
    "load_task",
    "methods",
    "metrics",
    "minimise",
    "models",
    "patch",
    "plan",
    "run_jobs",
    "save_model",
    "score",
    "silent",
    "steer",
    "sweep",
    "tasks",
    "trace",
    "train_dictionary",
    "verify",
    "verify_features",
    "verify_graph",
]

# said by a library at the first import in every notebook without widgets; progress bars are text there
warnings.filterwarnings("ignore", "IProgress not found")

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
        "result in a folder": "acdc.runs.saved:save_result",
        "rows as data frame": "acdc.artefacts.frames:frame",
        "rows as HTML": "acdc.render.notebook:table_html",
        "circuit in a format": "acdc.runs.saved:export_circuit",
        "attribution explorer": "acdc.render.report.embedded:explore_graph",
        "result as HTML": "acdc.render.notebook:circuit_html",
    }
)


def __getattr__(name: str) -> object:
    """Import torch only when the interface is used: the command line answers `--help` without it."""
    if name == "__version__":
        return metadata.version("acdc")
    if name not in __all__:
        raise AttributeError(f"module 'acdc' has no attribute {name!r}")
    from acdc import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
