"""Requests of runners, whose bodies are JSON or forms."""

from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

from contracts.errors import RequestRejected
from gateway.http.json_request import JsonRequest, JsonRoute, JsonText

MAX_FORM_FIELDS = 1000


class FormText(JsonText):
    """The text of a form. A field that is sent several times is a list."""

    @cached_property
    def members(self) -> dict[str, Any]:
        try:
            form = parse_qs(self.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
        except ValueError:
            raise RequestRejected("REQUEST_MALFORMED", "The form has too many fields.") from None
        return {name.removesuffix("[]"): values if len(values) > 1 else values[0] for name, values in form.items()}


class RunnerRequest(JsonRequest):
    async def body(self) -> JsonText:
        text = await super().body()
        return FormText(text) if "x-www-form-urlencoded" in self.headers.get("content-type", "").lower() else text


class RunnerRoute(JsonRoute):
    request_class = RunnerRequest
