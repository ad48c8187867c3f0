"""CenterFace (Xu et al., arXiv 1911.03599) behind our contract."""

from __future__ import annotations

import onnx

from serving.contracts import FACE_DETECTOR, GRAPH_FLOOR, MAX_BOXES
from serving.graphs import (
    FINISH_BOXES,
    SELECT_BOXES,
    detach_weights,
    keep_outputs,
    set_dims,
    upgrade,
    wrap,
)

HEAT, SCALE, OFFSET, LANDMARKS = "537", "538", "539", "540"

_BEFORE = """
before (uint8[N,H,W,3] image) => (float[N,3,H,W] pixels) {
    planar = Transpose<perm = [0, 3, 1, 2]>(image)
    pixels = Cast<to = 1>(planar)
}
"""

# Channel 0 of scale and offset is y, channel 1 is x; sizes are exp(scale) cells of 4 pixels, and
# the centre is (cell + 0.5 + offset) cells; landmarks are y, x in box sizes from the box's upper
# left corner. Only local maxima of the heatmap (3 x 3) are ranked:
# each face lights 5-20 cells, which would overflow K in a crowd.
_AFTER = (
    """
after (float[N,1,h,w] heat, float[N,2,h,w] scale, float[N,2,h,w] offset, float[N,10,h,w] landmarks)
    => (float[N,{k},5] boxes, float[N,{k},10] points, int32[N] count, float[N] peak) {{
    raw = Flatten<axis = 1>(heat)
    pooled = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [1, 1]>(heat)
    is_peak = GreaterOrEqual(heat, pooled)
    nothing = Constant<value_float = 0.0>()
    peaks = Where(is_peak, heat, nothing)
    ranked = Flatten<axis = 1>(peaks)
"""
    + SELECT_BOXES
    + """
    planes = Concat<axis = 1>(scale, offset, landmarks)
    plane_shape = Constant<value_ints = [0, 14, -1]>()
    columns = Reshape(planes, plane_shape)
    table = Transpose<perm = [0, 2, 1]>(columns)
    values = GatherND<batch_dims = 1>(table, pick)
    parts = Constant<value_ints = [1, 1, 1, 1, 10]>()
    log_h, log_w, dy, dx, marks = Split<axis = 2>(values, parts)
    across = Shape<start = 3, end = 4>(heat)
    column = Mod(pick, across)
    row = Div(pick, across)
    column_f = Cast<to = 1>(column)
    row_f = Cast<to = 1>(row)
    half = Constant<value_float = 0.5>()
    stride = Constant<value_float = 4.0>()
    half_stride = Constant<value_float = 2.0>()
    most = Constant<value_float = 10.0>()
    safe_h = Min(log_h, most)
    safe_w = Min(log_w, most)
    exp_h = Exp(safe_h)
    exp_w = Exp(safe_w)
    half_h = Mul(exp_h, half_stride)
    half_w = Mul(exp_w, half_stride)
    shifted_x = Add(column_f, dx)
    shifted_y = Add(row_f, dy)
    middle_x = Add(shifted_x, half)
    middle_y = Add(shifted_y, half)
    cx = Mul(middle_x, stride)
    cy = Mul(middle_y, stride)
    x1 = Sub(cx, half_w)
    y1 = Sub(cy, half_h)
    x2 = Add(cx, half_w)
    y2 = Add(cy, half_h)
    two = Constant<value_float = 2.0>()
    mark_shape = Constant<value_ints = [0, 0, 5, 2]>()
    marks_yx = Reshape(marks, mark_shape)
    x_then_y = Constant<value_ints = [1, 0]>()
    marks_xy = Gather<axis = 3>(marks_yx, x_then_y)
    half_size = Concat<axis = 2>(half_w, half_h)
    size = Mul(half_size, two)
    pair_axis = Constant<value_ints = [2]>()
    pair_size = Unsqueeze(size, pair_axis)
    corner = Concat<axis = 2>(x1, y1)
    pair_corner = Unsqueeze(corner, pair_axis)
    mark_moves = Mul(marks_xy, pair_size)
    mark_spots = Add(mark_moves, pair_corner)
    flat = Constant<value_ints = [0, 0, 10]>()
    spots = Reshape(mark_spots, flat)
"""
    + FINISH_BOXES
    + """
}}
"""
)


def build_face_detector(source: bytes) -> onnx.ModelProto:
    """Rewrite ``centerface.onnx`` (bytes) to the contract ``face_detector``."""
    net = onnx.load_from_string(source)
    detach_weights(net)
    keep_outputs(net, (HEAT, SCALE, OFFSET, LANDMARKS))
    set_dims(
        net,
        {
            net.graph.input[0].name: ("N", 3, "H", "W"),
            HEAT: ("N", 1, "h", "w"),
            SCALE: ("N", 2, "h", "w"),
            OFFSET: ("N", 2, "h", "w"),
            LANDMARKS: ("N", 10, "h", "w"),
        },
    )
    return wrap(
        upgrade(net),
        FACE_DETECTOR,
        _BEFORE,
        _AFTER.format(k=MAX_BOXES, floor=GRAPH_FLOOR),
        feed=[("pixels", net.graph.input[0].name)],
        drain=[
            (HEAT, "heat"),
            (SCALE, "scale"),
            (OFFSET, "offset"),
            (LANDMARKS, "landmarks"),
        ],
    )
