"""Webhook requests from forges: deliveries, payloads and rejections."""
