"""Everything about models at inference time: pixels in, scored candidates out."""

import os

NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
"""ONNX Runtime from 1.29 on tells its maker of each process and session, and leaves files that name
the machine, unless this stands in the environment before it is imported."""

os.environ.update(NO_TELEMETRY)
