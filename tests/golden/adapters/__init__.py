"""One adapter for each kind of golden case.

An adapter takes a `Case` and returns what we compute under the case's tensor names, in the
original's layout (`B, C, T`), as arrays or `Check`s. It knows of a case what its `small_config` and
its inputs say; what we do not build is refused (`Settings.only`). What it computes it compiles as
few programs: thousands of single operations take minutes.
"""

from __future__ import annotations

import importlib
from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
MODULES = [importlib.import_module(f"{__name__}.{name}") for name in NAMES]
ADAPTERS = {kind: adapt for module in MODULES for kind, adapt in module.ADAPTERS.items()}

# kind -> function of `full_config` that gives the names and shapes of the official checkpoint
FULL_NETWORKS = {
    kind: full for module in MODULES for kind, full in getattr(module, "FULL_NETWORKS", {}).items()
}
