"""Mutants: the package with one spot changed. Finds them, draws a sample, and puts one into a process."""

from __future__ import annotations

import ast
import copy
import gc
import importlib.abc
import importlib.util
import random
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SCOPE = {
    "normalization": ["stein_bench/normalization/*.py"],
    "statistics": ["stein_bench/statistics/*.py"],
    "comparison": ["stein_bench/comparison/*.py"],
    "projections": ["stein_bench/attacks/geometry.py", "stein_bench/attacks/verify.py"],
}
"""Name in the report -> the files that are changed."""
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
NAMES = {"min": "max", "any": "all", "clamp_min": "clamp_max", "amin": "amax", "minimum": "maximum", "ceil": "floor"}
NAMES |= {new: old for old, new in NAMES.items()}
KEPT = ("description", "help", "title", "strict")
"""Arguments that stay: texts for people, and the check of `zip`, which like an assertion never fails."""


@dataclass(frozen=True)
class Mutant:
    """One change: of the `number`-th node of a file in the order of `ast.walk`.

    `lines` are those whose tests are run first: of its statement, or of the uses of a constant.
    """

    package: str
    file: str
    number: int
    change: str
    line: int
    lines: tuple[int, ...]
    in_function: bool


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what can be changed about a node: a description, and the changed node."""

    def changed(**fields: object) -> ast.AST:
        new = copy.copy(node)
        for name, value in fields.items():
            setattr(new, name, value)
        return new

    match node:
        case ast.Compare(ops=ops):
            for i, operator in enumerate(ops):
                yield f"comparison {i}", changed(ops=[*ops[:i], SWAPS[type(operator)](), *ops[i + 1 :]])
        case ast.BinOp(left=left, right=right) | ast.AugAssign(target=left, value=right):
            texts = any(isinstance(x, ast.JoinedStr) or isinstance(getattr(x, "value", 0), str) for x in (left, right))
            if type(node.op) in SWAPS and not texts:
                yield "operator", changed(op=SWAPS[type(node.op)]())
        case ast.BoolOp(op=operator):
            yield "and/or", changed(op=SWAPS[type(operator)]())
        case ast.UnaryOp(operand=operand):
            yield "unary operator left out", operand
        case ast.Constant(value=bool(value)):
            yield f"{value} inverted", changed(value=not value)
        case ast.Constant(value=int() | float() as value):
            yield f"{value} + 1", changed(value=value + 1)
            yield f"{value} - 1", changed(value=value - 1)
        case ast.Call(func=function, keywords=keywords):
            name = getattr(function, "id", getattr(function, "attr", None))
            if name in NAMES:
                other = copy.copy(function)
                setattr(other, "id" if isinstance(function, ast.Name) else "attr", NAMES[name])
                yield f"{name} -> {NAMES[name]}", changed(func=other)
            for i, keyword in enumerate(keywords):
                if keyword.arg not in (None, *KEPT):
                    yield f"without {keyword.arg}=", changed(keywords=keywords[:i] + keywords[i + 1 :])
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield "condition negated", changed(test=ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=[test, *others]):
            yield "condition negated", changed(ifs=[ast.UnaryOp(ast.Not(), test), *others])
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "returns None", changed(value=ast.Constant(None))
        case ast.Expr() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield "statement left out", ast.Pass()
    if isinstance(node, ast.AugAssign):
        yield "statement left out", ast.Pass()


def _untouched(node: ast.AST, parent: ast.AST) -> bool:
    """Return whether a node and what is in it stay: texts, messages, annotations, decorators, imports, `yield`."""
    if isinstance(node, ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.Yield):
        return True
    if any(getattr(parent, field, None) is node for field in ("annotation", "returns")):
        return True
    if isinstance(node, ast.keyword) and node.arg in KEPT:
        return True
    return node in getattr(parent, "decorator_list", ()) or isinstance(parent, ast.Raise)


def mutants_of(package: str, file: str) -> list[Mutant]:
    """Return all mutants of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    found: list[Mutant] = []

    def visit(node: ast.AST, parent: ast.AST, lines: tuple[int, ...], inside: bool) -> None:
        if _untouched(node, parent):
            return
        if inside and isinstance(node, ast.stmt | ast.excepthandler):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
            lines = tuple(range(node.lineno, last + 1))
        for text, _ in changes(node):
            line = getattr(node, "lineno", lines[0] if lines else 0)
            found.append(Mutant(package, file, numbers[id(node)], text, line, lines, inside))
        for child in ast.iter_child_nodes(node):
            visit(child, node, lines, inside or (isinstance(node, ast.FunctionDef) and child in node.body))

    for top in tree.body:
        visit(top, tree, _users(tree, top), False)
    return found


