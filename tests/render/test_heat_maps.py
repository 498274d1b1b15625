"""Heat maps: every cell is there with its value, colours are those of its effect, and no name reaches a page raw."""

import re
import shutil
from xml.etree import ElementTree

import pytest

from acdc.artefacts.patching import CONVENTION, PatchedTask, PatchMap, PatchRecord
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import visible
from acdc.render import dot, graphviz, svg
from acdc.render.patching.heat_map import colour, draw, scale_end
from acdc.render.patching.page import to_html
from acdc.render.patching.words import said
from acdc.search.discover import describe_model
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

EVIL = '<b>"&\x1b]0;\u202e'


def a_map(effects, columns=None, kind="span", site="resid_pre", direction="denoise") -> PatchMap:
    columns = columns or [f"c{place}" for place in range(len(effects[0]))]
    return PatchMap(
        site=site,
        direction=direction,
        row_kind="layer",
        rows=[str(row) for row in range(len(effects))],
        column_kind=kind,
        columns=columns,
        measured=[4] * len(columns),
        metric=[[None if effect is None else 10 * effect for effect in row] for row in effects],
        effect=effects,
    )


@pytest.fixture
def record(trio):

    behaviour = Behaviour(trio, load_task("ioi", trio), [0], METRICS["kl"], "zero")
    model = describe_model(behaviour).model_copy(update={"name": EVIL})
    return PatchRecord(
        model=model,
        task=PatchedTask(name=EVIL, content_hash="0" * 64, rows=[EVIL, "b"]),
        metric="kl",
        larger_is_better=False,
        metric_clean=0.0,
        metric_corrupted=1.0,
        convention=CONVENTION,
        noise=None,
        seed=0,
        dtype="float32",
        batch={},
        versions={},
        maps=[a_map([[0.5, -1.2], [None, 0.001]], [EVIL, "end"]), a_map([[0.1, 0.2]], kind="head", site="head")],
    )


def cells(picture: str) -> list[ElementTree.Element]:
    tree = ElementTree.fromstring(picture)
    return [one for one in tree.findall(".//{*}rect") if one.find("{*}title") is not None]


def test_every_cell_has_its_value_and_colour(record):
    one = record.maps[0]
    found = cells(svg.write(draw(one, record)))
    assert [cell.find("{*}title").text for cell in found] == [said(one, *cell) for cell in _escaped(one)]
    fills = [cell.get("fill") for cell in found]
    assert fills[0] == colour(0.5 / 1.5) and fills[1] == colour(-1.2 / 1.5) and len(set(fills)) == 4
    texts = "".join(ElementTree.fromstring(svg.write(draw(one, record))).itertext())
    assert "0.50" in texts and "\N{MINUS SIGN}1.20" in texts and "0.001" in texts and "0.00 " not in texts
    assert not {"\x1b", "\u202e"} & set(texts)


def _escaped(one: PatchMap):
    return ((row, visible(column), *rest) for row, column, *rest in one.cells())


def test_colours_go_both_ways_from_white():
    assert colour(0) == "#ffffff" and colour(2) == colour(1) != colour(-1) == colour(-3)
    blue, red = (tuple(int(colour(share)[at : at + 2], 16) for at in (1, 3, 5)) for share in (0.5, -0.5))
    assert blue[2] > blue[0] and red[0] > red[2]


@pytest.mark.parametrize(
    ("effects", "end"), [([0.0], 0.05), ([0.04], 0.05), ([0.3, -0.64], 0.8), ([1.0], 1.0), ([-1.39], 1.5), ([23], 30)]
)
def test_scales_end_at_round_numbers(effects, end):
    assert scale_end(a_map([effects])) == pytest.approx(end)


def test_many_rows_and_columns_are_drawn_without_numbers(record):
    wide, tall = a_map([[0.5] * 30]), a_map([[0.5]] * 300)
    for one in (wide, tall):
        picture = draw(one, record)
        assert len(cells(svg.write(picture))) == len(one.rows) * len(one.columns)
        texts = [shape.text for shape in picture.behind if hasattr(shape, "text")]
        assert "0.50" not in texts and set(one.rows) <= set(texts)
        assert picture.height < 14 * len(one.rows) + 250
    named = draw(a_map([[0.5]], ["a" * 40]), record)
    assert any(shape.text.endswith("…") for shape in named.behind if hasattr(shape, "text"))


def test_the_page_has_all_maps_and_escapes_names(record):
    page = to_html(record, f"acdc patch {EVIL}")
    assert not {"\x1b", "\u202e"} & set(page) and "<b>" not in page
    assert page.count("<svg ") == 2 and 'id="resid_pre_denoise"' in page and 'href="#head_denoise"' in page
    assert re.findall(r"<td>([^<]*)</td>", page) == ["0.500", "-1.200", "", "0.001", "0.100", "0.200"]
    assert "Denoising: " in page and "Noising: " in page


def test_the_same_picture_in_other_formats(record):
    picture = draw(record.maps[1], record)
    text = dot.write(picture)
    assert all(f"scale{step}" in text for step in range(9)) and "Head output" in text
    if shutil.which("dot"):
        assert graphviz.write(picture, "png").startswith(b"\x89PNG")
