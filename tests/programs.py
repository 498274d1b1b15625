"""Several programs in one model: each has an output of its own, and what two of them compute alike is there once."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from acdc.artefacts.circuit import Circuit
from acdc.benchmark.programs.compiler import LOGITS, Layout, compile_program
from acdc.benchmark.programs.language import Head, Match, Operation, Program, Variable
from acdc.benchmark.programs.realism import Realism, make_real
from acdc.model.load import Model, load_model
from acdc.search.discover import discover
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.load import load_task
from acdc.task.rows import Task

LETTERS, LENGTH = 3, 6
TOKENS, POSITIONS = Variable("tokens", LETTERS + 1), Variable("positions", LENGTH + 1)
PREVIOUS, TWO_BACK, FIRST = (Variable(name, TOKENS.size) for name in ("previous", "two back", "first"))
ONE_BACK = Match.where(POSITIONS, POSITIONS, lambda here, there: there == max(here - 1, 0))
AT_ONE = Match.where(POSITIONS, POSITIONS, lambda here, there: there == 1)
COPY_PREVIOUS = Head(PREVIOUS, TOKENS, (ONE_BACK,))
COPY_TWO_BACK = Head(TWO_BACK, PREVIOUS, (ONE_BACK,))
COPY_FIRST = Head(FIRST, TOKENS, (AT_ONE,))


@dataclass(frozen=True)
class Output:
    """What a model says in a part of its vocabulary: a variable, and what it should be of a prompt."""

    variable: Variable
    expected: Callable[[Sequence[int]], int]


SAYS_PREVIOUS = Output(PREVIOUS, lambda prompt: prompt[-2])
SAYS_TWO_BACK = Output(TWO_BACK, lambda prompt: prompt[-3])
SAYS_FIRST = Output(FIRST, lambda prompt: prompt[1])


@dataclass(frozen=True)
class Programs:
    """A model of several programs, and the circuit of each of its outputs as it follows from the program."""

    model: Model
    folder: Path
    operations: tuple[Operation, ...]
    outputs: tuple[Output, ...]

    def edges(self, output: Output) -> set[str]:
        """Those along which an output is computed and that carry something else on another prompt of that length: not
        those from the positions, which are the same."""
        program = Program("part", TOKENS, POSITIONS, self.operations, output.variable)
        graph = self.model.executor(split_embeddings=True).graph
        return {edge for edge in program.edges(graph) if not edge.startswith("pos_embed")}

    def task_file(self, output: Output, name: str, rows: int = 32) -> Path:
        """Pairs of prompts that call for different values of the output, at all of its positions."""
        start = sum(one.variable.size for one in self.outputs[: self.outputs.index(output)])
        drawn, lines = np.random.default_rng(0), [json.dumps({"task": name})]
        for letters in drawn.permutation(list(product(range(LETTERS), repeat=LENGTH))):
            others = (letters + drawn.integers(1, LETTERS, LENGTH)) % LETTERS
            clean, corrupted = ([0, *(1 + prompt).tolist()] for prompt in (letters, others))
            correct, incorrect = (start + output.expected(prompt) for prompt in (clean, corrupted))
            if correct != incorrect and len(lines) <= rows:
                row = {"clean": clean, "corrupted": corrupted, "correct": [correct], "incorrect": [incorrect]}
                lines.append(json.dumps(row))
        path = self.folder / f"{name}.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return path

    def task(self, output: Output, name: str) -> Task:
        return load_task(self.task_file(output, name), self.model)

    def circuit(self, output: Output, task: Task) -> Circuit:
        """The true circuit of an output as an artefact."""
        return self.circuit_of(self.edges(output), task)

    def circuit_of(self, edges: Collection[str], task: Task) -> Circuit:
        """Any edges as an artefact."""
        settings = DiscoverySettings(METHODS["random"], split_embeddings=True, edges=self._graph_edges, limit=8)
        every = discover(self.model, task, settings).circuit
        return every.part(every.graph.mask(edges), {})

    @property
    def _graph_edges(self) -> int:
        return self.model.executor(split_embeddings=True).graph.n_edges


def programs(folder: Path, operations: Sequence[Operation], outputs: Sequence[Output], **real: float) -> Programs:
    """Compile operations to one model, whose vocabulary has the outputs one after the other; with some realism."""
    program = Program("several", TOKENS, POSITIONS, tuple(operations), outputs[0].variable)
    layout = Layout.of([TOKENS, POSITIONS, *(operation.writes for operation in operations)])
    unembed = np.hstack([LOGITS * layout.write(output.variable).T for output in outputs])
    weights = replace(compile_program(program), unembed=unembed)
    folder.mkdir()
    make_real(weights, Realism(**real), 0).save(folder)
    return Programs(load_model(str(folder), dtype="float64"), folder, tuple(operations), tuple(outputs))
