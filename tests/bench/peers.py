"""The baseline of the benchmark: a plain FastAPI application that stores and returns the same data."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel
from pymongo import AsyncMongoClient, WriteConcern


class Executor(BaseModel):
    name: str
    driver: str


class Body(BaseModel):
    executor: Executor


def create_app(mongodb_url: str, listing: bytes) -> FastAPI:
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(mongodb_url)
    executors = client.get_database("bench_peer", write_concern=WriteConcern("majority", j=True))["executors"]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await client.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/executors", status_code=201)
    async def create(body: Body) -> dict[str, object]:
        document: dict[str, object] = {**body.executor.model_dump(), "variables": {}, "at": datetime.now(UTC)}
        inserted = await executors.insert_one(document)
        return {"id": str(inserted.inserted_id), "name": body.executor.name, "driver": body.executor.driver}

    @app.get("/listing")
    async def show() -> Response:
        return Response(listing, media_type="application/json")

    return app


if __name__ == "__main__":
    port, file = sys.argv[1:]
    with open(file, "rb") as listing_file:
        listing = listing_file.read()
    app = create_app(os.environ["BENCH_MONGODB_URL"], listing)
    config = uvicorn.Config(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
    asyncio.run(uvicorn.Server(config).serve())
