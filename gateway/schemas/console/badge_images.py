"""The badge of a project as an SVG image, and the feed `cc.xml` of CCTray clients."""

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

LABEL = "build"
CHARACTER_WIDTH, PADDING, HEIGHT = 7, 6, 20  # pixels; the text is stretched to this width
SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" aria-label="{label}: {status}">
<title>{label}: {status}</title>
<rect width="{width}" height="{height}" rx="3" fill="#444"/>
<path d="M{left} 0h{right_minus_3}a3 3 0 0 1 3 3v{height_minus_6}a3 3 0 0 1-3 3h-{right_minus_3}z" fill="{color}"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="{padding}" y="14" textLength="{label_length}">{label}</text>
<text x="{status_x}" y="14" textLength="{status_length}">{status}</text>
</g>
</svg>
"""
COLORS = {"passing": "#1a7f37", "failing": "#b42318", "canceled": "#57606a", "unknown": "#57606a"}
STATUS_TEXTS = {"SUCCESS": "passing", "FAILED": "failing", "KILLED": "canceled"}
"""Texts by status of the last finished build; Without one, it is `unknown`."""
CCTRAY_STATUSES = {"passing": "Success", "failing": "Failure", "canceled": "Exception", "unknown": "Unknown"}


@dataclass(frozen=True)
class PublishedResult:
    """The published result of a project's last build."""

    name: str  # owner and alias
    web_url: str
    status: str = "unknown"
    is_building: bool = False
    label: str = ""  # number of the last finished build in the project
    finished_at: str = ""


def draw_badge(status: str) -> str:
    """Return the image for a text of COLORS."""
    label_length, status_length = (CHARACTER_WIDTH * len(text) for text in (LABEL, status))
    left, right = label_length + 2 * PADDING, status_length + 2 * PADDING
    return SVG.format(
        width=left + right,
        height=HEIGHT,
        height_minus_6=HEIGHT - 6,
        left=left,
        right_minus_3=right - 3,
        padding=PADDING,
        status_x=left + PADDING,
        label=LABEL,
        status=status,
        label_length=label_length,
        status_length=status_length,
        color=COLORS[status],
    )


def write_feed(results: Iterable[PublishedResult]) -> bytes:
    """Return the feed. Format: https://cctray.org/v1/"""
    top = ET.Element("Projects")
    for result in results:
        ET.SubElement(
            top,
            "Project",
            {
                "name": result.name,
                "activity": "Building" if result.is_building else "Sleeping",
                "lastBuildStatus": CCTRAY_STATUSES[result.status],
                "lastBuildLabel": result.label,
                "lastBuildTime": result.finished_at,
                "webUrl": result.web_url,
            },
        )
    feed: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return feed
