"""`parallel`: expand one job into several, by a number or by the combinations of a matrix."""

from collections.abc import Iterator
from itertools import product

from contracts.builds import PlannedJob, PlannedVariable
from libs.launches.variable_rules import NAME_PATTERN
from services.builds.pipeline.document.ast_nodes import (
    MappingNode,
    Node,
    as_int,
    as_mapping,
    as_texts,
    fail,
    require_list,
)

MAX_INSTANCES = 200

Combination = tuple[tuple[str, str], ...]


def expand_parallel(job: PlannedJob, parallel: Node | None) -> list[PlannedJob]:
    """Return the instances of a job, or the job itself without `parallel`."""
    if parallel is None:
        return [job]
    if not isinstance(parallel, MappingNode):
        total = as_int(parallel, f"`parallel` of the job `{job.name}`", 1, MAX_INSTANCES)
        return [
            _create_instance(job, f"{job.name} {number}/{total}", number, total, ()) for number in range(1, total + 1)
        ]
    chosen = list_combinations(parallel.get("matrix"), parallel, f"the job `{job.name}`")
    return [
        _create_instance(job, instance_name(job.name, combination), number, len(chosen), combination)
        for number, combination in enumerate(chosen, 1)
    ]


def instance_name(name: str, combination: Combination) -> str:
    """Return the name of a matrix instance, such as `test: [linux, 3.11]`."""
    return f"{name}: [{', '.join(value for _, value in combination)}]"


def list_combinations(matrix: Node | None, parallel: Node, label: str) -> list[Combination]:
    """Return the distinct combinations of variable values in a matrix. Raises SpecInvalid."""
    if matrix is None:
        fail(parallel.position, f"`parallel` of {label} must be a number, or a mapping with `matrix`")
    combinations: list[Combination] = []
    for row in require_list(matrix, f"the matrix of {label}"):
        for combination in _row_combinations(as_mapping(row, f"a row of the matrix of {label}"), label):
            combinations.append(combination)
            if len(combinations) > MAX_INSTANCES:
                fail(matrix.position, f"the matrix of {label} has more than {MAX_INSTANCES} combinations")
    if not combinations:
        fail(matrix.position, f"the matrix of {label} is empty")
    return list(dict.fromkeys(combinations))


def _row_combinations(row: MappingNode, label: str) -> Iterator[Combination]:
    axes = []
    for name, node in row.members.items():
        if not NAME_PATTERN.fullmatch(name):
            fail(row.position_of(name), f"`{name}` in the matrix of {label} cannot be the name of a variable")
        axes.append([(name, value) for value in as_texts(node, f"`{name}` in the matrix of {label}")])
    return product(*axes) if axes else iter(())


def _create_instance(job: PlannedJob, name: str, number: int, total: int, combination: Combination) -> PlannedJob:
    instance_values = {"CI_NODE_INDEX": str(number), "CI_NODE_TOTAL": str(total)} | dict(combination)
    variables = {variable.key: variable for variable in job.variables} | {
        key: PlannedVariable(key=key, value=value, expand=False) for key, value in instance_values.items()
    }
    return job.replace(name=name, variables=tuple(variables.values()))
