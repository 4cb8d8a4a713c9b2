"""Compiled kernels: skinning, z-buffer, procedural shading, and the step from linear light to bytes.

Compiled without fastmath, so that the same inputs give the same bytes. The kernels carry no annotations: the
compiler infers the types, and runtime type checks cannot be compiled."""

import math
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import njit

MATERIAL_BODY, MATERIAL_EYE, MATERIAL_TEETH, MATERIAL_TIGHTS, MATERIAL_SKIRT, MATERIAL_HAIR, MATERIAL_PROP = range(7)
"""What a triangle is made of; MATERIAL_PROP + i is prop i."""

(
    LOOK_SKIN,  # rgb
    LOOK_HAIR,  # rgb
    LOOK_LIPS,  # rgb
    LOOK_BROW,  # rgb, blush
    LOOK_ORIGIN,  # xyz of the face origin, height of the sole's upper edge
    LOOK_HAIRLINE,  # forehead, nape, curvature, raggedness, back of the head
    LOOK_SCALP,  # 1 with hair, 0 bald
    LOOK_CUT,  # sleeve end, trouser end, waist, collar, 1 with a skirt, shoe top
    LOOK_LID,  # rgb, strength
    LOOK_SHOE,  # rgb
    LOOK_SOLE,  # rgb
    LOOK_BROW_SHAPE,  # half thickness, height, tilt, beard
    LOOK_BEARD,  # moustache, chin beard, freckles
    LOOK_IRIS,  # rgb
    LOOK_PROP,  # rgb of prop 0; the next rows are the next props
) = range(15)
LOOK_ROWS = 24

PLAIN, STRIPES_ACROSS, STRIPES_ALONG, CHECK, DOTS, CAMOUFLAGE, BLOCK, ZIP_FRONT, CHEVRON, DIAMONDS = range(10)
"""Textile patterns; the last two are worn out of distribution only."""

_X, _Y, _Z, _ARM, _LEG, _HEAD, _LIPS, _LID, _MOUTH, _GIRTH, _EAR = range(11)
(
    PART_NONE,
    PART_FACE,  # skin of the head, lips and inside of the mouth with it
    PART_TOP,
    PART_BOTTOM,
    PART_SHOE,
    PART_HAIR,
    PART_SKIN,  # below the head
    PART_EYE_TEETH,
    PART_ACCESSORY,
) = range(9)
"""What a pixel of the part map shows of the person."""

DISPLAY_GAMMA = 1.6
FAR = 1e9


def _compiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel as machine code, cached on disk, free of the interpreter lock."""
    compiled: Callable[..., Any] = njit(cache=True, fastmath=False, nogil=True, error_model="numpy")(kernel)
    return compiled


def _inlined(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A part of a kernel, compiled into whoever calls it: an array that is handed over to a function of its own costs
    as much as the work on a pixel."""
    inlined: Callable[..., Any] = njit(fastmath=False, nogil=True, error_model="numpy", inline="always")(kernel)
    return inlined


def display_table() -> np.ndarray:
    """Bytes for 16385 equal steps of linear light from 0 to 1."""
    return np.round(255 * np.linspace(0, 1, 16385) ** (1 / DISPLAY_GAMMA)).astype(np.uint8)


@_compiled
@no_type_check
def vertex_normals(vertices, triangles, normals):
    """Write unit normals, weighted by triangle area."""
    normals[:] = 0
    for k in range(triangles.shape[0]):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        wx, wy, wz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        for corner in (a, b, c):
            normals[corner, 0] += uy * wz - uz * wy
            normals[corner, 1] += uz * wx - ux * wz
            normals[corner, 2] += ux * wy - uy * wx
    for i in range(normals.shape[0]):
        length = math.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
        for axis in range(3):
            normals[i, axis] /= length


@_compiled
@no_type_check
def express(weights, units, rows, vertices):
    """Move the named rows of vertices by the units, each times its weight."""
    for i in range(rows.shape[0]):
        for axis in range(3):
            total = np.float32(0)
            for unit in range(weights.shape[0]):
                if weights[unit] != 0:
                    total += weights[unit] * units[unit, i, axis]
            vertices[rows[i], axis] += total


@_compiled
@no_type_check
def extent(points, rows):
    """The (least x, least y, greatest x, greatest y) of the named rows of points."""
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    for i in range(rows.shape[0]):
        x, y = points[rows[i], 0], points[rows[i], 1]
        left, top, right, bottom = min(left, x), min(top, y), max(right, x), max(bottom, y)
    return left, top, right, bottom


