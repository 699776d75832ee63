"""A canceled wait on a condition variable of the MongoDB driver releases the lock."""

import asyncio

from pymongo.lock import _async_cond_wait, _async_create_condition, _async_create_lock  # noqa: PLC2701  the code under test

import libs.service.connections  # noqa: F401 - makes the driver's waits safe


async def test_a_driver_wait_canceled_during_its_timeout_releases_its_lock() -> None:
    lock = _async_create_lock()
    condition = _async_create_condition(lock)

    async def wait() -> None:
        async with lock:
            await _async_cond_wait(condition, 0.01)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)  # the task waits for the condition and has released the lock
    await lock.acquire()
    await asyncio.wait({waiting}, timeout=0.05)  # the wait has timed out, but cannot return before it gets the lock
    waiting.cancel()
    lock.release()
    await asyncio.wait({waiting})
    async with asyncio.timeout(10):
        await lock.acquire()
