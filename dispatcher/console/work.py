"""A strategy under work: what the tabs of its page share."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Work:
    """The text, and the ETag it must be stored against."""

    name: str
    text: str
    etag: str | None
    #: Where the text came from: draft, published or new.
    origin: str
    #: The text as the API keeps it.
    stored: str = ""

    @property
    def changed(self) -> bool:
        """Whether the text differs from what is stored."""
        return self.text != self.stored
