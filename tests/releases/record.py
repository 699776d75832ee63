"""`python -m tests.releases.record 0.2.0`: run the services, produce a history and record it (README.md)."""

import asyncio
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from infra.service_catalog import PUBLIC_SERVICES
from libs.messaging.nats_connection import connect, disconnect
from libs.service.connections import create_mongo_client
from tests.releases import answers
from tests.releases.completeness import find_missing
from tests.releases.dump import write_dump
from tests.releases.history import create_history
from tests.releases.jetstream import write_streams
from tests.releases.release import running_release
from tests.releases.unfinished_work import REMAINING_PROJECT, leave_unfinished_work, wait_until_idle
from tests.releases.work import REJECTED_RECIPIENT, run_failing_build
from tests.support.external.mail_server import MailServer, running_mail_server

FOLDER = Path(__file__).parent


async def record_release(version: str, mails: MailServer) -> None:
    folder = FOLDER / version
    folder.mkdir()
    with tempfile.TemporaryDirectory() as place:
        async with running_release(Path(place) / "stage", mails) as release:
            system, settings = release.system, release.stage.settings
            mails.rejected_recipients.add(REJECTED_RECIPIENT)
            leftovers = await create_history(system, Path(place))
            bus = await connect(settings, "record")
            await wait_until_idle(bus)
            await release.use_released_mail_delays()
            await run_failing_build(system, leftovers.mails, REJECTED_RECIPIENT.partition("@")[0])
            await wait_until_idle(bus, is_excluded=lambda durable: durable == "notifications-mailer")
            responses = await answers.read_all_answers(
                system, excluded_paths=(answers.history_path(*REMAINING_PROJECT),)
            )
            await leave_unfinished_work(release, leftovers)
            await write_streams(folder / "streams.bson.gz", bus, PUBLIC_SERVICES)
            await disconnect(bus)
            async with create_mongo_client(settings, "record") as client:
                await write_dump(folder / "databases.bson.gz", client, settings)
    answers.write_answers(folder, asdict(leftovers), responses)
    if missing_items := find_missing(folder):
        sys.exit("\n".join(["The dump is not complete:", *missing_items]))


def main(version: str) -> None:
    with running_mail_server() as mails:
        asyncio.run(record_release(version, mails))


if __name__ == "__main__":
    main(sys.argv[1])
