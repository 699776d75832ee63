"""Mutation test of the deciders: change one expression at a time and expect that a unit test fails.

`python -m tests.nightly.mutation [--sample 60] [--seed 7] [file ...]` works on a copy of the tree and prints every
surviving mutant. It fails if fewer than nine in ten mutants are killed.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
REQUIRED_SHARE = 0.9
TEST_SECONDS = 120  # when the tests take longer, the mutant counts as killed
OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


@dataclass(frozen=True)
class Mutant:
    file: Path
    number: int  # index of the node in `ast.walk` order

    @property
    def service(self) -> str:
        return self.file.parts[1]

    def source(self) -> tuple[str, str]:
        """Return the changed module, and a line that describes the change."""
        tree: ast.AST = ast.parse((ROOT / self.file).read_text())
        node = list(ast.walk(tree))[self.number]
        before = copy.deepcopy(node)
        changed = mutated(node)
        assert changed is not None
        tree = Replacement(node, changed).visit(tree)
        where = f"{self.file}:{getattr(before, 'lineno', '?')}"
        return ast.unparse(
            ast.fix_missing_locations(tree)
        ), f"{where}  {ast.unparse(before)}  ->  {ast.unparse(changed)}"


class Replacement(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)


def mutated(node: ast.AST) -> ast.AST | None:
    """Return a changed copy of the node, or None if no mutation applies."""
    match node:
        case ast.Compare(ops=[operator]):
            changed = copy.deepcopy(node)
            changed.ops = [OPPOSITES[type(operator)]()]
            return changed
        case ast.BoolOp():
            changed_operator = copy.deepcopy(node)
            changed_operator.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return changed_operator
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return copy.deepcopy(operand)
        case ast.Constant(value=bool() as value):
            return ast.copy_location(ast.Constant(not value), node)
        case ast.IfExp():
            return copy.deepcopy(node.body)
        case ast.List(elts=[_, *_], ctx=ast.Load()):
            return ast.copy_location(ast.List(elts=[], ctx=ast.Load()), node)
        case ast.Return(value=None | ast.Constant() | ast.List(elts=[])):
            return None
        case ast.Return():
            return ast.copy_location(ast.Return(value=ast.List(elts=[], ctx=ast.Load())), node)
    return None


def deciders() -> list[Path]:
    found = [*ROOT.glob("services/*/domain.py"), *ROOT.glob("services/*/domain/*.py")]
    return sorted(file.relative_to(ROOT) for file in found)


def mutants(files: list[Path]) -> Iterator[Mutant]:
    for file in files:
        for number, node in enumerate(ast.walk(ast.parse((ROOT / file).read_text()))):
            if mutated(node) is not None:
                yield Mutant(file, number)


def copied_tree(folder: Path) -> Path:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return folder


def tests_fail(tree: Path, service: str, seed: int) -> bool:
    options = ("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk", f"--hypothesis-seed={seed}")
    command = [sys.executable, "-m", "pytest", *options, f"tests/unit/{service}"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return result.returncode != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=60, help="how many mutants, drawn at random; 0: all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("files", nargs="*", type=Path, help="deciders; otherwise all")
    options = parser.parse_args()
    everyone = list(mutants(options.files or deciders()))
    drawn = everyone
    if 0 < options.sample < len(everyone):
        drawn = random.Random(options.seed).sample(everyone, options.sample)  # noqa: S311
    print(f"{len(drawn)} of {len(everyone)} mutants, seed {options.seed}")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.workers) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.workers):
            trees.put(copied_tree(Path(folder, str(number))))

        def survives(mutant: Mutant) -> str:
            tree = trees.get()
            try:
                source, description = mutant.source()
                (tree / mutant.file).write_text(source)
                return "" if tests_fail(tree, mutant.service, options.seed) else description
            finally:
                shutil.copyfile(ROOT / mutant.file, tree / mutant.file)
                trees.put(tree)

        for service in sorted({mutant.service for mutant in drawn}):
            tree = trees.get()
            if tests_fail(tree, service, options.seed):
                sys.exit(f"the unit tests of {service} fail without any change")
            trees.put(tree)
        survivors = [description for description in pool.map(survives, drawn) if description]
    for description in survivors:
        print(f"survived: {description}")  # noqa: T201
    share = 1 - len(survivors) / max(1, len(drawn))
    print(f"{len(drawn) - len(survivors)} of {len(drawn)} were noticed ({share:.0%})")  # noqa: T201
    sys.exit(share < REQUIRED_SHARE)


if __name__ == "__main__":
    main()
