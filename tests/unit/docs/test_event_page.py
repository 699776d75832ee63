"""The event page: the whole AsyncAPI document in one self-contained file."""

import re

from gateway.asyncapi_page import event_page
from gateway.openapi import load_contract

DOCUMENT = load_contract("asyncapi.json")
PAGE = event_page(DOCUMENT)


def test_every_event_has_an_anchor_and_a_navigation_link() -> None:
    anchors, links = (
        set(re.findall(pattern, PAGE)) for pattern in (r'<section id="([^"]+)"', r'<a href="#(\w+\.\w+)">')
    )
    assert anchors == links == DOCUMENT["channels"].keys()


def test_every_subject_and_header_is_shown() -> None:
    subjects = [channel["address"] for channel in DOCUMENT["channels"].values()]
    headers = DOCUMENT["components"]["schemas"]["CloudEventHeaders"]["properties"]
    assert [name for name in (*subjects, *headers) if f"<code>{name}</code>" not in PAGE] == []


def test_a_payload_is_shown_field_by_field_and_by_example() -> None:
    (section,) = re.findall(r'<section id="builds.JobFinished">.*?</section>', PAGE, re.DOTALL)
    assert "<td><code>status</code><td><td>CREATED | MANUAL |" in section
    assert "&quot;exit_code&quot;: 0" in section


def test_the_event_page_loads_no_external_resources() -> None:
    assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"|@import|url\(', PAGE) == []
