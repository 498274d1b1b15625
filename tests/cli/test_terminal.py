"""What reaches the terminal and the files of a run: no control character of anybody's names, whole pictures, and a
quiet end where nobody reads on."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import command_in
from run_records import without_digests

import acdc.cli.console
from acdc.artefacts.circuit import Circuit
from acdc.errors import printable, visible

NAME = "evil\x1b]0;title\x07\x1b[31m\u202eback\u2066\x9b\x7f\x01:warning:[red]"
SHOWN = "evil\\x1b]0;title\\x07\\x1b[31m\\u202eback\\u2066\\x9b\\x7f\\x01:warning:[red]"
FORBIDDEN = set("\x1b\x07\u202e\u2066\x9b\u0085\x7f\x01")
WORDS = ("discover", "--task", "t.jsonl", "--method", "eap", "--edges", "9", "--limit", "8", "--verify", "quick")


def test_visible_text_has_no_character_that_a_terminal_acts_on():
    assert visible(NAME) == SHOWN == printable(NAME)
    assert visible("two\nlines\tand \u00a0spaces, 語, é, 👍") == "two\nlines\tand \u00a0spaces, 語, é, 👍"
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x20000))))
    assert all(c.isprintable() or c in "\n\t" or c.isspace() for c in visible(every))
    assert visible("\udcff") == "\\udcff"


def test_a_line_that_is_begun_in_a_pipe_goes_on_after_its_space(capsys):
    out = acdc.cli.console.console()
    out.print("two words,   ", end="")
    out.print("and two  ")
    assert capsys.readouterr().out == "two words,   and two\n"


@pytest.fixture(scope="module")
def named(tmp_path_factory, induction) -> Path:
    """A run whose model, groups and rows have such names."""
    from acdc.model.sources import BUNDLED

    folder = tmp_path_factory.mktemp("named")
    shutil.copytree(BUNDLED["trio"], folder / NAME)
    rows = [
        {part: getattr(row, part) for part in ("clean", "corrupted", "correct", "incorrect")} for row in induction.rows
    ]
    lines = [json.dumps(row | {"group": f"{NAME}{i % 2}", "id": f"{NAME}{i}"}) for i, row in enumerate(rows[:32])]
    (folder / "t.jsonl").write_text("\n".join(lines))
    (folder / "printed").write_text(command_in(folder, *WORDS, "--model", f"./{NAME}", "--out", "r"))
    return folder


@pytest.fixture
def run(acdc, named):
    shutil.copytree(named, ".", dirs_exist_ok=True)


def check(text: str) -> None:
    assert not FORBIDDEN & set(text)


COMMANDS = [
    "show r",
    "show r --json",
    "verify r --verify quick",
    "diff r r",
    "check-task t.jsonl --model",
    "list runs --out .",
    "export r --format svg --out x.svg",
    "export r --format dot --out x.dot",
    "export r --format html --out x.html",
    "export r --format networkx --out x.json",
    "plan --task t.jsonl --method eap --edges 9 --limit 8 --model",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_print_names_as_escapes(acdc, run, command):
    words = command.split()
    done = acdc(*words, *([f"./{NAME}"] if words[-1] == "--model" else []))
    assert done.code == 0, done.err
    check(done.out + done.err)
    if "--json" not in words and words[0] in ("show", "check-task", "plan"):
        assert SHOWN in done.out.replace("\n", "")


def test_a_discovery_prints_names_as_escapes(named):
    text = (named / "printed").read_text()
    check(text)
    assert SHOWN in text


def test_pictures_and_pages_are_whole_and_have_no_control_character(acdc, run):
    circuit = Circuit.load("r")
    assert circuit.model.name == NAME
    for file in ("circuit.svg", "circuit.dot", "report.html"):
        text = (Path("r") / file).read_text()
        check(text)
        assert "\\x1b]0;title" in text.replace("\\\\", "\\") or file == "circuit.dot"
    ElementTree.fromstring((Path("r") / "circuit.svg").read_text())
    without_digests(Path("r"))
    assert acdc("diff", "r", "r", "--picture", "both.svg").code == 0
    ElementTree.fromstring(Path("both.svg").read_text())
    done = acdc("export", "r", "--format", "graphml", "--out", "x.graphml")
    assert (done.code == 0 and ElementTree.parse("x.graphml")) or "which GraphML cannot hold" in done.err


BAD = [
    (["show", NAME], None),
    (["discover", "--model", f"./{NAME}"], None),
    (["discover", "--task", f"{NAME}.jsonl"], None),
    (["check-task", "bad.jsonl"], ("bad.jsonl", json.dumps({"clean": NAME, "corrupted": 5}))),
    (["check-task", "bad.jsonl"], ("bad.jsonl", json.dumps({"task": "x", "metric": NAME}) + "\n{}")),
    (["run", "bad.toml"], ("bad.toml", f"[[jobs]]\n{json.dumps(NAME)} = 1\n")),
    (["run", "bad.toml"], ("bad.toml", f"[{json.dumps(NAME)}]\n")),
    (["run", "bad.toml"], ("bad.toml", f"[[jobs]]\nmethod = {json.dumps(NAME)}\n")),
    (["logs", "nowhere" + NAME], None),
    (["export", "r", "--format", NAME, "--out", "x"], None),
]


@pytest.mark.parametrize("words, file", BAD)
def test_what_refusals_quote_is_escaped(acdc, words, file):
    if file:
        Path(file[0]).write_text(file[1])
    done = acdc(*words)
    assert done.code == 2 and "evil" in done.err or "bad" in str(file)
    assert done.code == 2 and done.err.startswith("acdc: error: ")
    check(done.out + done.err)


def test_logs_and_stores_are_escaped(acdc):
    Path("jobs.toml").write_text('[[jobs]]\nmethod = "random"\nedges = 9\nlimit = 4\nverify = "none"\n')
    assert acdc("run", "jobs.toml", "--out", "o").code == 0
    (log,) = Path("o/logs").iterdir()
    log.write_text(f"first {NAME}\nsecond\ttabbed\n")
    done = acdc("logs", "o")
    assert done.out == f"first {SHOWN}\nsecond\ttabbed\n"
    import sqlite3

    with sqlite3.connect("o/jobs.sqlite3") as store:
        store.execute("UPDATE jobs SET error = ?", (NAME,))
    for words in (("status", "o"), ("status", "o", "--watch")):
        done = acdc(*words)
        check(done.out + done.err)
        assert SHOWN in done.out.replace("\n", "")


def test_nothing_else_prints():
    """All of the command line goes through the functions of one file."""
    for path in Path(acdc.cli.__path__[0]).glob("*.py"):
        tree = ast.parse(path.read_text())
        calls = [
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        if path.name != "console.py":
            assert not {"print", "Console"} & set(calls), path


def acdc_into(command: str, folder: Path, **options) -> subprocess.CompletedProcess:
    run = f"{sys.executable} -m acdc {command}"
    return subprocess.run(
        ["bash", "-c", run.replace("PYTHON", sys.executable)], cwd=folder, text=True, capture_output=True
    )


@pytest.mark.parametrize("command", ["show r", "list methods --json", "--help"])
def test_a_reader_who_has_seen_enough_ends_it_quietly(named, command):
    done = acdc_into(f"{command} | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}", named)
    assert (done.stdout, done.stderr) == ("0\n", "")
    done = acdc_into(f"{command} | true; echo ${{PIPESTATUS[0]}}", named)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_an_error_that_nobody_reads_is_an_error_all_the_same(named):
    done = acdc_into("show nowhere 2>&1 | true; echo ${PIPESTATUS[0]}", named)
    assert done.stdout == "2\n"


def test_an_encoding_without_a_character_is_no_failure(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "acdc", "list", "runs", "--out", "é"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(b"no runs in \\xe9\n")


@pytest.mark.parametrize("words", ["show X", "discover --model ./X", "list runs --out X"])
def test_names_that_are_no_text_are_refused(tmp_path, words):
    name = b"b\xffd"
    command = [sys.executable.encode(), b"-m", b"acdc", *(word.encode().replace(b"X", name) for word in words.split())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 2 and b"is not valid UTF-8" in done.stderr and done.stderr.count(b"\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_working_folder_that_is_no_text_is_refused(tmp_path):
    folder = os.fsencode(tmp_path) + b"/b\xffd"
    Path(os.fsdecode(folder)).mkdir()
    done = subprocess.run([sys.executable, "-m", "acdc", "list", "methods"], cwd=folder, capture_output=True)
    assert done.returncode == 2 and b"is not valid UTF-8" in done.stderr


def test_texts_of_helps_are_wrapped_by_the_terminal_alone():
    """A line break of the source would stay one in the list of commands."""
    from acdc.cli.main import app

    helps = {command.callback.__name__: command.help for command in app.registered_commands if not command.hidden}
    assert len(helps) > 20 and all(helps.values())
    for name, text in helps.items():
        assert all("\n" not in part for part in text.split("\n\n")), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("trace", "The capital of France is"),
            "trace takes no argument 'The capital of France is': give --prompt \"The",
        ),
        (("trace", "ioi"), 'give --prompt "ioi" or --task ioi'),
        (("discover", "ioi"), "discover takes no argument 'ioi': give --task ioi"),
        (("show", "run", "other"), "show takes no argument 'other': leave it out"),
    ],
)
def test_a_word_without_its_option_is_told_the_option(acdc, words, said):
    outcome = acdc(*words)
    assert outcome.code == 2 and said in outcome.err and len(outcome.err.splitlines()) == 1
