"""The device wire protocol without I/O: bytes and frames in, frames and effects out, nothing awaited."""
