"""Whether a successful build fixes its ref: a branch, a tag or a pull request."""

from contracts.builds import BuildStatus, GetPreviousResult, PreviousResult
from contracts.errors import RequestRejected
from libs.service.declaration import Context


async def is_fix(ctx: Context, build_id: int, version: int) -> bool:
    """Return whether a successful build follows a failure: the previous result as GetPreviousResult defines it.

    `version`: version of the build's stream after its result. Return False if the build was deleted.
    """
    query = GetPreviousResult(build_id=build_id, version=version)
    try:
        previous = await ctx.as_system().query(query, PreviousResult)
    except RequestRejected as rejected:
        if rejected.code != "BUILD_NOT_FOUND":
            raise
        return False
    return previous.status is BuildStatus.FAILED
