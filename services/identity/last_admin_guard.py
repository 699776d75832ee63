"""The guard that keeps at least one enabled administrator.

Administrators can hold numbered anchors. Each number is reserved, so it is assigned once. The holder of the highest
anchor cannot be disabled, demoted or deleted. To remove that administrator, the service first assigns the next number
to another one.
"""

from contracts.errors import RequestRejected
from contracts.identity import AnchorAdministrator, ChangeRoles, DeleteUser, SetUserEnabled
from libs.service.declaration import Context
from services.identity.projections import UserRow

ENABLED_ADMINISTRATORS = {"enabled": True, "roles": "ROLE_ADMIN"}

AdminRemoval = ChangeRoles | SetUserEnabled | DeleteUser


async def prepare_admin_removal(ctx: Context, command: AdminRemoval) -> AdminRemoval:
    """Set `anchor` to the highest anchor that another administrator holds.

    If the user to be removed holds the highest anchor, the next number is assigned to another administrator first.
    Raise RequestRejected if there is no other enabled administrator.
    """
    row = await ctx.read_model(UserRow).get(f"user-{command.user_id}")
    if row is None or not (row.enabled and "ROLE_ADMIN" in row.roles) or remains_administrator(command):
        return command.replace(anchor=0)
    holder = await find_anchor_holder(ctx)
    if holder is not None and holder.id != row.id:
        return command.replace(anchor=holder.anchor)
    successor = await ctx.read_model(UserRow).find_one({**ENABLED_ADMINISTRATORS, "id": {"$ne": row.id}})
    if successor is None:
        raise RequestRejected("DEVELOPER_LAST_ADMINISTRATOR")
    anchored = await ctx.send(AnchorAdministrator(user_id=successor.id))
    return command.replace(anchor=anchored.row["anchor"])


def remains_administrator(command: AdminRemoval) -> bool:
    """Return whether the command leaves the user an enabled administrator."""
    match command:
        case ChangeRoles(roles=roles):
            return roles is not None and "ROLE_ADMIN" in roles
        case SetUserEnabled(enabled=enabled):
            return enabled is not False
        case DeleteUser():
            return False


async def prepare_anchor(ctx: Context, command: AnchorAdministrator) -> AnchorAdministrator:
    """Set the number that follows the highest anchor."""
    holder = await find_anchor_holder(ctx)
    return command.replace(anchor=holder.anchor + 1 if holder else 1)


async def find_anchor_holder(ctx: Context) -> UserRow | None:
    holders = await ctx.read_model(UserRow).find({"anchor": {"$gt": 0}}, [("anchor", -1)], limit=1)
    return holders[0] if holders else None
