"""Problems: RFC 9457 bodies, Retry-After, and what each kind knows about itself."""

import pytest

from dispatcher.errors import FieldError, Kind, Problem, problem_builtins


def test_a_problem_renders_as_rfc_9457_has_it() -> None:
    problem = Problem.invalid_fields([FieldError("ttl", "too long"), FieldError("to", "required")])
    assert problem_builtins(problem) == {
        "type": "urn:pushpath:problem:invalid",
        "title": "The request is not valid",
        "status": 422,
        "code": "invalid",
        "detail": "ttl: too long; to: required",
        "errors": [{"field": "ttl", "message": "too long"}, {"field": "to", "message": "required"}],
    }


@pytest.mark.parametrize(("wait", "seconds"), [(1, "1"), (1_000, "1"), (1_001, "2"), (0, "1")])
def test_retry_after_is_whole_seconds_and_never_zero(wait: int, seconds: str) -> None:
    assert Problem(Kind.RATE_LIMITED, "slow down", retry_after=wait).headers["Retry-After"] == seconds


def test_every_429_and_503_says_when_to_come_back_and_every_401_how_to_log_in() -> None:
    for kind in Kind:
        headers = Problem(kind, "x").headers
        assert ("Retry-After" in headers) == (kind.status in {429, 503})
        assert ("WWW-Authenticate" in headers) == (kind.status == 401)
        assert kind.retry_helps == (kind.status in {429, 500, 503})
    assert Kind.INTERNAL.needs_person
    assert not Kind.RATE_LIMITED.needs_person


def test_problems_are_equal_by_what_they_say() -> None:
    assert Problem.not_found("message") == Problem.not_found("message")
    assert Problem.not_found("message") != Problem.not_found("user")
    assert repr(Problem.conflict("taken")) == "Problem(409 conflict: taken)"
