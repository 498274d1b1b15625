"""Choices that users make by name and that several parts of the pipeline record or act on."""

from enum import StrEnum


class Level(StrEnum):
    """What a circuit consists of."""

    edges = "edges"
    nodes = "nodes"


class SenderOrder(StrEnum):
    """In which order ACDC tries the heads of one layer as senders."""

    descending = "descending"
    ascending = "ascending"
