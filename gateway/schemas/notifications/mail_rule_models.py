"""A user's mail rule of a project: the request body and the response."""

from typing import Any

from pydantic import Field

from gateway.forwarding.serializers import ResponseModel, serialize
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Text

EVENTS = (
    "`failed`: failed and killed builds; `fixed`: also successes after a failure on the same branch; `always`; `never`"
)
BUILDS = "`own`: builds that the user launched; `all`"


class MailRuleFields(Fields):
    events: Text = Field(None, description=f"{EVENTS}; null: `failed`", examples=["fixed"])
    builds: Text = Field(None, description=f"{BUILDS}; null: `own`", examples=["all"])


class MailRule(ResponseModel):
    project_id: int = Field(description="number of the project", examples=[17])
    events: str = Field(description=EVENTS, examples=["fixed"])
    builds: str = Field(description=BUILDS, examples=["all"])


MAIL_RULE: Any = envelope("mail_rule", MailRuleFields)
ONE_MAIL_RULE = serialize(MailRule)
