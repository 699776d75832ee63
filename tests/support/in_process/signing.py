"""The key with which a running identity service signs tokens, to issue tokens that the service would not issue."""

from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.security.tokens import SigningKey
from libs.service.connections import create_vault
from libs.settings import Settings
from services.identity.authentication.signing_keys import ENCRYPTION_SUBJECT, KEYS_COLLECTION


async def read_signing_key(database: AsyncDatabase[Document], settings: Settings) -> SigningKey:
    stored = await database[KEYS_COLLECTION].find_one(sort=[("_id", -1)])
    assert stored
    private_pem = await create_vault(database, settings).decrypt(ENCRYPTION_SUBJECT, stored["sealed_private_pem"])
    return SigningKey(stored["kid"], private_pem, stored["public_pem"])