@_compiled
@no_type_check
def move(points, x, y):
    """Shift all points to the right and up, in place."""
    for i in range(points.shape[0]):
        points[i, 0] += x
        points[i, 1] += y


@_compiled
@no_type_check
def skin(vertices, normals, joints, weights, rotations, offsets, posed, posed_normals):
    """Write linearly blended vertices and normals."""
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        px, py, pz = np.float32(0), np.float32(0), np.float32(0)
        qx, qy, qz = np.float32(0), np.float32(0), np.float32(0)
        for slot in range(4):
            w = weights[i, slot]
            if w > 0.002:
                j = joints[i, slot]
                a, b, c = rotations[j, 0, 0], rotations[j, 0, 1], rotations[j, 0, 2]
                px += w * (a * x + b * y + c * z + offsets[j, 0])
                qx += w * (a * nx + b * ny + c * nz)
                a, b, c = rotations[j, 1, 0], rotations[j, 1, 1], rotations[j, 1, 2]
                py += w * (a * x + b * y + c * z + offsets[j, 1])
                qy += w * (a * nx + b * ny + c * nz)
                a, b, c = rotations[j, 2, 0], rotations[j, 2, 1], rotations[j, 2, 2]
                pz += w * (a * x + b * y + c * z + offsets[j, 2])
                qz += w * (a * nx + b * ny + c * nz)
        posed[i, 0], posed[i, 1], posed[i, 2] = px, py, pz
        posed_normals[i, 0], posed_normals[i, 1], posed_normals[i, 2] = qx, qy, qz


@_compiled
@no_type_check
def project(posed, focal, center_x, center_y, camera_height, camera_distance, screen):
    """Write pixel x, pixel y and depth in meters of every vertex."""
    for i in range(posed.shape[0]):
        depth = camera_distance - posed[i, 2]
        screen[i, 0] = center_x + focal * posed[i, 0] / depth
        screen[i, 1] = center_y - focal * (posed[i, 1] - camera_height) / depth
        screen[i, 2] = depth


@_inlined
@no_type_check
def _cut_away(y, arm, leg, cut):
    """Whether a point of the tights lies outside the garments: past a sleeve, over the collar, under a hem."""
    if leg <= 0 and y > cut[2]:
        return arm > cut[0] or y > cut[3]
    return leg > cut[1] or arm > 0.02 or cut[4] > 0


@_inlined
@no_type_check
def _corners(triangles, k):
    """Rows of a triangle's vertices; unsigned, so that compiled code need not ask whether they count from the end."""
    return np.uint32(triangles[k, 0]), np.uint32(triangles[k, 1]), np.uint32(triangles[k, 2])


@_compiled
@no_type_check
def rasterize(screen, triangles, materials, single_sided, surface, cut, depth, owner, bary_u, bary_v):
    """Write the nearest triangle of each sample, its depth and its barycentric coordinates, where one is nearer than
    what is there; returns the (top, bottom, left, right) outside of which nothing was written."""
    height, width = depth.shape
    top, bottom, left, right = height, 0, width, 0
    for k in range(triangles.shape[0]):
        a, b, c = _corners(triangles, k)
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area > -1e-9 and (single_sided[k] or area < 1e-9):
            continue
        x0, x1 = max(int(math.ceil(min(ax, bx, cx) - 0.5)), 0), min(int(math.floor(max(ax, bx, cx) - 0.5)), width - 1)
        y0, y1 = max(int(math.ceil(min(ay, by, cy) - 0.5)), 0), min(int(math.floor(max(ay, by, cy) - 0.5)), height - 1)
        if x0 > x1 or y0 > y1:
            continue
        top, bottom, left, right = min(top, y0), max(bottom, y1 + 1), min(left, x0), max(right, x1 + 1)
        az, bz, cz = screen[a, 2], screen[b, 2], screen[c, 2]
        inverse, is_tights = np.float32(1) / area, materials[k] == MATERIAL_TIGHTS
        for row in range(y0, y1 + 1):
            py = np.float32(row + 0.5)
            for column in range(x0, x1 + 1):
                px = np.float32(column + 0.5)
                u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * inverse
                v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * inverse
                w = np.float32(1) - u - v
                if min(u, v, w) < 0:
                    continue
                z = u * az + v * bz + w * cz
                if z >= depth[row, column]:
                    continue
                if is_tights:
                    y = u * surface[a, _Y] + v * surface[b, _Y] + w * surface[c, _Y]
                    arm = u * surface[a, _ARM] + v * surface[b, _ARM] + w * surface[c, _ARM]
                    leg = u * surface[a, _LEG] + v * surface[b, _LEG] + w * surface[c, _LEG]
                    if _cut_away(y, arm, leg, cut):
                        continue
                depth[row, column], owner[row, column] = z, k
                bary_u[row, column], bary_v[row, column] = u, v
    return top, bottom, left, right


