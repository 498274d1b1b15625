"""Which sockets processes listen on, from what the system says of itself, and ports that are free."""

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

LISTENS = "0A"


def below(process: int) -> set[int]:
    """A process and all that it has started, directly or not."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(processes: Iterable[int]) -> set[str]:
    """The addresses, without port, that processes accept connections at."""
    owned = {inode for process in processes for inode in _sockets(process)}
    return {address for name in ("tcp", "tcp6") for inode, address in _table(name) if inode in owned}


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def _sockets(process: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{process}/fd").glob("*"):
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def _table(name: str) -> Iterator[tuple[str, str]]:
    """(inode, address) of every listening socket; the table has addresses as 32-bit words of the machine's order."""
    for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTENS:
            words = bytes.fromhex(fields[1].partition(":")[0])
            address = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
            yield fields[9], str(ipaddress.ip_address(address))


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback device that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
