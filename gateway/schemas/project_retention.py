"""The request body that changes the retention limits of a project."""

from typing import Any

from pydantic import Field

from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Integer

DAYS: dict[str, Any] = {"minimum": 0, "maximum": 36_500}
BUILDS: dict[str, Any] = {"minimum": 0, "maximum": 10**9}
SERVER = "0: the server's setting, which new projects have; missing: unchanged"


class RetentionFields(Fields):
    keep_build_days: Integer = Field(
        None, description=f"days until finished builds are deleted; {SERVER}", examples=[90], json_schema_extra=DAYS
    )
    keep_log_days: Integer = Field(
        None, description=f"days until logs are removed; {SERVER}", examples=[30], json_schema_extra=DAYS
    )
    keep_number_log: Integer = Field(
        None, description=f"number of finished builds with logs; {SERVER}", examples=[100], json_schema_extra=BUILDS
    )
    keep_artifact_days: Integer = Field(
        None, description=f"days until artifacts are removed; {SERVER}", examples=[30], json_schema_extra=DAYS
    )
    keep_number_artifact: Integer = Field(
        None, description=f"number of finished builds with artifacts; {SERVER}", examples=[20], json_schema_extra=BUILDS
    )


RETENTION = envelope("retention", RetentionFields)
