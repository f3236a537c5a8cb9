"""``docs/contracts.md`` is what the docstrings say now."""

from pathlib import Path

from flowloom_registry.reference.markdown import markdown
from flowloom_registry.reference.page import contracts_page

PAGE = Path(__file__).parents[2] / "docs" / "contracts.md"


def test_the_page_is_the_one_that_the_docstrings_make():
    how = "python -m flowloom_registry.reference.page docs/contracts.md"
    assert PAGE.read_text(encoding="utf-8") == contracts_page(), f"made anew by: {how}"


def test_nothing_of_a_docstring_is_lost():
    text = (
        "One.\n\n.. math::\n    a = b\n\n    c\n\nTwo ``x`` and :math:`y`:\n\n"
        "====  ====\na     b\n====  ====\n\n"
        "Args:\n    first: of it,\n        and more.\n    second: ``None``.\n\n"
        "Raises:\n    ValueError: always.\n\n"
        ">>> 1 + 1\n2"
    )
    assert markdown(text) == (
        "One.\n\n```math\na = b\n\nc\n```\n\nTwo `x` and $`y`$:\n\n"
        "```text\n====  ====\na     b\n====  ====\n```\n\n"
        "*Args*\n\n* `first`: of it,\n  and more.\n* `second`: `None`.\n\n"
        "*Raises*\n\n* `ValueError`: always.\n\n"
        "```pycon\n>>> 1 + 1\n2\n```"
    )
