"""Masking of secrets in the texts of a report, before anything of it is stored.

A text that was truncated may end within a secret. If its end could be the beginning of a secret, that end is cut off.
"""

from collections.abc import Iterator, Sequence

from contracts.builds import ReportedCase
from libs.security.masking import SecretMasker
from services.builds.reports.junit_parser import MAX_DETAILS_LENGTH, MAX_MESSAGE_LENGTH, MAX_NAME_LENGTH

BATCH_SIZE = 50
MAX_LENGTHS = {
    "suite": MAX_NAME_LENGTH,
    "class_name": MAX_NAME_LENGTH,
    "name": MAX_NAME_LENGTH,
    "file": MAX_NAME_LENGTH,
    "message": MAX_MESSAGE_LENGTH,
    "details": MAX_DETAILS_LENGTH,
}
"""Texts of a test, and their lengths if they are truncated."""


def mask_text(masker: SecretMasker, text: str, max_length: int) -> str:
    masked, _incomplete = masker.apply(text.encode(), final=len(text) < max_length)
    return masked.decode(errors="replace")


def mask_cases(masker: SecretMasker, cases: Sequence[ReportedCase]) -> Iterator[list[ReportedCase]]:
    """Yield the masked tests in batches. The caller can do other work between them.

    Only a batch in whose texts a secret is found, and truncated texts, are masked one by one.
    """
    for offset in range(0, len(cases), BATCH_SIZE):
        batch = cases[offset : offset + BATCH_SIZE]
        texts = "\n".join(getattr(case, name) for case in batch for name in MAX_LENGTHS)
        may_have_secrets = mask_text(masker, texts, len(texts) + 1) != texts
        yield [_mask_case(masker, case) if may_have_secrets or _is_truncated(case) else case for case in batch]


def _is_truncated(case: ReportedCase) -> bool:
    return any(len(getattr(case, name)) >= max_length for name, max_length in MAX_LENGTHS.items())


def _mask_case(masker: SecretMasker, case: ReportedCase) -> ReportedCase:
    texts = {name: mask_text(masker, getattr(case, name), length) for name, length in MAX_LENGTHS.items()}
    return case.replace(**texts)
