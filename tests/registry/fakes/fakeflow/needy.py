from a_library_nobody_has import S

__all__ = ["S"]