@_compiled
@no_type_check
def darken(linear, top, bottom, left, right, x, y, radius_x, radius_y, strength):
    """Take light from an ellipse within a window, most at its center."""
    for row in range(top, bottom):
        for column in range(left, right):
            reach = ((column - x) / radius_x) ** 2 + ((row - y) / radius_y) ** 2
            light = np.float32(1 - strength * min(1.0, max(0.0, 1 - reach)))
            for q in range(3):
                linear[row, column, q] *= light


@_compiled
@no_type_check
def _lattice(i, j, k):
    """A pseudo-random number in [0, 1] of an integer point."""
    n = (i * 374761393 + j * 668265263 + k * 2147483647) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((n ^ (n >> 16)) & 0xFFFF) / 65535.0


@_compiled
@no_type_check
def value_noise(x, y, z):
    """Smooth noise in [0, 1] with features of size 1."""
    i, j, k = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
    x, y, z = x - i, y - j, z - k
    x, y, z = x * x * (3 - 2 * x), y * y * (3 - 2 * y), z * z * (3 - 2 * z)
    total = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                weight = (x if a else 1 - x) * (y if b else 1 - y) * (z if c else 1 - z)
                total += weight * _lattice(i + a, j + b, k + c)
    return total


@_compiled
@no_type_check
def noise_at(points, noise):
    """Write the noise at each point."""
    for i in range(points.shape[0]):
        noise[i] = value_noise(points[i, 0], points[i, 1], points[i, 2])


@_compiled
@no_type_check
def _ramp(start, end, x):
    """0 at start, 1 at end, smooth between."""
    t = min(1.0, max(0.0, (x - start) / (end - start)))
    return t * t * (3 - 2 * t)


@_inlined
@no_type_check
def _blend(color, look, row, share):
    for q in range(3):
        color[q] = color[q] * (1 - share) + look[row, q] * share


@_inlined
@no_type_check
def _scale(color, factor):
    for q in range(3):
        color[q] *= factor


@_compiled
@no_type_check
def _weave_share(kind, x, y, z, girth, frequency):
    """Share of the second color, in [0, 1]."""
    across, along = (y * frequency) % 1, (girth * frequency * 0.25) % 1
    if kind == STRIPES_ACROSS:
        return 1.0 if across < 0.5 else 0.0
    if kind == STRIPES_ALONG:
        return 1.0 if along < 0.4 else 0.0
    if kind == CHECK:
        return 0.5 * ((1.0 if across < 0.5 else 0.0) + (1.0 if along < 0.5 else 0.0))
    if kind == DOTS:
        return 1.0 if (along - 0.5) ** 2 + (across - 0.5) ** 2 < 0.07 else 0.0
    if kind == CAMOUFLAGE:
        return _ramp(0.42, 0.58, value_noise(x * frequency * 0.9, y * frequency * 0.9, z * frequency * 0.9))
    if kind == BLOCK:
        return 1.0 if y > 0.36 else 0.0
    if kind == ZIP_FRONT:
        return 1.0 if abs(x) < 0.028 and z > 0 else 0.0
    if kind == CHEVRON:
        return 1.0 if (across + 1.2 * abs(along - 0.5)) % 1 < 0.45 else 0.0
    if kind == DIAMONDS:
        return 1.0 if abs(along - 0.5) + abs(across - 0.5) < 0.36 else 0.0
    return 0.0


@_inlined
@no_type_check
def _paint_textile(textiles, row, at, color):
    """Write the color of cloth; a zipped front goes with a print on the back."""
    x, y, z = at[_X], at[_Y], at[_Z]
    kind = int(textiles[row, 0])
    share = _weave_share(kind, x, y, z, at[_GIRTH], textiles[row, 1])
    for q in range(3):
        color[q] = textiles[row, 2 + q] * (1 - share) + textiles[row, 5 + q] * share
    if kind == ZIP_FRONT and z < 0 and 0.22 < y < 0.42 and abs(x) < 0.09:
        for q in range(3):
            color[q] = textiles[row, 8 + q]


