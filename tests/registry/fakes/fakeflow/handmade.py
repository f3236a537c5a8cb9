"""Plugins made on the spot."""

from types import ModuleType

from flowloom_registry import hookimpl


def plugin(register=None, **hooks):
    """A plugin object with a register hook."""
    if register is not None:
        hooks["flowloom_register"] = register
    for name, function in hooks.items():
        function.__name__ = name
        hookimpl(function)
    module = ModuleType("handmade")
    vars(module).update(hooks)
    return module
