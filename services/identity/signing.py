"""The keys that sign tokens: numbered, sealed, the same for all replicas; the newest one signs, all of them verify."""

from contextlib import suppress

from pymongo.errors import DuplicateKeyError

from contracts.identity import PublicKeys, VerificationKeys
from libs.security.tokens import SigningKey, new_signing_key
from libs.service import Context

SUBJECT = "signing-keys"


async def ensure_signing_key(ctx: Context) -> None:
    """The first key; of several replicas that make one at once, one does."""
    if await ctx.collection("signing_keys").find_one({}, {"_id": 1}) is None:
        await _add_key(ctx, 1)


async def signing_key(ctx: Context) -> SigningKey:
    stored = await ctx.collection("signing_keys").find_one({}, sort=[("_id", -1)])
    private_pem = await ctx.vault.open(SUBJECT, stored["sealed_private_pem"])
    return SigningKey(kid=stored["kid"], private_pem=private_pem, public_pem=stored["public_pem"])


async def public_keys(ctx: Context, _query: PublicKeys) -> VerificationKeys:
    return VerificationKeys(keys={one["kid"]: one["public_pem"] async for one in ctx.collection("signing_keys").find()})


async def _add_key(ctx: Context, number: int) -> None:
    key = new_signing_key()
    sealed = await ctx.vault.seal(SUBJECT, key.private_pem)
    document = {"_id": number, "kid": key.kid, "public_pem": key.public_pem, "sealed_private_pem": sealed}
    with suppress(DuplicateKeyError):  # another replica was faster: its key is as good
        await ctx.collection("signing_keys").insert_one(document)
