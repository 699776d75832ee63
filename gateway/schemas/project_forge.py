"""The forge of a project: the request body of its settings."""

from pydantic import ConfigDict, Field

from gateway.adapters.free_commit.request_fields import at_most
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Text


class ForgeFields(Fields):
    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})

    kind: Text = Field(None, description="`none`, `github`, `gitlab` or `gitea`, also for Forgejo", examples=["gitlab"])
    api_url: Text = Field(
        None,
        description="URL of the API; null: derived from the repository's URL",
        examples=["https://git.example.org/api/v4"],
        json_schema_extra=at_most(2048),
    )
    secret: Text = Field(
        None,
        description="name of the project's secret with the token",
        examples=["FORGE_TOKEN"],
        json_schema_extra=at_most(255),
    )


FORGE = envelope("forge", ForgeFields)
