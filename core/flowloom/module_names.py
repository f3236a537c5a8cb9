"""Names of parts and conditions as names of submodules."""

from __future__ import annotations

__all__ = ["module_name"]


def module_name(name: str) -> str:
    """A name under which torch accepts a submodule, whatever a user calls a part or a condition.

    ``nn.Module`` refuses dots and the names of its own methods (``type``, ``half``, ``float`` ...).
    Different names stay different.

    >>> module_name("type"), module_name("atom.charge")
    ('of_type', 'of_atom%2echarge')
    """
    return "of_" + name.replace("%", "%25").replace(".", "%2e")
