"""The tree is the pipeline: imports run downwards."""

import ast
import re
from pathlib import Path

import networkx as nx

PACKAGE = Path(__file__).parent.parent / "acdc"
# Lowest first; files directly in the package that every layer may use come before all.
LAYERS = [
    {"errors", "extensions", "idle_threads", "files", "options", "progress", "display", "words"},
    {"graph"},
    {"artefacts"},
    {"execution"},
    {"model"},
    {"task"},
    {"behaviour"},
    {"attribution"},
    {"dictionaries"},
    {"search"},
    {"verification"},
    {"patching", "feature_circuits"},
    {"interventions"},
    {"explanation"},
    {"steering"},
    {"render"},
    {"runs"},
    {"planning"},
    {"jobs"},
    {"benchmark", "arguments", "circuit_api", "feature_api", "prompt_api", "api"},
    {"cli", "__init__", "__main__"},
]
DEFERRED = re.compile(r"(?P<module>acdc(\.\w+)+):(?P<name>\w+)")  # see `acdc.extensions.deferred`
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(path: Path, whole: bool = True) -> set[str]:
    """Modules of this package that a file imports: anywhere in it, deferred ones too, or at the top alone."""
    tree, found = ast.parse(path.read_text()), set()
    for node in ast.walk(tree) if whole else tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "acdc":
            several = (f"{node.module}.{one.name}" for one in node.names)
            found |= {one if one in MODULES else node.module for one in several}
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name.split(".")[0] == "acdc"}
        if isinstance(node, ast.Constant) and (place := DEFERRED.fullmatch(str(node.value))):
            found.add(place["module"])
    return found


def layer(module: str) -> int:
    return RANK[(module.split(".") + ["__init__"])[1]]


def test_imports_run_downwards():
    """Those inside functions too."""
    upwards = [
        f"{module} imports {imported}"
        for module, path in MODULES.items()
        for imported in sorted(imports(path))
        if layer(imported) > layer(module)
    ]
    assert not upwards, "\n".join(upwards)


def test_deferred_imports_are_seen():
    assert {"acdc.search.methods.eap", "acdc.search.cost"} <= imports(MODULES["acdc.search.registry"])


def test_no_file_is_too_long():
    for path in PACKAGE.parent.rglob("*.py"):
        if not {"build", ".venv", "dist"} & set(path.parts):
            assert len(path.read_text().splitlines()) <= 500, path


def test_no_two_test_files_share_a_name():
    """The second could not be collected."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_module_imports_itself_in_a_circle():
    """Not even by way of a function."""
    graph = nx.DiGraph((module, imported) for module, path in MODULES.items() for imported in imports(path))
    assert graph.number_of_edges() > 500
    assert not [circle for circle in nx.strongly_connected_components(graph) if len(circle) > 1]
