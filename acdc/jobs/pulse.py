"""Notice that a Ray cluster has died, before Ray does: after a minute it would end this process in the middle."""

import socket
import time
from typing import Any

from acdc.errors import InputError

EVERY = 1.0  # seconds between two questions
UNANSWERED = 10.0  # seconds without an answer after which a cluster is taken for dead
GONE = "the Ray cluster is gone; finished work is kept; run the same command again to resume"


def answers(address: str) -> bool:
    """Whether something listens at HOST:PORT; not at what is none."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=EVERY).close()
        return True
    except (OSError, ValueError, OverflowError):
        return False


class Pulse:
    """Of the cluster that this process is connected to: its head, and the node that this process belongs to."""

    def __init__(self, ray: Any):
        context = ray.get_runtime_context()
        self._ray, self._head, self._node = ray, context.gcs_address, context.get_node_id()
        self._asked = self._answered = time.monotonic()

    def check(self, at_once: bool = False) -> None:
        """Raises InputError when the cluster is gone; asks again after a while, or `at_once`."""
        now = time.monotonic()
        if now - self._asked < EVERY and not at_once:
            return
        self._asked = now
        if answers(self._head):
            self._answered = now
            if not any(node["Alive"] for node in self._ray.nodes() if node["NodeID"] == self._node):
                raise InputError(GONE)
        elif now - self._answered > UNANSWERED:
            raise InputError(GONE)
