"""Generated requests: every response matches the OpenAPI document."""

import json
import os
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.e2e.used_stack.backed_up import BackedUp
from tests.support.gateway_routes import OF_RUNNERS
from tests.support.stacks.fuzzing_target import FuzzingTarget, create_fuzzing_target
from tests.support.stacks.running_stack import RunningStack

if TYPE_CHECKING:  # imported late: the import takes seconds, and every pytest worker imports this module
    from schemathesis import Case

THOROUGH = int(os.environ.get("HEADRACE_FUZZ_EXAMPLES", "0"))  # requests per operation, in nightly runs; 0: short form
EXAMPLES = THOROUGH or 5
DOCUMENT = json.loads(files("contracts").joinpath("openapi.json").read_text("utf-8"))
OPERATIONS = [
    (method.upper(), path)
    for path, item in DOCUMENT["paths"].items()
    if not path.startswith(OF_RUNNERS)
    for method, operation in item.items()
    # a stream of events may have no end, and its schema describes the whole text, not an event
    if "text/event-stream" not in operation["responses"].get("200", {}).get("content", {})
]
Fuzz = Callable[[str, str, "Callable[[Case[Any]], None]"], None]


@pytest.fixture(scope="module")
def fuzzing_target(
    used_stack: RunningStack, backed_up: BackedUp, tmp_path_factory: pytest.TempPathFactory
) -> FuzzingTarget:
    """Return the used stack after its backup, because generated requests may delete any resource."""
    return create_fuzzing_target(used_stack, tmp_path_factory.mktemp("openapi") / "repository")


@pytest.fixture(scope="module")
def fuzz() -> Fuzz:
    """Return a function that calls `check` with generated requests for an operation.

    A request is valid or violates the schema in one place. The thorough form adds requests with the boundary values of
    each parameter, dozens per operation.
    """
    import schemathesis
    from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test

    config = schemathesis.Config.from_dict({"generation": {"database": "none"}})
    schema = schemathesis.openapi.from_dict(DOCUMENT, config=config)
    modes = [HypothesisTestMode.EXAMPLES, HypothesisTestMode.FUZZING]
    if THOROUGH:
        modes.append(HypothesisTestMode.COVERAGE)

    def run(method: str, path: str, check: "Callable[[Case[Any]], None]") -> None:
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        def tried(case: "Case[Any]") -> None:
            check(case)

        create_test(
            operation=schema[path][method],
            test_func=tried,
            config=HypothesisTestConfig(project=schema.config, modes=modes),
        )()

    return run


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_every_response_matches_the_openapi_document(
    method: str, path: str, fuzzing_target: FuzzingTarget, fuzz: Fuzz
) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    expected = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]

    def check(case: "Case[Any]") -> None:
        case.path_parameters = fuzzing_target.replace_path_parameters(case.path_parameters)
        case.call_and_validate(base_url=fuzzing_target.stack.url, headers=dict(fuzzing_target.headers), checks=expected)

    fuzz(method, path, check)