@_inlined
@no_type_check
def _crease(at, color):
    _scale(color, 0.86 + 0.28 * value_noise(at[_X] * 14.0, at[_Y] * 9.0, at[_Z] * 14.0))


@_inlined
@no_type_check
def _has_hair(at, look, hx, hy, hz):
    """Whether a point of the head lies behind the hairline."""
    if look[LOOK_SCALP, 0] == 0 or at[_EAR] >= 0.4:
        return False
    forehead, nape = look[LOOK_HAIRLINE, 0], look[LOOK_HAIRLINE, 1]
    curvature, raggedness = look[LOOK_HAIRLINE, 2], look[LOOK_HAIRLINE, 3]
    if hy > forehead - 3.2 * hx * hx * curvature + raggedness * value_noise(hx * 90.0, 3.0, 7.0):
        return True
    back = -0.105 + 0.9 * max(0.0, -hy) * nape + (0.35 * hy if hy < 0 else 0.0)
    return hz < back and hy > nape


@_inlined
@no_type_check
def _paint_strands(look, x, y, z, stretch, color):
    strand = value_noise(x * 220.0, y * stretch, z * 120.0)
    for q in range(3):
        color[q] = look[LOOK_HAIR, q] * (0.74 + 0.5 * strand)


@_inlined
@no_type_check
def _paint_beard(look, at, hx, hy, hz, color):
    if look[LOOK_BROW_SHAPE, 3] <= 0:
        return
    side = max(0.0, abs(hx) - 0.035)
    skin_only = 1 - at[_LIPS]
    chin = _ramp(-0.052, -0.066, hy - 0.5 * side) * _ramp(-0.125, -0.09, hz) * look[LOOK_BEARD, 1]
    lip = _ramp(-0.046, -0.05, hy) * _ramp(0.032, 0.026, abs(hx)) * (1.0 if hz > -0.03 else 0.0) * look[LOOK_BEARD, 0]
    grain = 0.7 + 0.5 * value_noise(hx * 250.0, hy * 250.0, hz * 250.0)
    _blend(color, look, LOOK_BROW, min(1.0, max(chin, lip) * skin_only * look[LOOK_BROW_SHAPE, 3] * grain))


@_inlined
@no_type_check
def _paint_brow(look, hx, hy, hz, color):
    thickness, height, tilt = look[LOOK_BROW_SHAPE, 0], look[LOOK_BROW_SHAPE, 1], look[LOOK_BROW_SHAPE, 2]
    bx = abs(hx) - 0.032
    center = 0.0215 + height + tilt * bx - 14.0 * bx * bx
    if hz > -0.04:
        share = _ramp(thickness, thickness * 0.5, abs(hy - center)) * _ramp(0.026, 0.02, abs(bx))
        _blend(color, look, LOOK_BROW, 0.9 * share)


@_inlined
@no_type_check
def _paint_face(look, at, hx, hy, hz, color):
    """Add blush, lips, lids, brows, beard, freckles and the inside of the mouth."""
    if hz > -0.06:
        blush = look[LOOK_BROW, 3] * math.exp(-((abs(hx) - 0.048) ** 2 + (hy + 0.045) ** 2) / 0.0005)
        color[0] *= 1 + 0.10 * blush
        color[1] *= 1 - 0.18 * blush
        color[2] *= 1 - 0.16 * blush
    _blend(color, look, LOOK_LIPS, 0.9 * at[_LIPS])
    _blend(color, look, LOOK_LID, at[_LID] * look[LOOK_LID, 3])
    _paint_brow(look, hx, hy, hz, color)
    _paint_beard(look, at, hx, hy, hz, color)
    if look[LOOK_BEARD, 2] > 0 and hz > -0.05 and -0.06 < hy < 0:
        grains = value_noise(hx * 420.0, hy * 420.0, hz * 420.0)
        _scale(color, 1 - 0.35 * look[LOOK_BEARD, 2] * _ramp(0.78, 0.86, grains))
    if at[_MOUTH] > 0.5:
        color[0], color[1], color[2] = 0.22, 0.05, 0.06


