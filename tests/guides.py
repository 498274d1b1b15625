"""Run the code blocks of a Markdown document in their order, in an empty folder, and compare what it shows.

- `sh`: every line is a command of acdc, or `pip install -e .`, which makes the package in the folder known. What
  installs acdc itself is left to `.ci/run`.
- `python`: run, all blocks of a document in one namespace.
- any language, after a paragraph that ends in "`name`:": written into the folder under that name.
- `text`: what the blocks before it printed, or a part of it: every line must be there, in this order, `...` aside.
  Numbers may differ by a little, as they do between machines; after a comment `<!-- times vary -->` by any amount.
- A block after a comment `<!-- not run: REASON -->` is left alone; the reason must be one of `REASONS`.
"""

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^( *)```(\w*)$")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
REASONS = (
    "a drawing",
    "goes on until it is interrupted",
    "needs a cluster",
    "needs the network",
    "runs the tests",
    "takes minutes",
)


@dataclass(frozen=True)
class Block:
    """A fenced block: where its text starts, the file that it is, and what a comment before it says."""

    place: str
    language: str
    text: str
    file: str | None
    comment: str | None


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a document."""
    lines, at, before = path.read_text(encoding="utf-8").splitlines(), 0, []
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if not opening:
            before = [*before, lines[at]] if lines[at].strip() else before
            at += 1
            continue
        indent, language = len(opening[1]), opening[2]
        end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
        text = "\n".join(line[indent:] for line in lines[at + 1 : end]) + "\n"
        last = before[-1].strip() if before else ""
        named, comment = re.search(r"`([\w./-]+)`:$", last), re.fullmatch(r"<!-- (.*) -->", last)
        yield Block(
            f"{path.name}:{at + 2}", language, text, named[1] if named else None, comment[1] if comment else None
        )
        at, before = end + 1, []


class Reader:
    """Somebody who follows a document in a folder; `acdc` runs the command line, `install` a package of the folder."""

    def __init__(self, folder: Path, acdc: Callable, capsys, install: Callable[[Path, str, str], None]):
        self.folder, self.acdc, self.capsys, self.install = folder, acdc, capsys, install
        self.namespace: dict[str, object] = {}
        self.printed = ""

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        comment = block.comment or ""
        if comment.startswith("not run: "):
            assert comment.removeprefix("not run: ") in REASONS, f"{block.place}: no reason to leave it out"
        elif block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            self.printed += "".join(self._command(block, words) for words in _commands(block.text))
        elif block.language == "python":
            self.capsys.readouterr()
            exec(compile(block.text, block.place, "exec"), self.namespace)
            self.printed += self.capsys.readouterr().out
        elif block.language == "text":
            shown(block, self.printed, times_vary=comment == "times vary")
        else:
            raise AssertionError(f"{block.place}: a {block.language or 'nameless'} block that is no file is not tested")

    def _command(self, block: Block, words: list[str]) -> str:
        if words == ["pip", "install", "-e", "."]:
            project = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
            self._installed(project)
            return ""
        if words[:3] == ["pip", "install", "-c"]:
            return ""
        assert words[0] == "acdc", f"{block.place}: {words[0]} is not run"
        done = self.acdc(*words[1:])
        assert done.code == 0, f"{block.place}: {shlex.join(words)}: {done.err}"
        return done.out

    def _installed(self, project: dict) -> None:
        """What pip leaves behind of an editable package: its metadata where Python looks."""
        folder = self.folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
        groups = project.get("entry-points", {})
        sections = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in ones.items()) for group, ones in groups.items())
        (folder / "entry_points.txt").write_text("\n".join(sections))
        self.install(self.folder)


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").replace(" && ", "\n").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def shown(block: Block, printed: str, times_vary: bool) -> None:
    """Raises AssertionError unless the block's lines were printed, in their order."""
    lines = iter(" ".join(line.split()) for line in printed.splitlines())
    for wanted in (" ".join(line.split()) for line in block.text.splitlines()):
        if wanted in ("", "..."):
            continue
        assert any(_alike(wanted, line, times_vary) for line in lines), (
            f"{block.place}: not printed: {wanted}\n{printed}"
        )


def _alike(wanted: str, line: str, times_vary: bool) -> bool:
    """Whether two lines say the same; numbers to 2 %, or a unit of their last digit."""
    if NUMBER.sub("#", wanted) != NUMBER.sub("#", line):
        return False
    return times_vary or all(map(_near, NUMBER.findall(wanted), NUMBER.findall(line)))


def _near(wanted: str, found: str) -> bool:
    decimals = len(wanted.partition("e")[0].partition(".")[2])
    a, b = (float(number.replace(",", "")) for number in (wanted, found))
    return abs(a - b) <= max(0.02 * abs(a), 10.0**-decimals if decimals or abs(a) > 100 else 0.0)
