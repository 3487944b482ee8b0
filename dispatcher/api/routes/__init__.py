"""One file a subject; each handler reads as decode, ask the core, answer."""
