"""The settings table of README.md, made from the code: `.venv/bin/python ops/settings_table.py` writes it anew."""

from pathlib import Path

from dispatcher.settings_table import describe_settings

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- settings: made by ops/settings_table.py -->", "<!-- end of settings -->"


def table() -> str:
    """All settings in Markdown."""
    rows = ["| setting | default | what it says |", "|---|---|---|"]
    for info in describe_settings():
        default = "**required**" if info.required else f"`{info.default}`" if info.default else ""
        bounds = f" ({info.bounds})" if info.bounds else ""
        meaning = f"{info.kind}: {info.description}{bounds}".replace("|", "\\|")
        rows.append(f"| `{info.name}` | {default} | {meaning} |")
    return "\n".join(rows)


def with_table(text: str) -> str:
    """*text* of the README with the table as it must be."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
