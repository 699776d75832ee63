"""Model test of registration tokens: a scope has at most one, and none after its company or project was deleted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant

from contracts.runners import RegistrationRow, RegistrationTokenReset, RegistrationTokenWithdrawn
from services.runners.domain.internal_commands import (
    IssueRegistrationToken,
    ReplaceRegistrationToken,
    WithdrawRegistrationToken,
)
from services.runners.domain.registration import RegistrationCommand
from services.runners.projections import registration_category
from tests.support.model_tests.decider_machine import ACCEPTED, IGNORED, DeciderMachine, run_machine, seldom

OWNED_SCOPES = ("company-4", "project-84")
WITHDRAWN = ""


@dataclass(frozen=True)
class RegistrationModel:
    tokens: Mapping[str, str] = field(default_factory=dict)  # scope -> token

    def send(self, command: RegistrationCommand) -> tuple["RegistrationModel", str]:
        token = self.tokens.get(command.scope)
        match command:
            case WithdrawRegistrationToken():
                return (self, IGNORED) if token == WITHDRAWN else (self.with_token(command.scope, WITHDRAWN), ACCEPTED)
            case _ if token == WITHDRAWN:
                return self, "COMPANY_NOT_FOUND" if command.scope == "company-4" else "PROJECT_NOT_FOUND"
            case IssueRegistrationToken() if token is not None:
                return self, IGNORED
            case _:
                return self.with_token(command.scope, command.token_hash), ACCEPTED

    def with_token(self, scope: str, token: str) -> "RegistrationModel":
        return RegistrationModel({**self.tokens, scope: token})


scopes, tokens = st.sampled_from(("service", *OWNED_SCOPES)), st.integers(1, 9)


class RegistrationMachine(DeciderMachine[RegistrationModel]):
    categories = (registration_category,)
    deletions = (RegistrationTokenWithdrawn,)
    commands = seldom(
        st.builds(WithdrawRegistrationToken, st.sampled_from(OWNED_SCOPES)),
        st.one_of(
            st.builds(lambda scope, n: IssueRegistrationToken(scope, f"hash-{n}", f"sealed-{n}"), scopes, tokens),
            st.builds(lambda scope, n: ReplaceRegistrationToken(scope, f"hash-{n}", f"sealed-{n}"), scopes, tokens),
        ),
    )

    def new_model(self) -> RegistrationModel:
        return RegistrationModel()

    @invariant()
    def a_scope_has_the_token_that_it_got_last(self) -> None:
        for scope, token in self.model.tokens.items():
            row = self.followed[f"registration-{scope}"].row
            assert isinstance(row, RegistrationRow)
            assert row.token_hash == token
            assert row.token_sealed == token.replace("hash", "sealed")
            assert row.scope == (scope if token else "")

    @invariant()
    def a_scope_with_a_token_gets_no_other_one_without_a_reset(self) -> None:
        issued = [answer for answer in self.answers if isinstance(answer.request.command, IssueRegistrationToken)]
        for answer in issued:
            if answer.verdict == ACCEPTED and answer.result:
                assert answer.result.version == 1
                assert isinstance(answer.result.new_events[0].event, RegistrationTokenReset)


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_registration_tokens_follow_the_model() -> None:
    run_machine(RegistrationMachine)
