"""A condition on rows, as text: "Modality == 'CT' and StudyDate >= '20240101' and PatientName ~ 'DOE*'".

Python's grammar and nothing of its power: the text is parsed with `ast`, and only what is listed here is understood.
"""

from __future__ import annotations

import ast
import datetime
import fnmatch
import io
import operator
import re
import tokenize
from collections.abc import Callable, Sequence
from typing import Any

from dicore.scan.columns import Column

__all__ = ["Where"]

Row = Callable[[int], Any]
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_DEPTH, _LENGTH = 50, 10_000


class Where:
    """A parsed condition. `names` are the elements it looks at.

    Names are keywords or paths (`ReferencedStudySequence[0].ReferencedSOPInstanceUID`), a tag is
    `tag('0019,1001:DS')`; values are texts, numbers and None. There are == != < <= > >=, `in (..., ...)`, `~` for *
    and ? in text, and, or, not and brackets. Dates compare with '20240131' or '2024-01-31', times with '1200' or
    '12:00:00'. A list matches when one of its values does; what is missing matches nothing but `== None`. ValueError
    for anything else.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: list[str] = []
        if len(text) > _LENGTH:
            raise ValueError("the condition is too long")
        try:
            self._tree = ast.parse(_wildcards(text), mode="eval").body
        except (SyntaxError, tokenize.TokenError, RecursionError, MemoryError, ValueError) as error:
            raise ValueError(f"not a condition: {text!r}: {getattr(error, 'msg', error)}") from None
        self._check(self._tree, 0)

    # ---- parsing

    def _error(self, node: ast.AST) -> ValueError:
        part = ast.unparse(node).replace(" @ ", " ~ ")
        return ValueError(f"not a condition: {self.text!r}: {part!r} is not understood")

    def _check(self, node: ast.expr, depth: int) -> None:
        if depth > _DEPTH:
            raise ValueError("the condition is nested too deeply")
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self._check(value, depth + 1)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._check(node.operand, depth + 1)
        elif isinstance(node, ast.Compare):
            if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
                self._operand(node.left)
                if not isinstance(node.comparators[0], ast.Tuple | ast.List) or not all(
                    self._is_constant(value) for value in node.comparators[0].elts
                ):
                    raise self._error(node)
            else:
                for operand in (node.left, *node.comparators):
                    self._operand(operand)
                if not all(type(op) in _COMPARE or isinstance(op, ast.NotEq | ast.Is | ast.IsNot) for op in node.ops):
                    raise self._error(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            self._name(node.left)
            if not (isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)):
                raise self._error(node)
        else:
            self._name(node)  # alone: is there a value?

    def _is_constant(self, node: ast.expr) -> bool:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return isinstance(node.operand, ast.Constant) and type(node.operand.value) in (int, float)
        return isinstance(node, ast.Constant) and (node.value is None or type(node.value) in (str, int, float))

    def _operand(self, node: ast.expr) -> None:
        if not self._is_constant(node):
            self._name(node)

    def _name(self, node: ast.expr) -> str:
        name = self._name_of(node)
        if name not in self.names:
            self.names.append(name)
        return name

    def _name_of(self, node: ast.expr) -> str:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tag":
            if len(node.args) == 1 and not node.keywords and isinstance(node.args[0], ast.Constant):
                value = node.args[0].value
                if isinstance(value, str):
                    return value
            raise self._error(node)
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Subscript):
            item = node.value
            if isinstance(item.slice, ast.Constant) and type(item.slice.value) is int:
                return f"{self._name_of(item.value)}[{item.slice.value}].{node.attr}"
        raise self._error(node)

    # ---- matching

    def bind(self, columns: Sequence[Column]) -> Callable[[Sequence[Sequence[Any]], int], bytes]:
        """A function of (values of each of `names`, number of rows) that gives a byte for each row. ValueError when a
        constant does not fit the type of what it is compared with."""
        by_name = {column.name: column for column in reversed(columns)}
        used = [by_name[name.partition(":")[0]] for name in self.names]

        def keep(values: Sequence[Sequence[Any]], count: int) -> bytes:
            test = self._test(self._tree, used, values)
            return bytes(bool(test(row)) for row in range(count))

        keep([()] * len(used), 0)  # constants are looked at now
        return keep

    def _value(self, node: ast.expr, values: Sequence[Sequence[Any]]) -> Row:
        column = values[self.names.index(self._name_of(node))]
        return lambda row: column[row]

    def _constant(self, node: ast.expr, like: Column | None) -> Any:
        value = ast.literal_eval(node)
        kind = like.field.type if like is not None else ""
        if value is None or not kind:
            return value
        if "date32" in kind and isinstance(value, str):
            return _date(value)
        if "time64" in kind and isinstance(value, str):
            return _time(value)
        numbers = not any(name in kind for name in ("utf8", "date32", "time64", "binary"))
        if not (numbers if isinstance(value, int | float) else "utf8" in kind):
            raise ValueError(f"{self.text!r}: {like.name if like else ''} is {kind}, which {value!r} is not")
        return value

    def _test(self, node: ast.expr, columns: Sequence[Column], values: Sequence[Sequence[Any]]) -> Row:
        if isinstance(node, ast.BoolOp):
            parts = [self._test(value, columns, values) for value in node.values]
            if isinstance(node.op, ast.And):
                return lambda row: all(part(row) for part in parts)
            return lambda row: any(part(row) for part in parts)
        if isinstance(node, ast.UnaryOp):
            inner = self._test(node.operand, columns, values)
            return lambda row: not inner(row)
        if isinstance(node, ast.BinOp):
            pattern = re.compile(fnmatch.translate(str(ast.literal_eval(node.right)).replace("[", "[[]")), re.S)
            value = self._value(node.left, values)
            return lambda row: _any(value(row), lambda one: pattern.match(str(one)) is not None)
        if isinstance(node, ast.Compare):
            return self._comparison(node, columns, values)
        value = self._value(node, values)
        return lambda row: value(row) not in (None, "", [])

    def _comparison(self, node: ast.Compare, columns: Sequence[Column], values: Sequence[Sequence[Any]]) -> Row:
        if isinstance(node.ops[0], ast.In | ast.NotIn) and isinstance(node.comparators[0], ast.Tuple | ast.List):
            like = None if self._is_constant(node.left) else columns[self.names.index(self._name_of(node.left))]
            wanted = {self._constant(item, like) for item in node.comparators[0].elts}
            left = self._side(node.left, None, values)
            negated = isinstance(node.ops[0], ast.NotIn)
            return lambda row: _among(left(row), wanted) != negated
        sides = [node.left, *node.comparators]
        named = [None if self._is_constant(side) else columns[self.names.index(self._name_of(side))] for side in sides]
        beside = [next((c for c in named[max(at - 1, 0) : at + 2] if c), None) for at in range(len(sides))]
        rows = [self._side(side, like, values) for side, like in zip(sides, beside, strict=True)]
        pairs = list(zip(node.ops, rows, rows[1:], strict=False))
        return lambda row: all(_compare(op, a(row), b(row)) for op, a, b in pairs)

    def _side(self, node: ast.expr, like: Column | None, values: Sequence[Sequence[Any]]) -> Row:
        if not self._is_constant(node):
            return self._value(node, values)
        constant = self._constant(node, like)
        return lambda row: constant


def _wildcards(text: str) -> str:
    """`~` between two operands, which Python has only in front of one, as `@`, which it has there."""
    out = list(text)
    lines = text.splitlines(keepends=True)
    starts = [sum(map(len, lines[:i])) for i in range(len(lines) + 1)]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.OP and token.string == "@":
            raise ValueError("'@' is not understood")
        if token.type == tokenize.OP and token.string == "~":
            out[starts[token.start[0] - 1] + token.start[1]] = "@"
    return "".join(out).strip()


def _any(value: Any, test: Callable[[Any], bool]) -> bool:
    if value is None:
        return False
    return any(one is not None and test(one) for one in value) if isinstance(value, list) else test(value)


def _among(value: Any, wanted: set[Any]) -> bool:
    return None in wanted if value is None else _any(value, wanted.__contains__)


def _compare(op: ast.cmpop, a: Any, b: Any) -> bool:
    if isinstance(op, ast.NotEq | ast.IsNot):
        return not _compare(ast.Eq(), a, b)
    if isinstance(op, ast.Is):
        op = ast.Eq()
    if a is None or b is None:
        return a is b and isinstance(op, ast.Eq)
    test = _COMPARE[type(op)]
    try:
        if isinstance(b, list):
            return _any(b, lambda one: test(a, one))
        return _any(a, lambda one: test(one, b))
    except TypeError:  # two columns of different types
        return False


def _date(text: str) -> datetime.date:
    digits = text.replace("-", "").replace(".", "")
    try:
        if len(digits) != 8 or not digits.isascii() or not digits.isdigit():
            raise ValueError
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        raise ValueError(f"{text!r} is no date: write '20240131' or '2024-01-31'") from None


def _time(text: str) -> datetime.time:
    match = re.fullmatch(r"(\d\d):?(?:(\d\d):?(?:(\d\d)(?:\.(\d{1,6}))?)?)?", text, re.A)
    try:
        if match is None:
            raise ValueError
        hour, minute, second, micro = match.groups()
        return datetime.time(int(hour), int(minute or 0), int(second or 0), int((micro or "").ljust(6, "0")))
    except ValueError:
        raise ValueError(f"{text!r} is no time: write '1230' or '12:30:00'") from None
