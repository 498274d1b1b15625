"""What a user is meant to read: exceptions and a warning."""

from collections.abc import Callable, Sequence
from typing import TextIO
from unicodedata import category


class InputError(Exception):
    """What the user gave cannot be used: one sentence that names the file, row or option and says what would work.

    The command line prints it on stderr and exits with code 2; a caller of the Python interface may catch it.
    """


class InputErrors(InputError):
    """Several things that are wrong with what the user gave, each in one sentence."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


MOST_PROBLEMS = 5  # that are listed one by one


def refusal(problems: Sequence[InputError]) -> InputError:
    """One error of all that is wrong: the first few, and how many more there are."""
    if len(problems) == 1:
        return problems[0]
    said, more = [str(problem) for problem in problems[:MOST_PROBLEMS]], len(problems) - MOST_PROBLEMS
    others = [f"and {more:,} more {'row' if more == 1 else 'rows'} cannot be used"] if more > 0 else []
    return InputErrors([*said, *others])


class NothingToFind(InputError):
    """The rows do not tell the full model from the empty circuit, so that no circuit can be told from another."""


class RowTooLarge(MemoryError):
    """There is too little memory for a single row: smaller batches are of no use."""


class DiskError(InputError):
    """The disk refuses to take more: nothing else that writes there can succeed either."""


class AcdcWarning(UserWarning):
    """There is a result, but not the expected one: one sentence, printed on stderr by the command line."""


def without_prefix(message: str) -> str:
    """A message of pydantic or of an option's parser without the name of the exception that it came from."""
    return message.replace("Value error, ", "").replace("Assertion failed, ", "")


def printable(text: str) -> str:
    """A text in one line, with escapes in the place of what a terminal would act on."""
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """A text in its lines, with escapes in the place of control characters, which a terminal would act on, of marks
    that change the direction of what follows, and of what is no character."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" or category(c) == "Zs" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def first_line(error: Exception) -> str:
    """An error in one line; what Python says of long numbers is advice for programmers."""
    text = str(error).strip()
    if "set_int_max_str_digits" in text:
        return "a number in it is too long"
    return text.splitlines()[0] if text else type(error).__name__


def telling(tell: Callable[[str], None]) -> Callable[..., None]:
    """Replaces `warnings.showwarning`: our own warnings are told, those of libraries are of no use."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, AcdcWarning):
            tell(str(message))

    return show


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the machine or its GPU has no memory left."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
