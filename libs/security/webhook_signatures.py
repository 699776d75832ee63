"""Verification of the signatures of webhooks."""

import hashlib
import hmac
from typing import Literal


def is_signature_valid(provider: Literal["github", "gitlab"], key: str, signature: str, body: bytes) -> bool:
    """Return whether the signature proves that the sender knows the key. The comparison takes constant time.

    GitHub signs the body: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries. GitLab
    sends the key itself as a token.
    """
    expected = key
    if provider == "github":
        expected = f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"
    return hmac.compare_digest(expected.encode(), signature.encode())
