"""What every provider is; the types stand with the other ports, where the pipeline reads them too."""

from dispatcher.ports.provider import Attempt, Limits, Provider

__all__ = ["Attempt", "Limits", "Provider"]
