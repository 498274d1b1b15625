"""What is said of a command line that cannot be read, and the texts of helps."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from acdc.errors import without_prefix

_EXTRA = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL)


def paragraphs(function: Callable[..., Any]) -> str:
    """A command's docstring with each paragraph in one line: a terminal wraps it where it ends."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n"))


def sentence(error: Any) -> str:
    """What is wrong with a command line, by an error of its parser, and the option that was meant, where a word stands
    by itself that belongs to one."""
    message = without_prefix(error.format_message())
    extra, context = _EXTRA.fullmatch(message.rstrip(".")), getattr(error, "ctx", None)
    if extra is None or context is None:
        return message + _example(message, context)
    options = {option for parameter in context.command.params for option in parameter.opts}
    meant = [f'--prompt "{extra[1]}"'] if "--prompt" in options else []
    meant += [f"--task {extra[1]}"] if "--task" in options and " " not in extra[1] else []
    said = f"{context.info_name} takes no argument {extra[1]!r}"
    return f"{said}: give {' or '.join(meant)}" if meant else f"{said}: leave it out"


def _example(message: str, context: Any) -> str:
    """How the command is called, where an argument is missing."""
    example = getattr(getattr(context, "command", None), "epilog", None) or ""
    if not message.startswith("Missing argument") or not example:
        return ""
    listed = "; 'acdc list runs' lists runs" if " runs/" in example else ""
    return f" {example[:1].lower()}{example[1:]}{listed}"
