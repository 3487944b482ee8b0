"""Settings of a benchmark on embedded servers of its own."""

from dispatcher.embedded.servers import Servers

SECRET = "benchmark-benchmark-benchmark-benchmark"  # noqa: S105 - of data that is thrown away


def environ_of(servers: Servers, **more: str) -> dict[str, str]:
    """The variables that name *servers*; *more* by a setting's variable without its prefix."""
    return {
        "PUSHPATH_LEDGER_URL": servers.ledger_url,
        "PUSHPATH_HOT_STORE_URL": servers.hot_store_url,
        "PUSHPATH_SECRET_KEY": SECRET,
        **{f"PUSHPATH_{name}": value for name, value in more.items()},
    }
