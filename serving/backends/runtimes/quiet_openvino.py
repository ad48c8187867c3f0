"""OpenVINO's Python package, kept from telling Google Analytics that it was imported.

On import ``openvino`` reports its version, the machine and a lasting identifier that it writes to
``~/intel`` through ``openvino_telemetry``, unless it cannot find that package: then it uses an
empty stand-in of its own. Models are run without either.
"""

from __future__ import annotations

import sys

# None is what makes an import fail as if the package were absent.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

__all__ = ["openvino"]
