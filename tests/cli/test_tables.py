"""Tables, help and conclusions on a terminal of 80 columns."""

import io
import re
import types
from collections import namedtuple

import pytest
import typer
from rich.console import Console

from acdc.cli.main import app
from acdc.cli.tables import align, make_table, print_table


def printed(head, rows, width: int) -> list[str]:
    out = Console(file=io.StringIO(), width=width, color_system=None)
    print_table(out, "title", head, rows)
    return out.file.getvalue().splitlines()


def test_decimal_points_are_under_each_other():
    numbers = ["22", "0.3224", "2.736e-06", "-0.5"]
    assert [cell.rstrip() for cell in align(numbers)] == numbers and len({len(c.rstrip()) for c in numbers}) > 1
    lines = printed(("name", "value"), [["a", "22"], ["b", "0.3224"], ["c", "-"], ["d", "-10.5"]], 80)[2:]
    ones = [line.find(".") if "." in line else len(line.rstrip()) for line in (lines[0], lines[1], lines[3])]
    assert len(set(ones)) == 1, lines
    assert align(["12.5% [1%, 2%]", "3"]) == ["12.5% [1%, 2%]", "3"], "what is no number stays"


@pytest.mark.parametrize("width", [80, 120])
def test_no_heading_is_cut_and_no_number_wraps(width):
    head = (
        "edge",
        "adds to logit_diff",
        "attends to",
        "from",
        "share",
        "other heads",
        "even spread",
        "of all attention",
    )
    rows = [["a1.h0", "-0.8061", "corrupted token", "all positions", "86.0%", "45.9%", "32.3%", "83.9%"]] * 2
    lines = printed(head, rows, width)
    assert max(map(len, lines)) <= width
    text = " ".join(lines)
    for word in " ".join(head).split():
        assert word in text, f"{word} is cut"
    for cell in ("-0.8061", "86.0%", "83.9%", "a1.h0"):
        assert text.count(cell) == 2


def test_a_title_widens_its_table():
    table = make_table(("a", "b"), [["x", "1"]], 80, "a title that is longer than the table")
    assert table.min_width == len("a title that is longer than the table")


def test_a_table_without_headings_has_none():
    out = Console(file=io.StringIO(), width=80, color_system=None)
    out.print(make_table(("stage", "time"), [["search", "2 s"]], 80, words=range(2), headed=False))
    assert out.file.getvalue().split() == ["search", "2", "s"]


@pytest.mark.parametrize(("width", "tables"), [(80, 2), (120, 1)])
def test_a_benchmark_fits_a_terminal(monkeypatch, width, tables):
    """All columns, in a second table where one is too wide; every value under its heading."""
    from acdc.benchmark import summary
    from acdc.cli import benchmark, console

    row = [
        "eap-ig-activations",
        "13",
        "4.8 / 30.1",
        "0.757",
        "0.981",
        "0.969",
        "0.974",
        "0.801",
        "0.166",
        "14,784",
        "0.2",
    ]
    out = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    monkeypatch.setattr(console, "console", lambda: out)
    monkeypatch.setattr(summary, "ranked", lambda lines: lines)
    monkeypatch.setattr(summary, "cells", lambda line: row)
    group = namedtuple("Group", "name")("compiled, resample ablation")
    found = types.SimpleNamespace(groups={group: [None, None]}, broken=[], missing=[])
    benchmark._print(types.SimpleNamespace(summary=found, failed=[], out="runs/benchmark"))
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.file.getvalue())
    assert max(map(len, text.splitlines())) <= width and text.count("method ") == tables
    assert all(text.count(cell) >= 2 for cell in row) and all(name in text for name in summary.HEADER)


def every_command():
    commands = typer.main.get_command(app).commands.items()
    return sorted((name, command) for name, command in commands if not command.hidden)


@pytest.mark.parametrize(("name", "command"), every_command(), ids=lambda one: one if isinstance(one, str) else "")
def test_every_command_has_a_group_and_an_example(name, command):
    """The example is a command line that its own options accept."""
    import shlex

    assert command.rich_help_panel
    example = command.epilog.removeprefix("Example: ")
    program, said, *words = shlex.split(example)
    assert (program, said) == ("acdc", name)
    with command.make_context(name, words):
        pass


def test_version_and_short_help(acdc):
    assert re.fullmatch(r"acdc \d+\.\d+\.\d+\S*\n", acdc("--version").out)
    assert acdc("-h").out == acdc("--help").out and "Find and verify circuits" in acdc("-h").out
    assert acdc("discover", "-h").out == acdc("discover", "--help").out


def test_verify_ends_with_a_conclusion_and_show_has_all(acdc, tmp_path):
    words = ("discover", "--task", "induction", "--limit", "4", "--method", "eap", "--edges", "9", "--out", "r")
    assert acdc(*words).code == 0
    quick = acdc("verify", "r", "--verify", "standard").out
    ending = quick[quick.index("report   r/report.html") :].strip().splitlines()[1:]
    ending = [line for line in ending if line]
    assert len(ending) <= 5 and ending[0].split(":")[0] in ("faithful", "partly faithful", "not faithful")
    assert ending[-1] == "all tables: acdc show r"
    shown = acdc("show", "r").out
    assert all(line in shown for line in ending[:-1])
    assert shown.endswith("\nopen claims are tested by: acdc verify r\n"), "it has all tables already"


def test_lines_in_a_pipe_end_without_spaces(acdc):
    printed = acdc("list", "methods").out
    assert "eap-ig-inputs" in printed and not any(line.endswith(" ") for line in printed.splitlines())


def test_long_lists_of_tokens_wrap_and_leave_names_whole():
    rows = [("m24.n1005", "' is' (4)", "-19.2", "' capitals' 'Icon' ' saint' ' anthology'", "'ocaust' " * 6)] * 2
    out = Console(width=80, file=io.StringIO())
    print_table(out, "t", ("unit", "at", "activation", "raises", "lowers"), rows, words=(0, 3, 4))
    shown = out.file.getvalue()
    assert shown.count("m24.n1005") == 2 and "activation" in shown and "…" not in shown