@_inlined
@no_type_check
def _paint_skin(look, at, hx, hy, hz, color):
    """Write bare skin; returns the strength of its highlight."""
    grain = 0.95 + 0.1 * value_noise(at[_X] * 40.0, at[_Y] * 40.0, at[_Z] * 40.0)
    for q in range(3):
        color[q] = look[LOOK_SKIN, q] * grain
    if at[_HEAD] <= 0.5:
        return 0.12
    _paint_face(look, at, hx, hy, hz, color)
    if at[_MOUTH] > 0.5:
        return 0.0
    return 0.3 if at[_LIPS] > 0.3 else 0.12


@_inlined
@no_type_check
def _part_of_body(is_tights, look, at):
    """Whether the skin mesh or the tights show hair, cloth, shoe or skin at a point."""
    y, sleeve, trouser, waist = at[_Y], look[LOOK_CUT, 0], look[LOOK_CUT, 1], look[LOOK_CUT, 2]
    collar, shoe = look[LOOK_CUT, 3], look[LOOK_CUT, 5]
    hx, hy, hz = at[_X] - look[LOOK_ORIGIN, 0], y - look[LOOK_ORIGIN, 1], at[_Z] - look[LOOK_ORIGIN, 2]
    if at[_HEAD] > 0.5 and not is_tights and _has_hair(at, look, hx, hy, hz):
        return PART_HAIR
    under_top = at[_HEAD] < 0.5 and at[_ARM] < sleeve and at[_LEG] <= 0 and waist < y < collar
    if is_tights or under_top:
        return PART_BOTTOM if is_tights and (at[_LEG] > 0 or y <= waist) else PART_TOP
    if at[_LEG] > shoe and at[_LEG] > 0.5:
        return PART_SHOE
    if at[_HEAD] < 0.5 and at[_ARM] < 0.02 and at[_LEG] < trouser and y < waist + 0.002:
        return PART_BOTTOM
    return PART_FACE if at[_HEAD] > 0.5 else PART_SKIN


@_inlined
@no_type_check
def _part(material, look, at):
    """The part of the person at a surface point."""
    if material == MATERIAL_BODY or material == MATERIAL_TIGHTS:
        return _part_of_body(material == MATERIAL_TIGHTS, look, at)
    if material == MATERIAL_EYE or material == MATERIAL_TEETH:
        return PART_EYE_TEETH
    if material == MATERIAL_SKIRT:
        return PART_BOTTOM
    return PART_HAIR if material == MATERIAL_HAIR else PART_ACCESSORY


@_inlined
@no_type_check
def _paint_body(is_tights, look, textiles, at, color):
    """Write skin, hair, cloth or shoe; returns (highlight, translucency)."""
    y, part = at[_Y], _part_of_body(is_tights, look, at)
    hx, hy, hz = at[_X] - look[LOOK_ORIGIN, 0], y - look[LOOK_ORIGIN, 1], at[_Z] - look[LOOK_ORIGIN, 2]
    if part == PART_HAIR:
        _paint_strands(look, hx, hy, hz, 30.0, color)
        return 0.25, 0.0
    if part == PART_TOP or part == PART_BOTTOM:
        _paint_textile(textiles, 1 if part == PART_BOTTOM else 0, at, color)
        _crease(at, color)
        return 0.0, 0.0
    if part == PART_SHOE:
        _blend(color, look, LOOK_SOLE if y < look[LOOK_ORIGIN, 3] else LOOK_SHOE, 1.0)
        return 0.2, 0.0
    return _paint_skin(look, at, hx, hy, hz, color), 1.0


@_inlined
@no_type_check
def _paint_eye(look, eyes, at, color):
    """Write pupil, iris or white, by the angle to the gaze."""
    row = 0 if at[_X] > 0 else 1
    dx, dy, dz = at[_X] - eyes[row, 0], at[_Y] - eyes[row, 1], at[_Z] - eyes[row, 2]
    length = math.sqrt(dx * dx + dy * dy + dz * dz) + 1e-9
    cosine = (dx * eyes[row, 3] + dy * eyes[row, 4] + dz * eyes[row, 5]) / length
    angle = math.acos(min(1.0, max(-1.0, cosine)))
    if angle < 0.20:
        color[0], color[1], color[2] = 0.02, 0.02, 0.02
    elif angle < 0.48:
        rim = 0.5 if angle > 0.43 else 1.0
        for q in range(3):
            color[q] = look[LOOK_IRIS, q] * (1.15 - 0.9 * abs(angle - 0.3)) * rim
    else:
        color[0], color[1], color[2] = 0.93, 0.91, 0.90


