"""Request bodies: Free Commit's envelopes like `{"project": {"name": "x"}}`, and GitFlic's plain objects."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator
from pydantic.fields import FieldInfo

from gateway.http.json_request import JsonText
from gateway.schemas.loose_types import reject_empty

CONFIG = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Fields(BaseModel):
    """Fields of a message that clients send. A field's alias is its name in the body, if that differs.

    A field is sent on if the client has sent it, or if it has a default other than null.
    """

    model_config = CONFIG

    def message_fields(self) -> dict[str, Any]:
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name in self.model_fields_set or field.default is not None
        }

    @classmethod
    def wire_name(cls, name: str) -> str:
        """Return the name that the message's field `name` has in the body."""
        field = cls.model_fields.get(name)
        return (field and field.alias) or name


class JsonBody(Fields):
    """A body whose fields are at the top level."""

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, sent: Any) -> Any:
        return sent.members if isinstance(sent, JsonText) else sent

    @classmethod
    def location(cls, name: str) -> tuple[str, ...]:
        """Return where the message's field `name` is in the body."""
        return ("body", cls.wire_name(name))


class Envelope(BaseModel):
    """A body with the fields of one resource under its name. Flattened names such as `project_name` work too."""

    model_config = CONFIG

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, sent: Any) -> Any:
        if not isinstance(sent, JsonText):
            return sent
        resource = cls.resource()
        prefix = f"{resource}_"
        members = sent.flat_members
        return {resource: {name[len(prefix) :]: members[name] for name in members if name.startswith(prefix)}}

    @classmethod
    def resource(cls) -> str:
        (name,) = cls.model_fields
        return name

    @classmethod
    def fields(cls) -> type[Fields]:
        fields = cls.model_fields[cls.resource()].annotation
        assert isinstance(fields, type)  # noqa: S101  the only field of an envelope is a model
        assert issubclass(fields, Fields)  # noqa: S101
        return fields

    def message_fields(self) -> dict[str, Any]:
        content: Fields = getattr(self, self.resource())
        return content.message_fields()

    @classmethod
    def location(cls, name: str) -> tuple[str, ...]:
        """Return where the message's field `name` is in the body."""
        return ("body", cls.resource(), cls.fields().wire_name(name))


RequestBody = type[JsonBody] | type[Envelope]


def envelope(resource: str, fields: type[Fields]) -> type[Envelope]:
    name = f"{fields.__name__.removesuffix('Fields')}Request"
    return create_model(name, __base__=Envelope, **_member(resource, fields))


@cache
def envelope_with(
    body: type[Envelope], name: str, *, required: bool = True, reject_null: bool = False, message_field: str = ""
) -> type[Envelope]:
    """Return the model of a body with one field of a resource, for a route that changes this field.

    `required` only documents the field as required: the message checks it. `reject_null` rejects a missing, null or
    empty value. `message_field` is the name of the field in the message, if it differs from `name`.
    """
    original = body.fields()
    field = original.model_fields[name]
    title = _camel_case(f"{body.resource()}_{original.wire_name(name)}")
    annotation: Any = _annotation(field)
    if reject_null:
        annotation = Annotated[annotation, BeforeValidator(reject_empty)]
    default: Any = None if reject_null else field.default
    extra: Any = field.json_schema_extra
    changed: Any = Field(
        default,
        alias=original.wire_name(name) if message_field else field.alias,
        description=field.description,
        examples=field.examples,
        json_schema_extra=extra,
        validate_default=reject_null,
    )
    fields: Any = {message_field or name: (annotation, changed)}
    documented: Any = {"required": [original.wire_name(name)] if required else []}
    sub_model: type[Fields] = create_model(
        f"{title}Fields", __base__=Fields, __cls_kwargs__={"json_schema_extra": documented}, **fields
    )
    return create_model(f"{title}Request", __base__=Envelope, **_member(body.resource(), sub_model))


def _member(resource: str, fields: type[Fields]) -> Mapping[str, Any]:
    return {resource: (fields, ...)}


def _annotation(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _camel_case(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
