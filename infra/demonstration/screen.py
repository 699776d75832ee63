"""What the demonstration shows: colours and a spinner in a terminal, plain lines elsewhere."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.rule import Rule
from rich.status import Status
from rich.text import Text

from infra.demonstration.log import Closed, Line, News, Opened, Waiting
from infra.events import Happened, show


class Screen:
    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._status: Status | None = None
        self._waiting = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.calm()

    def title(self, text: str) -> None:
        self.calm()
        self._console.print()
        if self._console.is_terminal:
            self._console.print(Rule(Text(text, "bold"), align="left", style="dim"))
        else:
            self._console.print(f"== {text}", markup=False)

    def say(self, text: str | Text) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def fact(self, name: str, value: str) -> None:
        self.say(Text.assemble("  ", (f"{name:<12}", "bold"), value))

    def busy(self, text: str) -> None:
        """Until the next title, or `calm`. Without a terminal it is a line, said once."""
        if not self._console.is_terminal:
            if text != self._waiting:
                self.say(f"  {text}")
        elif self._status is None:
            self._status = self._console.status(Text(text, "dim"))
            self._status.start()
        elif text != self._waiting:
            self._status.update(Text(text, "dim"))
        self._waiting = text

    def calm(self) -> None:
        if self._status:
            self._status.stop()
        self._status, self._waiting = None, ""

    def log(self, news: News) -> None:
        match news:
            case Waiting(reason):
                self.busy(reason)
            case Opened(step):
                self.say(Text.assemble(("> ", "cyan"), (step, "bold cyan")))
                if self._console.is_terminal:
                    self.busy(f"{step} ...")
            case Line(text):
                self.say(Text.assemble(("  | ", "dim"), Text.from_ansi(text)))
            case Closed(step, skipped=True):
                self.say(Text(f"  - {step} skipped", "dim"))
            case Closed(step, seconds, success):
                good = success is not False
                self.say(Text(f"  {'ok' if good else 'FAILED'}  {seconds:.1f} s", "green" if good else "bold red"))

    def result(self, text: str, *, good: bool) -> None:
        self.say(Text(text, "bold green" if good else "bold red"))

    def events(self, events: Iterable[Happened]) -> None:
        for one in events:
            show(self._console, one)

    def ways(self, ways: Mapping[str, str]) -> None:
        """What can be done, and how."""
        for what, how in ways.items():
            self.say(Text(f"  {what}"))
            self.say(Text(f"      {how}", "cyan"))
