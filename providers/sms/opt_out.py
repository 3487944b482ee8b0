"""What a recipient may answer to a text: the words that stop and start them.

https://help.twilio.com/articles/223134027 (Twilio's default keywords); T, TD and 退订 are what Chinese carriers use.
"""

_OUT = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "T", "TD", "退订"})
_IN = frozenset({"START", "YES", "UNSTOP"})


def opt_out_of(text: str, kind: str | None = None) -> bool | None:
    """True: no more texts; False: texts again; None: something else. *kind*: how the carrier read it."""
    word = (kind or text).strip().strip(".!").upper()
    if word in _OUT:
        return True
    return False if word in _IN else None
