"""Choice of the blob store for artifacts."""

from libs.settings import Settings
from services.builds.artifacts.blob_store import BlobStore, MongoBlobStore


def create_blob_store(settings: Settings) -> BlobStore:
    """Return the store for artifacts: the configured bucket, or MongoDB if no bucket is configured."""
    if not settings.s3.bucket:
        return MongoBlobStore()
    # imported only here, because the S3 library takes memory in every process that loads it
    from services.builds.artifacts.s3_storage import S3BlobStore

    return S3BlobStore(settings.s3, f"{settings.database_prefix}/artifacts", MongoBlobStore(), settings.ca_file)
