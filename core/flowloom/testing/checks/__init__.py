"""The laws, one file a kind; every public function is ``check_xxx(make, context)``."""
