"""Amounts of memory as users write them."""

import re

from acdc.errors import InputError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def parse_bytes(text: str, option: str = "--memory") -> int:
    """Of `500M`, `2GiB` or a plain number of bytes. Raises InputError, naming the option, for anything else."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*(k|m|g|ki|mi|gi)?b?", text.strip().lower())
    size = int(float(found[1]) * _UNITS[found[2] or ""]) if found else 0
    if size < 1:
        raise InputError(f"{option} {text!r} is no amount of memory: write it as 500M or 2GiB")
    return size