@_inlined
@no_type_check
def _paint(material, look, textiles, eyes, at, color):
    """Write the color of a surface point; returns (highlight, translucency)."""
    if material == MATERIAL_BODY or material == MATERIAL_TIGHTS:
        return _paint_body(material == MATERIAL_TIGHTS, look, textiles, at, color)
    if material == MATERIAL_EYE:
        _paint_eye(look, eyes, at, color)
        return 0.6, 0.0
    if material == MATERIAL_TEETH:
        color[0], color[1], color[2] = 0.93, 0.91, 0.86
        in_front = _ramp(-0.03, 0.0, at[_Z] - look[LOOK_ORIGIN, 2])
        _scale(color, 0.12 + 0.88 * in_front)  # those at the back lie in the dark
        return 0.0, 0.0
    if material == MATERIAL_SKIRT:
        _paint_textile(textiles, 1, at, color)
        _scale(color, 0.975 + 0.175 * math.sin(at[_GIRTH] * 14.0))
        return 0.0, 0.0
    if material == MATERIAL_HAIR:
        _paint_strands(look, at[_X], at[_Y], at[_Z], 12.0, color)
        return 0.25, 0.0
    _blend(color, look, LOOK_PROP + material - MATERIAL_PROP, 1.0)
    return 0.25, 0.0


@_inlined
@no_type_check
def _light_up(color, normal, highlight, translucency, light, ambient, linear, row, column):
    """Write the linear light of a pixel: sky and floor light, a wrapped lamp, a highlight, a soft rim."""
    facing = normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2]
    wrap = 0.35 * translucency + 0.15
    diffuse = max(0.0, (facing + wrap) / (1 + wrap))
    shine = highlight * max(0.0, 2 * facing * normal[2] - light[2]) ** 24
    rim = 0.12 * (1 - max(0.0, normal[2])) ** 3
    sky = 0.5 + 0.5 * normal[1]
    for q in range(3):
        around = ambient[0, q] * sky + ambient[1, q] * (1 - sky)
        linear[row, column, q] = color[q] * (around + ambient[2, q] * diffuse + rim) + 0.6 * shine * ambient[2, q]


@_compiled
@no_type_check
def shade(
    top,
    bottom,
    left,
    right,
    owner,
    bary_u,
    bary_v,
    triangles,
    materials,
    surface,
    normals,
    look,
    textiles,
    light,
    ambient,
    eyes,
    linear,
):
    """Write linear light wherever a triangle was found within a window; other samples keep what they hold."""
    color, at, normal = np.zeros(3, np.float32), np.zeros(surface.shape[1], np.float32), np.zeros(3, np.float32)
    for row in range(top, bottom):
        for column in range(left, right):
            k = owner[row, column]
            if k < 0:
                continue
            a, b, c = _corners(triangles, k)
            u, v = bary_u[row, column], bary_v[row, column]
            w = np.float32(1) - u - v
            for q in range(surface.shape[1]):
                at[q] = u * surface[a, q] + v * surface[b, q] + w * surface[c, q]
            for q in range(3):
                normal[q] = u * normals[a, q] + v * normals[b, q] + w * normals[c, q]
            _scale(normal, 1 / (math.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-9))
            highlight, translucency = _paint(materials[k], look, textiles, eyes, at, color)
            _light_up(color, normal, highlight, translucency, light, ambient, linear, row, column)


@_compiled
@no_type_check
def develop(linear, top, bottom, left, right, supersample, table, frame):
    """Write the bytes of a window of pixels: box mean of linear light through the display table."""
    steps, count = table.shape[0] - 1, supersample * supersample
    for row in range(top, bottom):
        for column in range(left, right):
            red, green, blue = 0.0, 0.0, 0.0
            for y in range(row * supersample, (row + 1) * supersample):
                for x in range(column * supersample, (column + 1) * supersample):
                    red += linear[y, x, 0]
                    green += linear[y, x, 1]
                    blue += linear[y, x, 2]
            frame[row, column, 0] = table[int(min(1.0, max(0.0, red / count)) * steps + 0.5)]
            frame[row, column, 1] = table[int(min(1.0, max(0.0, green / count)) * steps + 0.5)]
            frame[row, column, 2] = table[int(min(1.0, max(0.0, blue / count)) * steps + 0.5)]


