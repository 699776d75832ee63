"""Output of the demo: colors and a spinner in a terminal, plain lines elsewhere."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.rule import Rule
from rich.status import Status
from rich.text import Text

from infra.demo.log_reader import BuildWaiting, LogEvent, LogLine, StepFinished, StepStarted
from infra.event_stream import EventRecord, print_event


class Ui:
    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._status: Status | None = None
        self._spinner_text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.stop_spinner()

    def show_title(self, text: str) -> None:
        self.stop_spinner()
        self._console.print()
        if self._console.is_terminal:
            self._console.print(Rule(Text(text, "bold"), align="left", style="dim"))
        else:
            self._console.print(f"== {text}", markup=False)

    def show_text(self, text: str | Text) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def show_field(self, name: str, value: str) -> None:
        self.show_text(Text.assemble("  ", (f"{name:<12}", "bold"), value))

    def show_spinner(self, text: str) -> None:
        """Show a spinner until the next title or `stop_spinner`. Without a terminal, print the text once."""
        if not self._console.is_terminal:
            if text != self._spinner_text:
                self.show_text(f"  {text}")
        elif self._status is None:
            self._status = self._console.status(Text(text, "dim"))
            self._status.start()
        elif text != self._spinner_text:
            self._status.update(Text(text, "dim"))
        self._spinner_text = text

    def stop_spinner(self) -> None:
        if self._status:
            self._status.stop()
        self._status, self._spinner_text = None, ""

    def show_log_event(self, event: LogEvent) -> None:
        match event:
            case BuildWaiting(reason):
                self.show_spinner(reason)
            case StepStarted(step):
                self.show_text(Text.assemble(("> ", "cyan"), (step, "bold cyan")))
                if self._console.is_terminal:
                    self.show_spinner(f"{step} ...")
            case LogLine(text):
                self.show_text(Text.assemble(("  | ", "dim"), Text.from_ansi(text)))
            case StepFinished(step, skipped=True):
                self.show_text(Text(f"  - {step} skipped", "dim"))
            case StepFinished(step, seconds, success):
                good = success is not False
                self.show_text(
                    Text(f"  {'ok' if good else 'FAILED'}  {seconds:.1f} s", "green" if good else "bold red")
                )

    def show_result(self, text: str, *, success: bool) -> None:
        self.show_text(Text(text, "bold green" if success else "bold red"))

    def show_events(self, events: Iterable[EventRecord]) -> None:
        for event in events:
            print_event(self._console, event)

    def show_next_steps(self, steps: Mapping[str, str]) -> None:
        """Print each suggested action with its command. `steps`: command by action."""
        for what, how in steps.items():
            self.show_text(Text(f"  {what}"))
            self.show_text(Text(f"      {how}", "cyan"))
