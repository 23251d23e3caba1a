"""How much the statements of source texts say at once, counted in tokens.

A statement is a logical line; the head of a `def`, `if` or `for` is one. Its tokens are those that
Python sees: brackets count, comments and line breaks do not. Docstrings are no statements here.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LONG = 30
"""A statement of more tokens is long."""
NO_TOKENS = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Statements:
    """What was counted in some texts.

    Attributes:
        tokens: The tokens of each statement, fewest first.
        comments: How many comments there are.
        code_lines: How many lines hold code.
    """

    tokens: tuple[int, ...]
    comments: int
    code_lines: int

    @property
    def ninetieth_percentile(self) -> int:
        """What nine in ten statements do not exceed, in tokens."""
        last = len(self.tokens) - 1
        return self.tokens[int(0.9 * last)]

    @property
    def long_percent(self) -> float:
        """How many in a hundred statements are long."""
        long = [count for count in self.tokens if count > LONG]
        return 100 * len(long) / len(self.tokens)

    @property
    def comments_percent(self) -> float:
        """How many comments there are in a hundred lines of code."""
        return 100 * self.comments / self.code_lines


def statements_of(texts: Iterable[str]) -> Statements:
    """Count the statements of some source texts together."""
    tokens: list[int] = []
    comments = 0
    code_lines = 0
    for text in texts:
        documentation = _docstring_lines(text)
        lines: set[int] = set()
        for statement in _logical_lines(text):
            comments += sum(token.type == tokenize.COMMENT for token in statement)
            code = [token for token in statement if token.type not in NO_TOKENS]
            code = [token for token in code if token.start[0] not in documentation]
            lines.update(token.start[0] for token in code)
            if code:
                tokens.append(len(code))
        code_lines += len(lines)
    return Statements(tuple(sorted(tokens)), comments, code_lines)


def _logical_lines(text: str) -> Iterator[list[tokenize.TokenInfo]]:
    """Yield the tokens of each logical line, comments before it included."""
    line: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line.append(token)
        if token.type == tokenize.NEWLINE:
            yield line
            line = []
    # What is left are comments after the last statement.
    yield line


def _docstring_lines(text: str) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            assert docstring.end_lineno is not None
            found.update(range(docstring.lineno, docstring.end_lineno + 1))
    return found


def long_lines(text: str, columns: int) -> list[int]:
    """Return the numbers of the lines that are longer than some columns."""
    numbered = enumerate(text.splitlines(), start=1)
    return [number for number, line in numbered if len(line) > columns]
