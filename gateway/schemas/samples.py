"""Sample values in the OpenAPI document."""

UUID = "0e3f0a9c-7f7b-4b7e-9d57-0a6c0d0e4c11"
MOMENT = "2026-03-01T10:15:30.123000Z"
