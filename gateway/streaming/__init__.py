"""Responses and requests that stay open or are streamed: downloads, server-sent events, long polls."""
