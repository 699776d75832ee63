"""The user who launched a build. Events and rows contain the user's id; the name is looked up when it is needed."""

from contracts.builds import BuildRow
from libs.eventstore.decider import SYSTEM
from libs.service.declaration import Context


async def with_initiator_name(ctx: Context, build: BuildRow) -> BuildRow:
    """Return the build with the current name of the user who launched it."""
    if not build.initiator_id:
        return build.replace(initiator_name=SYSTEM.name)
    names = await ctx.get_usernames((build.initiator_id,))
    return build.replace(initiator_name=names[build.initiator_id])
