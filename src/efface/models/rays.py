"""Cameras of tri-plane generators and the rays through their pixels (EG3D: Chan et al. 2022, arXiv 2112.07945).

A camera is 25 numbers: camera-to-world 4×4 row by row, then intrinsics 3×3 row by row. Camera axes are OpenCV's (x to
the right, y down, z forward). World: y up, a face looks along +z, 1 unit is about 40 cm. Intrinsics are in sides of the
picture, whose upper left corner is (0, 0).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from efface.errors import EffaceError

PIVOT = (0.0, 0.0, 0.2)
"""What EG3D's cameras of faces look at."""
RADIUS = 2.7
"""Their distance from the origin."""
FIELD = 18.837
"""Their field of view in degrees."""


def camera(
    yaw: Tensor | float = 0.0,
    pitch: Tensor | float = 0.0,
    *,
    pivot: tuple[float, float, float] = PIVOT,
    radius: float = RADIUS,
    field: float = FIELD,
) -> Tensor:
    """Cameras float32 [n, 25] on a sphere around the origin, looking at the pivot.

    yaw, pitch: radians, numbers or float [n], less than π/2 either way. At yaw > 0 the camera stands on the +x side,
    where the person's left ear is; at pitch > 0 it stands below the face, as published. field: of view, degrees. Raises
    EffaceError where a number is out of range.
    """
    yaws, pitches = torch.broadcast_tensors(*(torch.as_tensor(v, dtype=torch.float32).view(-1) for v in (yaw, pitch)))
    pose = look_at(yaws, pitches, pivot, radius)
    return torch.cat([pose.flatten(1), intrinsics(field).to(pose).flatten().expand(len(pose), -1)], 1)


def look_at(yaw: Tensor, pitch: Tensor, pivot: tuple[float, float, float] = PIVOT, radius: float = RADIUS) -> Tensor:
    """Camera-to-world [n, 4, 4] of yaws and pitches [n] in radians.

    The camera stands at the polar angle φ = arccos(1 − 2v/π), v = π/2 + pitch, as published: at pitch 0 that is π/2,
    elsewhere the angle is not the pitch itself.
    """
    for name, angle in (("yaw", yaw), ("pitch", pitch)):
        wrong = angle[~(angle.abs() < math.pi / 2)]  # NaN too
        if len(wrong):
            raise EffaceError(
                f"found the {name} {float(wrong[0]):g}, expected radians between −π/2 and π/2 (the front)"
            )
    if not (math.isfinite(radius) and radius > 0):
        raise EffaceError(f"found the camera radius {radius:g}, expected a number above 0 (EG3D's faces: {RADIUS})")
    if not all(map(math.isfinite, pivot)):
        raise EffaceError(f"found the camera pivot {list(pivot)}, expected three finite numbers")
    theta = math.pi / 2 + yaw
    cosine = 1 - 2 * (math.pi / 2 + pitch).clamp(1e-5, math.pi - 1e-5) / math.pi  # of φ
    sine = (1 - cosine.square()).sqrt()
    place = radius * torch.stack([-sine * theta.cos(), cosine, sine * theta.sin()], 1)
    forward = F.normalize(torch.tensor(pivot).to(place) - place, dim=1)
    up = torch.tensor([0.0, 1.0, 0.0]).to(place).expand_as(forward)
    right = F.normalize(torch.linalg.cross(forward, up), dim=1)
    down = torch.linalg.cross(forward, right)
    pose = torch.eye(4).to(place).repeat(len(place), 1, 1)
    pose[:, :3] = torch.stack([right, down, forward, place], 2)
    return pose


def intrinsics(field: float = FIELD) -> Tensor:
    """[3, 3] of a field of view in degrees, as published: 1 / focal length = 1.414 tan(field / 2)."""
    if not 0 < field < 180:
        raise EffaceError(f"found the field of view {field:g}, expected degrees between 0 and 180")
    focal = 1 / (math.tan(field * 3.14159 / 360) * 1.414)
    return torch.tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])


def check(cameras: Tensor) -> None:
    """Raise EffaceError, in one line, where cameras [n, 25] are not cameras that see the origin."""
    if cameras.dim() != 2 or cameras.shape[1] != 25:
        raise EffaceError(
            f"found cameras of shape {list(cameras.shape)}, expected [n, 25]: camera-to-world 4×4, intrinsics 3×3"
        )
    numbers = cameras.detach().cpu().double()  # moved first, as a device may not have float64
    pose, inner = numbers[:, :16].view(-1, 4, 4), numbers[:, 16:].view(-1, 3, 3)
    axes = pose[:, :3, :3]
    rotated = (axes.transpose(1, 2) @ axes - torch.eye(3).double()).abs().amax((1, 2)) < 1e-2
    inside = (inner[:, :2, 2] >= 0).all(1) & (inner[:, :2, 2] <= 1).all(1)
    depth = -(axes[:, :, 2] * pose[:, :3, 3]).sum(1)
    last = (pose[:, 3] == pose.new_tensor([0, 0, 0, 1])).all(1) & (inner[:, 2] == inner.new_tensor([0, 0, 1])).all(1)
    for fine, found, expected in (
        (numbers.isfinite().all(1), "numbers that are not finite", "25 finite numbers"),
        (last, "matrices with another last row", "0 0 0 1 and 0 0 1 (row by row, camera-to-world first)"),
        (rotated & (torch.linalg.det(axes) > 0), "axes that are no rotation", "right, down, forward, of length 1"),
        (inner[:, [0, 1], [0, 1]].amin(1) > 0, "a focal length that is not above 0", "sides of the picture"),
        (inside, "a principal point outside the picture", "0 to 1, in sides of the picture"),
        (depth > 0, "the head behind it or at it", "a camera that looks at the head"),
    ):
        if not fine.all():
            raise EffaceError(f"camera {int((~fine).nonzero()[0])}: found {found}, expected {expected}")


def rays(cameras: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Through the centres of the pixels of square pictures, row by row: (origins [n, 1, 3], unit directions
    [n, resolution², 3])."""
    pose, inner = cameras[:, :16].view(-1, 4, 4), cameras[:, 16:].view(-1, 3, 3)
    centres = (torch.arange(resolution, device=cameras.device, dtype=cameras.dtype) + 0.5) / resolution
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    pixels = torch.stack([u.flatten(), v.flatten(), torch.ones_like(u).flatten()])
    directions = (pose[:, :3, :3] @ torch.linalg.inv(inner) @ pixels).transpose(1, 2)
    return pose[:, None, :3, 3], F.normalize(directions, dim=-1)


def box_limits(origins: Tensor, directions: Tensor, box: float) -> tuple[Tensor, Tensor]:
    """Where rays [n, m, 3] enter and leave the cube of side `box` around the origin: distances [n, m, 1] each; the
    second is below the first where the cube is missed."""
    walls = torch.stack([-origins - box / 2, -origins + box / 2]) / directions
    near, far = walls.amin(0).amax(-1, keepdim=True), walls.amax(0).amin(-1, keepdim=True)
    return near, far
