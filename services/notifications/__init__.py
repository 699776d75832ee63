"""Notifications: mails that are wished, tried and accounted for."""
