"""The wire of status webhooks: whose addresses may be called, how a POST is signed, how it leaves."""
