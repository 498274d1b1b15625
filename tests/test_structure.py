"""The tree is the pipeline: imports run downwards."""

import ast
from pathlib import Path

import networkx as nx

PACKAGE = Path(__file__).parent.parent / "acdc"
# Lowest first; files directly in the package that every layer may use come before all.
LAYERS = [
    {"errors", "extensions", "files", "options", "progress"},
    {"graph"},
    {"model"},
    {"task"},
    {"circuit"},
    {"search"},
    {"verification"},
    {"render"},
    {"jobs"},
    {"benchmark", "api"},
    {"cli", "__init__", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports_at_the_top(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "acdc":
            found.add((node.module.split(".") + ["__init__"])[1])
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("acdc.")}
    return found


def test_imports_run_downwards():
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for imported in imports_at_the_top(path):
            assert RANK[imported] <= RANK[part], f"{path.relative_to(PACKAGE)} imports acdc.{imported}"


def test_no_file_is_too_long():
    for path in PACKAGE.parent.rglob("*.py"):
        if not {"build", ".venv", "dist"} & set(path.parts):
            assert len(path.read_text().splitlines()) <= 500, path


def test_no_module_imports_itself_in_a_circle():
    modules = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in PACKAGE.rglob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    imports = nx.DiGraph()
    for name, path in modules.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "acdc":
                found = (f"{node.module}.{one.name}" for one in node.names)
                imports.add_edges_from((name, one if one in modules else node.module) for one in found)
    assert imports.number_of_edges() > 500
    assert not [circle for circle in nx.strongly_connected_components(imports) if len(circle) > 1]
