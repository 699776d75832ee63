"""`python -m infra.demo.recording`: record a real `headrace server demo` as docs/images/demo.svg.

Recording starts a stack and takes some seconds, so `make docs` does not run it.
"""

import os
import pty
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "demo.svg"
COLUMNS = 112
# spinner frames: lines that the demo erases in the terminal
ERASED_LINE = re.compile(r"[^\n]*\r\x1b\[2K|[^\n]*\n(?:\x1b\[\?25h)?\r?\x1b\[1A\x1b\[2K")
LAST_SECTION = "Next steps"  # heading of the section that the image leaves out
CURSOR_CONTROL = re.compile(r"\x1b\[\?25[lh]|\x1b\[\d*[A-DJK]|\r")


def record_demo() -> str:
    """Run the demo in a pseudo-terminal. Return its output with ANSI color codes, without the password.

    Raises SystemExit if the demo fails. Sets environment variables of this process.
    """
    output = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 65536)
        output.extend(data)
        return data

    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HEADRACE_DATA=f"{folder}/demo", COLUMNS=str(COLUMNS), TERM="xterm-256color", TZ="UTC")
        status = os.waitstatus_to_exitcode(pty.spawn([sys.executable, "-m", "infra", "demo"], read))
    if status:
        raise SystemExit(f"The demo failed with exit status {status}.")
    return re.sub(r"password \S+ ", "password ******** ", output.decode().replace(folder, "/srv"))


def render_image(recording: str) -> str:
    """Return the recorded output as an SVG picture, without spinner frames."""
    lines = CURSOR_CONTROL.sub("", ERASED_LINE.sub("", recording.replace("\r\n", "\n")))
    lines = lines.partition(LAST_SECTION)[0].rpartition("\n")[0]
    with open(os.devnull, "w") as sink:
        console = Console(record=True, width=COLUMNS, file=sink, force_terminal=True, color_system="256")
        console.print(Text("$ make demo", "bold"))
        for line in lines.strip().splitlines():
            console.print(Text.from_ansi(line), overflow="ellipsis", no_wrap=True, crop=True)
        image = console.export_svg(title="make demo", theme=MONOKAI)
        return re.sub(r"\s*@font-face \{.*?\}", "", image, flags=re.DOTALL)  # load no fonts from other servers


if __name__ == "__main__":
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(render_image(record_demo()))
