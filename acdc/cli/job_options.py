"""The options that make a discovery job, written once for all commands that take one."""

import inspect
from collections.abc import Callable, Collection, Sequence
from copy import copy
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from acdc.cli import options as opt
from acdc.cli.progress import loads_model
from acdc.options import FEATURES, Choosing
from acdc.search.options import DECIDING as DECIDING_KINDS
from acdc.search.options import SCORING as SCORING_KINDS
from acdc.search.options import own_options

if TYPE_CHECKING:
    from acdc.runs.spec import DiscoveryJob

DEFAULT_MODEL, DEFAULT_TASK, DEFAULT_METHOD = "trio", "ioi", "acdc"

Threshold = Annotated[
    float | None,
    typer.Option(
        help="acdc: remove an edge if that makes the metric worse by less than this, in the metric's unit "
        "(default: 0.5% of what lies between full model and empty circuit). Methods that give scores, as 'acdc list "
        "methods' says: keep edges with at least this |score|."
    ),
]
MostEdges = Annotated[
    int | None,
    typer.Option(
        help="Methods that give scores: maximum number of edges in the circuit. hybrid: number of edges to test."
    ),
]
LeastFaithfulness = Annotated[
    float | None,
    typer.Option(
        help="Faithfulness F that the circuit must reach on the discovery rows (methods that give scores: 0.9 by "
        "default); acdc: between F and 2 - F, found by lowering the threshold."
    ),
]


def discovery_job(
    model: opt.ModelName = DEFAULT_MODEL,
    task: opt.TaskName = DEFAULT_TASK,
    method: opt.MethodName = DEFAULT_METHOD,
    metric: opt.MetricName = None,
    ablation: opt.AblationName = "resample",
    threshold: Threshold = None,
    edges: MostEdges = None,
    faithfulness: LeastFaithfulness = None,
    choose: opt.Choose = Choosing.top,
    bootstrap: opt.Bootstrap = 0,
    hurting: opt.Hurting = 0.0,
    limit: opt.Limit = None,
    batch_size: opt.BatchSize = 32,
    level: opt.LevelName = opt.Level.edges,
    split_embeddings: opt.SplitEmbeddings = False,
    direct_edges: opt.DirectEdges = False,
    option: opt.PluginOptions = None,
    revision: opt.Revision = None,
    device: opt.Device = "auto",
    dtype: opt.DTypeName = opt.DType.float32,
    seed: opt.Seed = 0,
    threads: opt.Threads = 2,
    verify: opt.VerifyExtent = opt.Extent.standard,
    verify_rows: opt.VerifyRows = None,
    **own: Any,
) -> "DiscoveryJob":
    """The job that the options of `acdc discover` describe; `own`: options of the method, None where not given."""
    from acdc.runs.spec import DiscoveryJob
    from acdc.search.registry import METHODS
    from acdc.search.settings import DiscoverySettings

    settings = DiscoverySettings(
        method=METHODS.find(method),
        metric=metric,
        ablation=ablation,
        threshold=threshold,
        edges=edges,
        faithfulness=faithfulness,
        choose=choose,
        bootstrap=bootstrap,
        hurting=hurting,
        limit=limit,
        batch_size=batch_size,
        split_embeddings=split_embeddings,
        level=level,
        direct_edges=direct_edges,
        options={**opt.given(own), **opt.named_values(option or [])},
        seed=seed,
        threads=threads,
    )
    return DiscoveryJob(model, task, settings, revision, device, dtype.value, verify, verify_rows)


# Groups of options in the help; all others are of methods, by what their help begins with.
PANELS = {
    "What is searched": ("model", "task", "method", "metric", "ablation", "level", "limit"),
    "Size of the circuit": ("threshold", "edges", "faithfulness", "choose", "bootstrap", "hurting"),
    "Verification": ("verify", "verify_rows"),
    "Machine and precision": ("batch_size", "revision", "device", "dtype", "seed", "threads"),
}
OF_METHODS = "Options of single methods, and of the graph"


FEATURE_OPTIONS, OF_FEATURES = ("dictionary", "nodes", "errors", "by_position", "hook", "memory"), "Level features"


def _grouped(parameter: inspect.Parameter, panel: str | None = None) -> inspect.Parameter:
    """The same in its group of the help."""
    kind, option = get_args(parameter.annotation)
    panel = panel or next((panel for panel, names in PANELS.items() if parameter.name in names), OF_METHODS)
    grouped = copy(option)
    grouped.rich_help_panel = panel
    return parameter.replace(annotation=Annotated[kind, grouped])


OPTIONS = [_grouped(option) for option in opt.parameters(discovery_job, *DECIDING_KINDS, *SCORING_KINDS)]
SEARCHING = ("method", "ablation", "limit", "split_embeddings", "option")
SCORING = tuple(own_options(*SCORING_KINDS))  # options of methods that give scores
SIZING = ("threshold", "edges", "faithfulness", "choose", "bootstrap", "hurting")  # of a circuit from scores
CHOOSING = (*SIZING, "level")
VERIFYING = ("verify", "verify_rows")
DECIDING = ("direct_edges", *own_options(*DECIDING_KINDS))  # of ACDC


Options = dict[str, Any]


def takes_job(
    *,
    without: Sequence[str] = (),
    features: Callable[[Collection[str], Options], None] | None = None,
    told: bool = False,
    **usual: Any,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first parameter is a `DiscoveryJob`: it gets the options of one, `without`
    some and with other `usual` values, and then the function's own.

    `features`: what is called in its place where the level is that of features, with the names of the options that the
    user wrote and the values of all. The function then has these names as its second parameter, `given`, as it has
    where it wants to be `told`."""
    told = told or features is not None
    ours = [
        parameter.replace(default=usual.get(name, parameter.default), kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in OPTIONS
        if (name := parameter.name) not in without
    ]

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        theirs = list(inspect.signature(command).parameters.values())[2 if told else 1 :]

        @loads_model
        def run(**values: Any) -> None:
            if not told:
                command(discovery_job(**{one.name: values.pop(one.name) for one in ours}), **values)
                return
            given = _written(values.pop(_CONTEXT))
            if features is not None and values["level"] == FEATURES:
                features(given, values)
            else:
                command(discovery_job(**{one.name: values.pop(one.name) for one in ours}), given, **values)

        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in theirs]
        arguments = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
        if features is not None:
            own = [_grouped(p, OF_FEATURES) if p.name in FEATURE_OPTIONS else p for p in own]
        options = [*ours, *(p for p in own if p not in arguments)]
        if features is not None:
            options = [_grouped(p.replace(annotation=opt.AnyLevel)) if p.name == "level" else p for p in options]
        if told:
            options.append(inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
        signature = inspect.Signature([*arguments, *options])
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = signature  # type: ignore[attr-defined]  # known to inspect, not to the stubs
        run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
        return run

    return wrap


_CONTEXT = "context"  # of typer, which knows what the user wrote


def _written(context: typer.Context) -> frozenset[str]:
    """The options that the user wrote, whatever their values."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and source.name != "DEFAULT")
