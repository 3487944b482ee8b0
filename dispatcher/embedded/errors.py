"""What can go wrong while processes are started, in words for the person at the terminal."""


class LaunchError(Exception):
    """A process, a server or a directory could not be had; the text says why and what to do."""


class PortTakenError(LaunchError):
    """A wanted port belongs to another process."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} on 127.0.0.1 is taken by another process. Free it, or use --ports auto.")
        self.port = port


class DirectoryInUseError(LaunchError):
    """Another supervisor or launcher holds the data directory."""
