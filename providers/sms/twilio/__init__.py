"""Twilio: its own REST client and types on our transport, its RequestValidator as the judge of callbacks."""
