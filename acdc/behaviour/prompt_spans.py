"""The spans of a task's prompts, or their positions, and where in each row these are."""

from collections.abc import Sequence

import numpy as np

from acdc.errors import InputError
from acdc.graph import Anatomy
from acdc.graph.task_spans import TaskSpans
from acdc.task.rows import Row, Task
from acdc.task.spans import REST


def spans_of(task: Task, anatomy: Anatomy) -> TaskSpans:
    """The spans that a task's rows name, and what these do not cover; of rows of one length that name none, their
    positions. Raises InputError for rows of other lengths."""
    if task.span_names:
        return _named(task, anatomy)
    lengths = {len(row.clean) for row in task.rows}
    if len(lengths) > 1:
        raise InputError(
            "single positions need rows of one length, or spans that say what corresponds in rows of different "
            f"lengths: those of task {task.name!r} have between {min(lengths)} and {max(lengths)} tokens; "
            'give each of its rows "spans", such as {"subject": [2, 4]}'
        )
    answers = [one.position for row in task.rows for one in row.answers]
    return TaskSpans.of_positions(lengths.pop(), answers, anatomy.bidirectional)


def where_in(rows: Sequence[Row], spans: TaskSpans) -> np.ndarray:
    """The span of every position of some rows' prompts, int [rows, positions]. They are padded to one length; what
    stands there is counted to the first span, as it is of no consequence."""
    longest = max(len(row.clean) for row in rows)
    if not spans.named:
        return np.tile(np.arange(longest), (len(rows), 1))
    found = np.zeros((len(rows), longest), dtype=int)
    for own, row in zip(found, rows, strict=True):
        own[: len(row.clean)] = [spans.names.index(name) for name in _names(row)]
    return found


def _names(row: Row) -> list[str]:
    """Of every position of a row's prompt, what its span is called."""
    assert row.spans is not None  # a task's rows name spans, or none does
    names = (*row.spans.names, REST)
    return [names[number] for number in row.spans.numbers(len(row.clean))]


def _named(task: Task, anatomy: Anatomy) -> TaskSpans:
    """In the order in which they begin, on average over rows; the rest comes first."""
    at = [(row, np.array(_names(row))) for row in task.rows]
    begins = {name: float(np.mean([np.flatnonzero(names == name)[0] for _, names in at])) for name in task.span_names}
    names = tuple(sorted(begins, key=lambda name: (begins[name], name)))
    if any((found == REST).any() for _, found in at):
        names = (REST, *names)
    seen, answers = set(), set()
    for row, found in at:
        numbers = np.array([names.index(name) for name in found])
        answers |= {int(numbers[one.position]) for one in row.answers}
        first, last = ({n: int(np.flatnonzero(numbers == n)[end]) for n in set(numbers.tolist())} for end in (0, -1))
        seen |= {(n, m) for n in first for m in last if anatomy.bidirectional or first[n] <= last[m]}
    sources = tuple(tuple(n for n in range(len(names)) if (n, m) in seen) for m in range(len(names)))
    return TaskSpans(names, sources, tuple(sorted(answers)))
