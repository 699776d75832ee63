"""`parallel`: one job of the file becomes several, by number or by all combinations of a matrix."""

from collections.abc import Iterator
from itertools import product

from contracts.builds import PlannedJob, PlannedVariable
from services.builds.pipeline.document.ast_nodes import (
    MappingNode,
    Node,
    as_int,
    as_mapping,
    as_texts,
    fail,
    require_list,
)
from services.builds.pipeline.variables import NAME_PATTERN

MAX_INSTANCES = 200

Combination = tuple[tuple[str, str], ...]


def expand_parallel(job: PlannedJob, parallel: Node | None) -> list[PlannedJob]:
    if parallel is None:
        return [job]
    if not isinstance(parallel, MappingNode):
        total = as_int(parallel, f"`parallel` of the job `{job.name}`", 1, MAX_INSTANCES)
        return [_create_instance(job, f"{job.name} {place}/{total}", place, total, ()) for place in range(1, total + 1)]
    chosen = list_combinations(parallel.get("matrix"), parallel, f"the job `{job.name}`")
    return [
        _create_instance(job, instance_name(job.name, one), place, len(chosen), one)
        for place, one in enumerate(chosen, 1)
    ]


def instance_name(name: str, combination: Combination) -> str:
    return f"{name}: [{', '.join(value for _, value in combination)}]"


def list_combinations(matrix: Node | None, parallel: Node, what: str) -> list[Combination]:
    if matrix is None:
        fail(parallel.place, f"`parallel` of {what} must be a number, or a mapping with `matrix`")
    found: list[Combination] = []
    for one in require_list(matrix, f"the matrix of {what}"):
        for combination in _row_combinations(as_mapping(one, f"a row of the matrix of {what}"), what):
            found.append(combination)
            if len(found) > MAX_INSTANCES:
                fail(matrix.place, f"the matrix of {what} has more than {MAX_INSTANCES} combinations")
    if not found:
        fail(matrix.place, f"the matrix of {what} is empty")
    return list(dict.fromkeys(found))


def _row_combinations(row: MappingNode, what: str) -> Iterator[Combination]:
    axes = []
    for name, node in row.members.items():
        if not NAME_PATTERN.fullmatch(name):
            fail(row.position_of(name), f"`{name}` in the matrix of {what} cannot be the name of a variable")
        axes.append([(name, value) for value in as_texts(node, f"`{name}` in the matrix of {what}")])
    return product(*axes) if axes else iter(())


def _create_instance(job: PlannedJob, name: str, place: int, total: int, combination: Combination) -> PlannedJob:
    own = {"CI_NODE_INDEX": str(place), "CI_NODE_TOTAL": str(total)} | dict(combination)
    variables = {one.key: one for one in job.variables} | {
        key: PlannedVariable(key=key, value=value, expand=False) for key, value in own.items()
    }
    return job.replace(name=name, variables=tuple(variables.values()))
