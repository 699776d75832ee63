"""The badges of a project as SVG images, and the feed `cc.xml` of CCTray clients."""

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

UNKNOWN = "unknown"
CHARACTER_WIDTH, PADDING, HEIGHT = 7, 6, 20  # in pixels; the text is stretched to this width per character
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
COVERAGE_COLORS = ((90, "#1a7f37"), (75, "#6b6a12"), (50, "#8f5a00"), (0, "#b42318"))
"""Colors by the lowest percentage that has them."""
STATUS_TEXTS = {"SUCCESS": "passing", "FAILED": "failing", "KILLED": "canceled"}
"""Status of the last finished build -> text of the badge. Without a finished build, the text is `unknown`."""
CCTRAY_STATUSES = {"passing": "Success", "failing": "Failure", "canceled": "Exception", "unknown": "Unknown"}


@dataclass(frozen=True)
class PublishedResult:
    """The result of a project's last finished build, with the name and URL of the project."""

    name: str  # owner/alias
    web_url: str
    status: str = UNKNOWN
    is_building: bool = False
    label: str = ""  # number of the last finished build in the project
    finished_at: str = ""


def draw_status_badge(status: str) -> str:
    """Return the badge as SVG. `status`: a key of COLORS."""
    return _draw("build", status, COLORS[status])


def draw_coverage_badge(percent: float | None) -> str:
    """Return the badge as SVG; if `percent` is None, with the text `unknown`."""
    if percent is None:
        return _draw("coverage", UNKNOWN, COLORS[UNKNOWN])
    color = next(color for lowest, color in COVERAGE_COLORS if percent >= lowest)
    return _draw("coverage", f"{percent:.1f} %", color)


def _draw(label: str, status: str, color: str) -> str:
    label_length, status_length = (CHARACTER_WIDTH * len(text) for text in (label, status))
    left, right = label_length + 2 * PADDING, status_length + 2 * PADDING
    return SVG.format(
        width=left + right,
        height=HEIGHT,
        height_minus_6=HEIGHT - 6,
        left=left,
        right_minus_3=right - 3,
        padding=PADDING,
        status_x=left + PADDING,
        label=label,
        status=status,
        label_length=label_length,
        status_length=status_length,
        color=color,
    )


def write_feed(results: Iterable[PublishedResult]) -> bytes:
    """Return the feed as XML in UTF-8. Format: https://cctray.org/v1/"""
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
