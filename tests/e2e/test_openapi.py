"""The OpenAPI document is true: whatever is sent, the answer is one that the document describes."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.openapi import document
from gateway.routes import TABLE
from tests.support.fuzzing import Inhabited, inhabited
from tests.support.stack import running_stack

EXAMPLES = 8  # per operation
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

config = schemathesis.Config.from_dict({"generation": {"deterministic": True, "database": "none"}})
schema = schemathesis.openapi.from_dict(document(TABLE), config=config).exclude(path="/api/events")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inhabited]:
    folder = tmp_path_factory.mktemp("openapi")
    with running_stack(folder / "data", replicas=1) as stack:
        yield inhabited(stack, folder / "repository")
        assert stack.complaints() == []


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_described(case: schemathesis.Case[Any], target: Inhabited) -> None:
    case.path_parameters = target.aimed(case.path_parameters)
    case.call_and_validate(base_url=target.stack.url, headers=dict(target.headers), checks=CHECKS)
