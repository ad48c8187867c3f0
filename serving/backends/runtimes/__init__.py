"""What runs a model's graph in this process: ONNX Runtime or OpenVINO."""
