"""Avatars of users. A picture is drawn from its file name alone, so no pictures are stored."""

import colorsys
import hashlib
import re
import struct
import zlib
from functools import lru_cache

FILE_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.png")
CELLS_PER_ROW = 5  # also the number of rows of an avatar; the right half of a row mirrors the left half
CELL_PIXELS = 40
BACKGROUND = (240, 240, 240)
CACHE_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}


def avatar_path(uuid: str) -> str:
    return f"/upload/img/{uuid}.png"


@lru_cache(maxsize=1024)
def draw_identicon(name: str) -> bytes:
    """Return a PNG of 5 by 5 cells in one color, determined by a hash of the name."""
    digest = hashlib.sha256(name.encode()).digest()
    color = colorsys.hls_to_rgb(digest[0] / 256, 0.45, 0.55)
    lines = b"".join(_draw_row(digest[1 + 3 * row : 4 + 3 * row]) * CELL_PIXELS for row in range(CELLS_PER_ROW))
    palette = bytes((*BACKGROUND, *(round(255 * part) for part in color)))
    side = CELLS_PER_ROW * CELL_PIXELS
    header = struct.pack(">IIBBBBB", side, side, 8, 3, 0, 0, 0)  # 8-bit palette image
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, content) for kind, content in chunks)


def _draw_row(left: bytes) -> bytes:
    """Return one row of pixels: filter type 0, then the cells of `left` and their mirror image."""
    cells = [byte % 2 for byte in (*left, *reversed(left[:-1]))]
    return bytes((0, *(cell for cell in cells for _ in range(CELL_PIXELS))))


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
