"""One file a change; what was released is never edited."""
