"""Templates: plain named substitution, inert values, the fallback chain of locales."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.template import (
    BadText,
    MissingParams,
    Texts,
    chain,
    choose,
    read_text,
    render,
    render_text,
    write_param,
)

LOCALES = ["en", "zh", "zh-Hant", "pt-BR"]


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [
        ("zh-Hant-TW", "zh-Hant"),
        ("zh_hant_hk", "zh-Hant"),
        ("zh-CN", "zh"),
        ("PT-br", "pt-BR"),
        ("pt-PT", "en"),  # a broader one than was asked for, never another region
        ("en-x-private", "en"),
        (None, "en"),
        ("fr", "en"),
    ],
)
def test_the_closest_locale_is_chosen(wish: str | None, chosen: str) -> None:
    assert choose(LOCALES, [wish], "en") == chosen


def test_the_first_wish_with_anything_in_its_chain_counts() -> None:
    assert choose(LOCALES, ["fr-CA", "zh-Hant-TW", "pt-BR"], "en") == "zh-Hant"


def test_a_chain_goes_from_close_to_broad() -> None:
    assert list(chain("zh-Hant-TW")) == ["zh-hant-tw", "zh-hant", "zh"]


@pytest.mark.parametrize(
    "text",
    [
        "{name.__class__}",
        "{0}",
        "{name!r}",
        "{name:>9999999}",
        "{name[0]}",
        "{}",
        "{Name}",
        "{ name }",
        "{a",
        "a}",
    ],
)
def test_anything_but_a_plain_name_in_braces_is_refused(text: str) -> None:
    with pytest.raises(BadText):
        read_text(text)


def test_doubled_braces_are_braces() -> None:
    assert read_text("{{name}} {a}") == {"a"}
    assert render_text("{{name}} {a}", {"a": "b"}) == "{name} b"


@given(st.text(), st.text())
def test_a_value_is_never_read_as_a_text(value: str, other: str) -> None:
    assert render_text("[{a}|{b}]", {"a": value, "b": other}) == f"[{value}|{other}]"


@given(st.text())
def test_any_text_is_refused_or_renders(text: str) -> None:
    try:
        names = read_text(text)
    except BadText:
        return
    assert isinstance(render_text(text, dict.fromkeys(names, "{x}%s\\1")), str)


def test_missing_parameters_are_named() -> None:
    with pytest.raises(MissingParams) as missing:
        render(Texts(title="{b} {a}", sms="{c}"), "en", {"a": "1"})
    assert missing.value.names == ("b", "c")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("x", "x"), (3, "3"), (1.5, "1.5"), (True, "true"), (None, None), ([1], None), ({"a": 1}, None)],
)
def test_texts_numbers_and_truth_are_values(value: Any, shown: str | None) -> None:
    assert write_param(value) == shown
