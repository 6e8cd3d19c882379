"""What can be mutated in a module, and which of it: cosmic-ray's operators, without those that cannot matter."""

import ast
import difflib
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.exceptions import CosmicRayTestingException
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

Place = tuple[tuple[int, int], tuple[int, int]]


class Mutant(NamedTuple):
    """One change of one module: the nth occurrence of what the operator changes."""

    operator: str
    occurrence: int
    place: Place


class SwapIn(Operator):
    """``in`` becomes ``not in``, and the reverse; cosmic-ray has no operator for it."""

    def mutation_positions(self, node: Any) -> Iterator[Place]:
        if node.type == "comparison":
            for word in node.children[1::2]:
                if _words(word) in ("in", "not in"):
                    yield word.start_pos, word.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        number = [n for n, word in enumerate(node.children) if n % 2 and _words(word) in ("in", "not in")][index]
        other = "not in" if _words(node.children[number]) == "in" else "in"
        node.children[number] = parso.parse(f" {other}")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class DropCall(Operator):
    """A statement that is nothing but a call is left out; cosmic-ray has no operator for it."""

    def mutation_positions(self, node: Any) -> Iterator[Place]:
        if node.type == "simple_stmt" and node.children[0].type == "atom_expr":
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        call = node.children[0]
        node.children[0] = parso.parse(call.get_first_leaf().prefix + "pass")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class ReplaceException(Operator):
    """A caught exception becomes one that nothing raises; cosmic-ray's own operator fails for ``sqlite3.Error``."""

    def mutation_positions(self, node: Any) -> Iterator[Place]:
        for _, name in _caught(node):
            yield name.start_pos, name.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        siblings, name = _caught(node)[index]
        prefix = name.get_first_leaf().prefix
        siblings[siblings.index(name)] = parso.parse(f"{prefix}{CosmicRayTestingException.__name__}")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


def _caught(node: Any) -> list[tuple[list[Any], Any]]:
    """The exceptions of an ``except`` clause, each in the list of nodes that it is in."""
    if node.type != "except_clause":
        return []
    siblings = node.children
    if siblings[1].type == "atom":  # in parentheses
        siblings = siblings[1].children
    if siblings[1].type == "testlist_comp":
        siblings = siblings[1].children
        return [(siblings, name) for name in siblings[::2]]
    return [(siblings, siblings[1])]


def _words(node: Any) -> str:
    return " ".join(node.get_code().split())


def _core(*names: str) -> dict[str, Operator]:
    return {name: get_operator(f"core/{name}")() for name in names}


# Of a comparison its opposite and the next boundary, of an arithmetic operator its opposite. The others that cosmic-ray
# has (`a + b` as `a << b`) fail in every test that reaches the line, and would only make the score look better.
OPERATORS: dict[str, Operator] = {
    **_core(
        *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
        *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt")),
        *(f"ReplaceComparisonOperator_{pair}" for pair in ("Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")),
        *(
            f"ReplaceBinaryOperator_{pair}"
            for pair in ("Add_Sub", "Sub_Add", "Mul_FloorDiv", "Div_Mul", "FloorDiv_Mul")
        ),
        *(f"ReplaceBinaryOperator_{pair}" for pair in ("Mod_FloorDiv", "BitOr_BitAnd", "BitAnd_BitOr", "Pow_Mul")),
        "ReplaceUnaryOperator_Delete_Not",
        "ReplaceUnaryOperator_Delete_USub",
        "AddNot",
        "ReplaceTrueWithFalse",
        "ReplaceFalseWithTrue",
        "ReplaceAndWithOr",
        "ReplaceOrWithAnd",
        "ReplaceBreakWithContinue",
        "ReplaceContinueWithBreak",
    ),
    "ExceptionReplacer": ReplaceException(),  # the order of the operators is a part of what a seed means
    **_core("NumberReplacer", "ZeroIterationForLoop"),
    "SwapIn": SwapIn(),
    "DropCall": DropCall(),
}


def mutants_of(source: str) -> list[Mutant]:
    """Return every mutant of a module that a test could see."""
    idle = [(_start(node), _end(node)) for node in _without_effect(ast.parse(source))]
    tree = get_ast(source)
    found = []
    for name, operator in OPERATORS.items():
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, (start, end) in enumerate(places):
            if not any(first <= start and end <= last for first, last in idle):
                found.append(Mutant(name, occurrence, (start, end)))
    return found


def _without_effect(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
                yield annotation
            case ast.FunctionDef(returns=ast.expr() as annotation):
                yield annotation
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield node
            case (
                ast.JoinedStr() | ast.Assert() | ast.keyword(arg="strict")
            ):  # the text of a message; what cannot happen
                yield node
            case ast.ClassDef(decorator_list=decorators):  # dataclass(frozen=True, slots=True)
                yield from decorators


def _start(node: Any) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: Any) -> tuple[int, int]:
    return node.end_lineno, node.end_col_offset


def sample(mutants: Sequence[Mutant], count: int, seed: str) -> list[Mutant]:
    """Return some mutants at random: at as many different places as there are, before a place comes again."""
    chance = random.Random(seed)
    places: dict[Place, list[Mutant]] = {}
    for mutant in mutants:
        places.setdefault(mutant.place, []).append(mutant)
    piles = list(places.values())
    for pile in (piles, *piles):
        chance.shuffle(pile)  # type: ignore[arg-type]
    rounds = range(max(map(len, piles), default=0))
    return [pile[turn] for turn in rounds for pile in piles if turn < len(pile)][:count]


def mutated(source: str, mutant: Mutant) -> str:
    """Return the module with the change in it."""
    changed: str | None = mutate_code(source, OPERATORS[mutant.operator], mutant.occurrence)
    if changed is None:
        raise ValueError(f"no mutation number {mutant.occurrence} by {mutant.operator}")
    return changed


def change(source: str, other: str) -> tuple[str, str]:
    """Return the lines that differ, as they were and as they became, without what is around them."""
    lines = list(difflib.ndiff(source.splitlines(), other.splitlines()))
    return tuple(" ".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+")  # type: ignore[return-value]


def diff(module: str, source: str, other: str) -> str:
    """Return the change as a unified diff."""
    return "\n".join(difflib.unified_diff(source.splitlines(), other.splitlines(), module, module, lineterm="", n=2))
