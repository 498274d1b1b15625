"""The spans of a task's prompts, or their positions, and where in each row these are."""

from collections.abc import Sequence

import numpy as np

from acdc.errors import InputError
from acdc.graph import Anatomy
from acdc.graph.task_spans import TaskSpans
from acdc.task.rows import Row, Task


def spans_of(task: Task, anatomy: Anatomy) -> TaskSpans:
    """The positions of a task whose rows are of one length. Raises InputError for rows of other lengths."""
    lengths = {len(row.clean) for row in task.rows}
    if len(lengths) > 1:
        raise InputError(
            f"--level positions needs rows of one length, or spans that say what is alike in them: those of task "
            f"{task.name!r} have between {min(lengths)} and {max(lengths)} tokens and no spans"
        )
    return TaskSpans.of_positions(lengths.pop(), [row.answer_position for row in task.rows], anatomy.bidirectional)


def where_in(rows: Sequence[Row], spans: TaskSpans) -> np.ndarray:
    """The span of every position of some rows' prompts, padded to one length, int [rows, positions]."""
    longest = max(len(row.clean) for row in rows)
    return np.tile(np.arange(longest), (len(rows), 1))
