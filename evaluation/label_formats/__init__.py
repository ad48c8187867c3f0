"""Readers of COCO, Pascal VOC and YOLO label files; ``evaluation.labels`` chooses among them."""
