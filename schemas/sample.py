"""A sample: the members of one design in a shard, and the shard as a deterministic tar (DESIGN section 3.1).

The same samples give the same bytes: ustar headers with no time, owner or name of a machine. Any stock ``webdataset``
reads it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

from schemas import images
from schemas.compositing import Placed, Rgba
from schemas.design import Design
from schemas.errors import SampleError
from schemas.geometry import Box
from schemas.images import Codec
from schemas.index import Location, Member

RECORD = "json"
MAX_MEMBER_BYTES = 2**31
_END = 2 * tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Sample:
    """A design's record and its encoded images, by member name without the ``json`` one."""

    design: Design
    members: Mapping[str, bytes] = field(default_factory=dict)

    def member(self, stem: str) -> bytes:
        """The encoded image ``stem`` (``composite``, ``preview``, ``layer_03``, ``restyle_03``), whatever its codec.

        Raises:
            SampleError: there is none.
        """
        for codec in Codec:
            if (data := self.members.get(f"{stem}.{codec}")) is not None:
                return data
        raise SampleError(f"{self.design.design_id}: no member {stem!r}")

    def layer(self, index: int) -> Rgba:
        """Decode layer ``index``: ``uint8 [height, width, 4]`` of its box's size."""
        box = self.design.layers[index].box
        return images.decode(self.member(layer_stem(index)), size=(box.width, box.height))

    def placed(self) -> list[Placed]:
        """All layers decoded, with their boxes, bottom to top: what ``compositing`` takes."""
        return [(self.layer(layer.index), layer.box) for layer in self.design.layers]

    def composite(self) -> Rgba:
        """Decode the stored composite: ``uint8 [canvas height, canvas width, 4]``."""
        canvas = self.design.canvas
        return images.decode(self.member("composite"), size=(canvas.width, canvas.height))

    @property
    def canvas(self) -> Box:
        return Box(0, 0, self.design.canvas.width, self.design.canvas.height)


def layer_stem(index: int) -> str:
    return f"layer_{index:02d}"


def restyle_stem(index: int) -> str:
    return f"restyle_{index:02d}"


def required_members(design: Design) -> set[str]:
    """The stems every sample of this record must hold (beside ``json``)."""
    return (
        {"composite", "preview"}
        | {layer_stem(layer.index) for layer in design.layers}
        | {restyle_stem(pair.layer) for pair in design.restyles}
    )


def write_shard(out: IO[bytes], samples: Iterable[Sample], shard: str) -> list[Location]:
    """Write samples as one tar and say where each member lies. ``shard`` is the name put into the locations."""
    locations = []
    counter = _Counter(out)
    with tarfile.open(fileobj=counter, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
        for sample in samples:
            key = sample.design.design_id
            members = []
            for name, data in [(RECORD, sample.design.to_json()), *sorted(sample.members.items())]:
                info = tarfile.TarInfo(f"{key}.{name}")
                info.size = len(data)
                info.mode = 0o644
                tar.addfile(info, io.BytesIO(data))
                padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                digest = hashlib.sha256(data).hexdigest()
                members.append(Member(name=name, offset=counter.written - padded, size=len(data), sha256=digest))
            locations.append(Location(key=key, shard=shard, members=tuple(members)))
    return locations


def read_shard(source: IO[bytes]) -> Iterator[Sample]:
    """The samples of a shard in order.

    Raises:
        SampleError: the tar is damaged or cut off, a member has no key, or a sample has no record.
        RecordError: a record does not validate.
    """
    key: str | None = None
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=source, mode="r:") as tar:
            for info in tar:
                head, dot, name = info.name.partition(".")
                if not info.isfile() or not dot or info.size > MAX_MEMBER_BYTES:
                    raise SampleError(f"shard holds {info.name!r}, which is no member of a sample")
                if head != key and key is not None:
                    yield _sample(key, members)
                    members = {}
                key = head
                if name in members:
                    raise SampleError(f"shard holds {info.name!r} twice")
                stream = tar.extractfile(info)
                data = stream.read() if stream else b""
                if len(data) != info.size:
                    raise SampleError(f"shard ends inside {info.name!r}")
                members[name] = data
            # tarfile takes a damaged header, and a file that ends between members, for the end.
            source.seek(tar.offset)
            if source.read(_END) != bytes(_END):
                raise SampleError(f"shard is damaged or cut off at byte {tar.offset}")
    except (tarfile.TarError, OverflowError, ValueError) as error:
        raise SampleError(f"damaged shard: {error}") from None
    if key is not None:
        yield _sample(key, members)


def _sample(key: str, members: dict[str, bytes]) -> Sample:
    record = members.pop(RECORD, None)
    if record is None:
        raise SampleError(f"sample {key} has no record")
    design = Design.from_json(record)
    if design.design_id != key:
        raise SampleError(f"sample {key} holds the record of {design.design_id}")
    return Sample(design, members)


class _Counter:
    """A write-only file that counts, so that a shard can be streamed to a store that cannot tell its position."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self.written = 0

    def write(self, data: bytes) -> int:
        self._out.write(data)
        self.written += len(data)
        return len(data)

    def tell(self) -> int:
        return self.written
