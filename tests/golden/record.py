"""`python -m tests.golden.record 0.2.0`: lives a life on this code, and keeps what it leaves behind. See README.md."""

import asyncio
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from infra.entry import PUBLIC
from libs.connections import mongo
from libs.messaging import connect, disconnect
from tests.golden import answers
from tests.golden.complete import missing
from tests.golden.dump import write_dump
from tests.golden.jetstream import write_streams
from tests.golden.life import live
from tests.golden.release import release
from tests.golden.unfinished import KEPT, leave_unfinished, settled
from tests.golden.work import REFUSED, failing_build
from tests.support.post_office import PostOffice, post_office

FOLDER = Path(__file__).parent


async def record(version: str, mails: PostOffice) -> None:
    folder = FOLDER / version
    folder.mkdir()
    with tempfile.TemporaryDirectory() as place:
        async with release(Path(place) / "stage", mails) as at_work:
            here, settings = at_work.here, at_work.stage.settings
            mails.refused.add(REFUSED)
            left = await live(here, Path(place))
            bus = await connect(settings, "record")
            await settled(bus)
            await at_work.be_patient()
            await failing_build(here, left.mails, REFUSED.partition("@")[0])
            await settled(bus, but=lambda durable: durable == "notifications-mailer")
            given = await answers.every_answer(here, unsettled=(answers.history(*KEPT),))
            await leave_unfinished(at_work, left)
            await write_streams(folder / "streams.bson.gz", bus, PUBLIC)
            await disconnect(bus)
            async with mongo(settings, "record") as client:
                await write_dump(folder / "databases.bson.gz", client, settings)
    answers.write(folder, asdict(left), given)
    if lacks := missing(folder):
        sys.exit("\n".join(["The dump is not complete:", *lacks]))


def main(version: str) -> None:
    with post_office() as mails:
        asyncio.run(record(version, mails))


if __name__ == "__main__":
    main(sys.argv[1])
