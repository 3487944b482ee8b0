"""One set of colours for paths and states, in both themes. Never the only sign: every colour stands beside its word."""

#: By path: (light, dark). Told apart also by people who see red and green alike (after Okabe and Ito, 2008).
PATH_COLOURS = {
    "longconn": ("#0f766e", "#2dd4bf"),
    "push": ("#1d4ed8", "#7aa2f7"),
    "apns": ("#1d4ed8", "#7aa2f7"),
    "fcm": ("#b45309", "#f5b454"),
    "poll": ("#6d28d9", "#b79cf9"),
    "sms": ("#be185d", "#f783b8"),
}

#: What a state means for the eye: good, busy, warn, bad, quiet.
TONES = {
    "confirmed": "good",
    "active": "good",
    "closed": "good",
    "online": "good",
    "live": "good",
    "delivered": "good",
    "opened": "good",
    "displayed": "good",
    "handed_over": "busy",
    "open": "busy",
    "held": "busy",
    "scheduled": "busy",
    "syncing": "busy",
    "parked": "busy",
    "partial": "busy",
    "half_open": "warn",
    "reconnecting": "warn",
    "retry_later": "warn",
    "stale": "warn",
    "expired": "warn",
    "exhausted": "bad",
    "rejected": "bad",
    "dead": "bad",
    "token_dead": "bad",
    "suppressed": "quiet",
    "recalled": "quiet",
    "offline": "quiet",
    "retired": "quiet",
}


def path_colour(path: str, *, dark: bool) -> str:
    """The colour of a path."""
    light_colour, dark_colour = PATH_COLOURS.get(path, ("#475569", "#94a3b8"))
    return dark_colour if dark else light_colour


def ink(*, dark: bool) -> dict[str, str]:
    """Text, lines and grounds of charts."""
    if dark:
        return {"text": "#e6eaf2", "muted": "#9aa6bb", "line": "#2a3448", "ground": "#151c2b", "accent": "#8ea2ff"}
    return {"text": "#1a2233", "muted": "#566178", "line": "#dfe4ee", "ground": "#ffffff", "accent": "#3d4fd6"}