@_compiled
@no_type_check
def cover(owner, top, bottom, left, right, supersample, alpha):
    """Write the share of owned samples, in 0..255, of a window of pixels; returns the (top, bottom, left, right) around
    the owned samples."""
    height, width = owner.shape
    first_row, last_row, first_column, last_column = height, 0, width, 0
    count = supersample * supersample
    shares = np.empty(count + 1, np.uint8)
    for owned in range(count + 1):
        shares[owned] = (255 * owned + count // 2) // count
    for row in range(top, bottom):
        for column in range(left, right):
            owned = 0
            for y in range(row * supersample, (row + 1) * supersample):
                for x in range(column * supersample, (column + 1) * supersample):
                    if owner[y, x] >= 0:
                        owned += 1
                        first_row, last_row = min(first_row, y), max(last_row, y + 1)
                        first_column, last_column = min(first_column, x), max(last_column, x + 1)
            alpha[row, column] = shares[owned]
    return first_row, last_row, first_column, last_column


@_inlined
@no_type_check
def _nearest_sample(owner, depth, top, left, supersample):
    """Row and column of the nearest sample of the person within a pixel that has one."""
    best, row, column = FAR, top, left
    for y in range(top, top + supersample):
        for x in range(left, left + supersample):
            if owner[y, x] >= 0 and depth[y, x] < best:
                best, row, column = depth[y, x], y, x
    return row, column


@_compiled
@no_type_check
def sample_surface(
    top, bottom, left, right, alpha, owner, depth, bary_u, bary_v, supersample, nearest, triangle, bary, place
):
    """Write depth, triangle, barycentric coordinates and place of the nearest sample of the person, for each pixel of a
    window that has a share of them; other pixels keep what they hold."""
    for row in range(top, bottom):
        for column in range(left, right):
            if alpha[row, column] == 0:
                continue
            y, x = _nearest_sample(owner, depth, row * supersample, column * supersample, supersample)
            nearest[row, column] = depth[y, x]
            triangle[row, column] = owner[y, x]
            bary[row, column, 0], bary[row, column, 1] = bary_u[y, x], bary_v[y, x]
            place[row, column, 0], place[row, column, 1] = (x + 0.5) / supersample, (y + 0.5) / supersample


@_compiled
@no_type_check
def write_canonical(top, bottom, left, right, triangle, bary, triangles, surface, canonical):
    """Write where on the mean body at rest each pixel of a window lies that has a triangle."""
    for row in range(top, bottom):
        for column in range(left, right):
            k = triangle[row, column]
            if k < 0:
                continue
            a, b, c = _corners(triangles, k)
            u, v = bary[row, column, 0], bary[row, column, 1]
            w = np.float32(1) - u - v
            for q in range(3):
                canonical[row, column, q] = u * surface[a, q] + v * surface[b, q] + w * surface[c, q]


@_compiled
@no_type_check
def write_parts(top, bottom, left, right, triangle, bary, triangles, materials, surface, look, parts):
    """Write which part of the person each pixel of a window shows that has a triangle."""
    at = np.zeros(surface.shape[1], np.float32)
    for row in range(top, bottom):
        for column in range(left, right):
            k = triangle[row, column]
            if k < 0:
                continue
            a, b, c = _corners(triangles, k)
            u, v = bary[row, column, 0], bary[row, column, 1]
            w = np.float32(1) - u - v
            for q in range(surface.shape[1]):
                at[q] = u * surface[a, q] + v * surface[b, q] + w * surface[c, q]
            parts[row, column] = _part(materials[k], look, at)


@_compiled
@no_type_check
def write_normals(top, bottom, left, right, triangle, bary, triangles, normals, normal):
    """Write the unit normal at each pixel of a window that has a triangle."""
    direction = np.zeros(3, np.float32)
    for row in range(top, bottom):
        for column in range(left, right):
            k = triangle[row, column]
            if k < 0:
                continue
            a, b, c = _corners(triangles, k)
            u, v = bary[row, column, 0], bary[row, column, 1]
            w = np.float32(1) - u - v
            for q in range(3):
                direction[q] = u * normals[a, q] + v * normals[b, q] + w * normals[c, q]
            length = math.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2) + 1e-9
            for q in range(3):
                normal[row, column, q] = direction[q] / length
