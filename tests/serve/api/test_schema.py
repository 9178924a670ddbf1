"""The OpenAPI schema says what the server does: schemathesis tries, a bounded number of times."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.serve.running import Running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = {
    ("POST", "/v1/uploads"): 10,
    ("POST", "/v1/infotext"): 10,
    ("POST", "/v1/jobs"): 60,
    ("GET", "/v1/jobs"): 4,
    ("GET", "/v1/jobs/{job_id}"): 10,
    ("DELETE", "/v1/jobs/{job_id}"): 10,
    ("GET", "/v1/media/{media_id}.png"): 10,
    ("GET", "/v1/capabilities"): 2,
    ("GET", "/healthz"): 2,
    ("GET", "/readyz"): 2,
    ("GET", "/metrics"): 2,
}
NOT_ITS_OWN_FAULT = (429, 503)


@pytest.fixture(scope="module")
def schema(server: Running) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_every_operation_of_the_schema_is_tried(server: Running) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    found = {(method.upper(), path) for path in paths for method in paths[path]}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_every_answer_is_one_that_the_schema_promises(
    schema: Any, operation: tuple[str, str]
) -> None:
    method, path = operation

    @settings(
        max_examples=OPERATIONS[operation],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=schema[path][method].as_strategy())
    def tried(case: Any) -> None:
        answer = case.call(timeout=20)
        if answer.status_code not in NOT_ITS_OWN_FAULT:
            case.validate_response(answer, checks=CHECKS)

    tried()
