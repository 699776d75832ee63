"""Client of the HTTP API for the demo. It uses public routes only."""

from types import TracebackType
from typing import Any, Self

import httpx

from infra.local.process import OperatorError

TIMEOUT_SECONDS = 20.0


class ApiError(OperatorError):
    def __init__(self, call: str, status: int, code: str, detail: str) -> None:
        super().__init__(f"{call} failed with {status} {code}: {detail}")
        self.code = code


class ApiClient:
    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api", timeout=TIMEOUT_SECONDS, trust_env=False)

    @classmethod
    def sign_in(cls, url: str, username: str, password: str) -> Self:
        api = cls(url)
        token = api.post("/auth/token", auth={"username": username, "password": password})["access_token"]
        api._client.headers["Authorization"] = f"Bearer {token}"
        return api

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        return self._request("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        call = f"{method} {self.url}/api{path}"
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise OperatorError(
                f"{call} got no response ({type(error).__name__}). Check the stack with `headrace status`."
            ) from error
        if response.is_error:
            problem = response.json() if "json" in response.headers.get("content-type", "") else {}
            raise ApiError(
                call, response.status_code, problem.get("message", ""), problem.get("detail") or response.text[:200]
            )
        return response.json() if response.content else None
