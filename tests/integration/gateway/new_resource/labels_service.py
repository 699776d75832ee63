"""The service of labels: its decider, its queries and its declaration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from contracts.errors import RequestRejected
from libs.eventstore.decider import Category, Decider, InternalCommand, RecordedEvent, Release, Reservation, Reserve
from libs.service.declaration import CommandFlow, Context, Handler, Service
from tests.integration.gateway.new_resource.labels import (
    CreateLabel,
    DeleteLabel,
    GetLabel,
    LabelCreated,
    LabelDeleted,
    LabelEvent,
    LabelRenamed,
    LabelRow,
    Labels,
    ListLabels,
    RenameLabel,
)


@dataclass(frozen=True)
class AddLabel(InternalCommand):
    """Add a label with a new id."""

    label_id: int
    name: str


LabelCommand = AddLabel | RenameLabel | DeleteLabel


def decide(name: str, command: LabelCommand) -> list[LabelEvent]:
    """Return the events of a command. `name`: the label's name; empty if the label does not exist."""
    id_ = command.label_id
    match command:
        case AddLabel():
            return [LabelCreated(label_id=id_, name=command.name)]
        case _ if not name:
            raise RequestRejected("LABEL_NOT_FOUND")
        case RenameLabel(name=new):
            return [LabelRenamed(label_id=id_, before=name, name=new)] if new != name else []
        case DeleteLabel():
            return [LabelDeleted(label_id=id_, name=name)]
        case _:
            assert_never(command)


def evolve(_name: str, event: LabelEvent) -> str:
    return "" if isinstance(event, LabelDeleted) else event.name


def reservations(_name: str, event: LabelEvent) -> Sequence[Reservation]:
    match event:
        case LabelCreated(name=name):
            return [Reserve(f"name:{name}", "LABEL_NAME_TAKEN")]
        case LabelRenamed(before=before, name=name):
            return [Release(f"name:{before}"), Reserve(f"name:{name}", "LABEL_NAME_TAKEN")]
        case LabelDeleted(name=name):
            return [Release(f"name:{name}")]


def apply(row: LabelRow, recorded: RecordedEvent[LabelEvent]) -> LabelRow:
    match recorded.event:
        case LabelCreated(label_id=id_, name=name):
            return LabelRow(id=id_, name=name)
        case LabelRenamed(name=name):
            return row.replace(name=name)
        case LabelDeleted():
            return LabelRow()


label_category = Category(
    "label",
    Decider[LabelCommand, str, LabelEvent](
        (AddLabel, RenameLabel, DeleteLabel),
        lambda command: f"label-{command.label_id}",
        "",
        decide,
        evolve,
        reservations,
        initial_commands=(AddLabel,),
    ),
    LabelRow(),
    apply,
    is_deleted=lambda row: row.id == 0,
)


async def prepare_label(ctx: Context, command: CreateLabel) -> AddLabel:
    return AddLabel(label_id=await ctx.next_id("label"), name=command.name)


async def get_label(ctx: Context, query: GetLabel) -> LabelRow:
    row: LabelRow | None = await ctx.read_model(LabelRow).get(f"label-{query.label_id}")
    if row is None:
        raise RequestRejected("LABEL_NOT_FOUND")
    return row


async def list_labels(ctx: Context, _query: ListLabels) -> Labels:
    return Labels(labels=tuple(await ctx.read_model(LabelRow).find({}, [("id", 1)])))


def create_service() -> Service:
    return Service(
        "labels",
        categories=(label_category,),
        command_flows=(CommandFlow(CreateLabel, prepare_label),),
        handlers=(Handler(GetLabel, get_label), Handler(ListLabels, list_labels)),
    )