def _users(tree: ast.Module, top: ast.stmt) -> tuple[int, ...]:
    """Return the lines that a statement outside functions matters to: those of a function, or of uses of a constant."""
    targets = getattr(top, "targets", [getattr(top, "target", None)])
    names = {target.id for target in targets if isinstance(target, ast.Name)}
    if not names:
        return () if isinstance(top, ast.ClassDef) else tuple(range(top.lineno, (top.end_lineno or top.lineno) + 1))
    return tuple(sorted({x.lineno for x in ast.walk(tree) if isinstance(x, ast.Name) and x.id in names}))


def sample(each: int, seed: int, only: list[str]) -> tuple[dict[str, int], list[Mutant]]:
    """Return how many mutants each package has, and a random sample of `each` of these, those outside functions first.

    `each` = 0: all.
    """
    drawn: list[Mutant] = []
    counts = {}
    for package, patterns in SCOPE.items():
        files = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
        mutants = [mutant for path in files for mutant in mutants_of(package, str(path.relative_to(ROOT)))]
        counts[package] = len(mutants)
        if not only or package in only:
            number = min(each or len(mutants), len(mutants))
            drawn += random.Random(f"{seed} {package}").sample(mutants, number)
    random.Random(seed).shuffle(drawn)
    return counts, sorted(drawn, key=lambda mutant: mutant.in_function)


def _compiled(mutant: Mutant) -> types.CodeType:
    """Return the code of the changed module."""
    path = ROOT / mutant.file
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    old = nodes[mutant.number]
    new = ast.copy_location(next(new for text, new in changes(old) if text == mutant.change), old)
    for parent in nodes:
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list):
                value[:] = [new if item is old else item for item in value]
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


@cache
def functions() -> list[types.FunctionType]:
    """Return all functions that exist at the first call."""
    return [found for found in gc.get_objects() if type(found) is types.FunctionType]


def install(mutant: Mutant) -> Callable[[], bool]:
    """Change the functions that exist already; or, for a change outside functions, the module once it is imported.

    Returns whether the changed code has taken the place of the other, to be called after the tests.

    Raises:
        LookupError, ValueError: the functions cannot be changed.
    """
    module = _compiled(mutant)
    if not mutant.in_function:
        found = _Changed(mutant.file, module)
        sys.meta_path.insert(0, found)
        return lambda: found.used

    def codes(code: types.CodeType) -> Iterator[types.CodeType]:
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield constant
                yield from codes(constant)

    new = {(code.co_qualname, code.co_firstlineno): code for code in codes(module)}
    different = 0
    for function in functions():
        code = function.__code__
        if code.co_filename == module.co_filename and (code.co_qualname, code.co_firstlineno) in new:
            function.__code__ = new[code.co_qualname, code.co_firstlineno]
            different += function.__code__ != code
    if not different:
        raise LookupError(f"no function of {module.co_filename} has changed")
    return lambda: True


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the changed module."""

    def __init__(self, file: str, code: types.CodeType) -> None:
        self.name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self.code, self.is_package, self.used = code, file.endswith("__init__.py"), False

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        place = self.code.co_filename
        folders = [str(Path(place).parent)] if self.is_package else None
        return importlib.util.spec_from_file_location(name, place, loader=self, submodule_search_locations=folders)

    def exec_module(self, module: types.ModuleType) -> None:
        self.used = True
        exec(self.code, module.__dict__)
