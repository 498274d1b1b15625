"""What a caller of the Python interface gives: a circuit for a result, and one sentence for what is of another kind."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from acdc.artefacts.circuit import Circuit
from acdc.errors import InputError
from acdc.model.load import Model
from acdc.search.discover import Result
from acdc.task.rows import Task

P = ParamSpec("P")
R = TypeVar("R")
_FLAG = re.compile(r"(?<![\w./-])--(?P<name>[a-z]+(?:-[a-z]+)*)(?: (?P<value>-?\d[\d.,e+-]*\b))?")
_HOW: Mapping[type, str] = {  # to come by one
    Model: 'acdc.load_model("trio") loads one',
    Task: "acdc.load_task(name, model) loads one, acdc.Task.of(model, rows) makes one",
    Circuit: "that of a result is result.circuit",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the interface that takes a result where it asks for its circuit, and raises InputError where a
    model, a task or a circuit is something else. Messages name arguments instead of options of the command line, and
    a traceback ends here, as what is wrong is the call."""
    signature = inspect.signature(function)
    kinds = {
        name: kind
        for name, parameter in signature.parameters.items()
        for kind in _HOW
        if parameter.annotation in (kind, kind | None)
    }

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        bound = signature.bind(*args, **kwargs)
        try:
            for name in filter(bound.arguments.__contains__, kinds):
                bound.arguments[name] = _checked(name, bound.arguments[name], kinds[name], signature)
            return function(*bound.args, **bound.kwargs)
        except InputError as error:
            error.args = (as_arguments(str(error)),)
            raise error.with_traceback(None) from error.__cause__

    return call


def _checked(name: str, value: Any, kind: type, signature: inspect.Signature) -> Any:
    if value is None and signature.parameters[name].default is None:
        return value
    value = value.circuit if kind is Circuit and isinstance(value, Result) else value
    if not isinstance(value, kind):
        given = f"the text {value!r}" if isinstance(value, str) else f"a {type(value).__name__}"
        raise InputError(f"{name} must be a {kind.__name__}, not {given}: {_HOW[kind]}")
    return value


def as_arguments(text: str) -> str:
    """A message with the names of arguments in the place of options: `edges=4` for `--edges 4`."""

    def said(found: re.Match[str]) -> str:
        name = found["name"].replace("-", "_")
        return name if found["value"] is None else f"{name}={found['value']}"

    return _FLAG.sub(said, text)
