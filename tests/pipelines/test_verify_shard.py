"""One shard: bytes, tar, samples and index rows; hostile tars end in findings, never in an exception."""

import hashlib
import io
import random
import tarfile

import pytest

from pipelines.storage import Store
from pipelines.validation.verify_shard import ShardJob, check_shard
from schemas.design import canonical_json
from tests.pipelines.dataset_builder import Draft, Entry, draft, make_sample

SAMPLES = [make_sample(1), make_sample(2)]
KEYS = [sample.design.design_id for sample in SAMPLES]


@pytest.fixture
def one():
    return draft([Entry(sample) for sample in SAMPLES])


def found(tmp_path, content: Draft, data: bytes | None = None, *, row=None, index: object = ...) -> list[str]:
    """The findings on the draft's shard, its bytes replaced by ``data`` (with them the shard table's row)."""
    store = Store(str(tmp_path))
    ((path, good),) = content.shards.items()
    store.write(path, good if data is None else data)
    written = dict(content.shard_rows[0])
    if data is not None:
        written |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rows = tuple(content.index_rows) if index is ... else index
    problems = check_shard(ShardJob(store, {**written, **(row or {})}, rows))
    assert all(problem.where.startswith(path) for problem in problems)
    return [str(problem).removeprefix(path) for problem in problems]


def tar(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for info, data in members:
            named = tarfile.TarInfo(info) if isinstance(info, str) else info
            named.size = named.size or len(data)
            shard.addfile(named, io.BytesIO(data))
    return out.getvalue()


def spoilt(content: Draft, row: int, **fields: object) -> tuple[dict[str, object], ...]:
    return tuple({**each, **fields} if i == row else each for i, each in enumerate(content.index_rows))


def test_a_good_shard(tmp_path, one):
    assert found(tmp_path, one) == []
    assert found(tmp_path, one, index=None) == []


def test_a_shard_in_memory_is_read_like_a_file(one):
    store = Store("memory://verify-shard")
    ((path, data),) = one.shards.items()
    store.write(path, data)
    assert check_shard(ShardJob(store, one.shard_rows[0], tuple(one.index_rows))) == []


def test_a_shard_that_is_gone(tmp_path, one):
    (problem,) = check_shard(ShardJob(Store(str(tmp_path)), one.shard_rows[0], tuple(one.index_rows)))
    assert problem.message == "is named by the shard table and not there"


def test_a_flipped_bit_is_found_in_hash_and_sample(tmp_path, one):
    ((_, good),) = one.shards.items()
    member = one.index_rows[1]["members"][2]
    data = bytearray(good)
    data[member["offset"] + member["size"] // 2] ^= 64
    messages = found(tmp_path, one, bytes(data), row=one.shard_rows[0])
    assert any(m.startswith(": its sha256 starts with ") for m in messages)
    assert any(m == f":{KEYS[1]}: index: member 'layer_00.webp': sha256 is not what the shard says" for m in messages)
    assert not any(KEYS[0] in m for m in messages)


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 5_000, 20_000])
def test_a_truncated_shard(tmp_path, one, cut):
    ((_, good),) = one.shards.items()
    messages = found(tmp_path, one, good[:cut], row=one.shard_rows[0])
    assert any("the shard table says" in m for m in messages)
    assert len(messages) > 2, messages


def test_lost_padding_is_found_by_size_and_hash(tmp_path, one):
    ((_, good),) = one.shards.items()
    size, digest = found(tmp_path, one, good[:-512], row=one.shard_rows[0])
    assert size == f": {len(good) - 512} bytes, the shard table says {len(good)}"
    assert digest.startswith(": its sha256 starts with ")


def test_garbage_after_the_end_and_in_a_header(tmp_path, one):
    ((_, good),) = one.shards.items()
    assert any("does not end cleanly" in m for m in found(tmp_path, one, good + b"x" * 512))
    offset = one.index_rows[1]["members"][0]["offset"] - 512
    broken = good[:offset] + b"\xff" * 512 + good[offset + 512 :]
    messages = found(tmp_path, one, broken)
    assert f": the tar does not end cleanly after byte {offset}" in messages
    assert f": samples of the index that it does not hold: '{KEYS[1]}'" in messages
    assert ": holds 1 samples, the shard table says 2" in messages


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "val"}, "index: split is 'val', the sample says 'train'"),
        ({"boxes": [[0, 0, 1, 1]] * 3}, "index: boxes is [[0, 0, 1, 1]"),
        ({"recompose_mae": 0.25}, "index: recompose_mae is 0.25, the sample says 0.0"),
        ({"licence": "MIT"}, "index: licence is 'MIT', the sample says 'LicenseRef-Acetate-Synthetic'"),
        ({"phash": "0" * 64}, "index: phash is not that of the visible composite"),
        ({"phash": "no hash"}, "index: phash is not that of the visible composite"),
        ({"members": []}, "index: member 'json' is missing"),
        ({"key": "0" * 32}, "is not in the index"),
    ],
)
def test_an_index_row_that_disagrees(tmp_path, one, fields, message):
    messages = found(tmp_path, one, index=spoilt(one, 0, **fields))
    assert any(m.startswith(f":{KEYS[0]}: {message}") for m in messages), messages


def test_a_stale_offset_and_a_member_too_many(tmp_path, one):
    members = [dict(member) for member in one.index_rows[0]["members"]]
    members[1]["offset"] += 512
    members.append({"name": "layer_77.webp", "offset": 0, "size": 1, "sha256": "0" * 64})
    assert found(tmp_path, one, index=spoilt(one, 0, members=members)) == [
        f":{KEYS[0]}: index: member 'composite.webp': offset is not what the shard says",
        f":{KEYS[0]}: index: members that the shard does not hold: 'layer_77.webp'",
    ]


def test_a_key_that_comes_twice(tmp_path):
    twice = draft([Entry(SAMPLES[0]), Entry(SAMPLES[1]), Entry(SAMPLES[0])])
    messages = found(tmp_path, twice)
    assert f":{KEYS[0]}: the key comes twice" in messages
    assert f":{KEYS[0]}: is 2 times in the index" in messages


def test_hostile_members_are_named_and_the_rest_is_checked(tmp_path, one):
    link = tarfile.TarInfo("a.webp")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    odd = [
        (link, b""),
        ("../../escape.webp", b"x"),
        ("no-dot", b"x"),
        ("\x1b[31m.json", b"{}"),
        (f"{KEYS[0]}.json", b"[" * 100_000),
        ("b" * 32 + ".json", canonical_json({"schema": 1})),
        ("c" * 32 + ".webp", b"x"),
        (f"{KEYS[1]}.json", SAMPLES[0].design.to_json()),
    ]
    messages = found(tmp_path, one, tar(*odd))
    for expected in (
        ": 'a.webp' is no member of a sample",
        ": '../../escape.webp' is no member of a sample",
        ": 'no-dot' is no member of a sample",
        f":{'c' * 32}: the sample has no record",
        f":{KEYS[1]}: holds the record of {KEYS[0]}",
    ):
        assert expected in messages, messages
    assert any(m.startswith(f":{KEYS[0]}: Design: ") for m in messages)
    assert any(m.startswith(f":{'b' * 32}: Design: design_id: ") for m in messages)
    assert not any("\x1b" in m for m in messages)


def test_a_member_larger_than_the_shard(tmp_path, one):
    huge = tarfile.TarInfo("a.json")
    huge.size = 7 << 30
    data = huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024
    assert any("'a.json' of 7516192768 bytes is over the limit" in m for m in found(tmp_path, one, data))
    huge.size = 1 << 20
    data = huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024
    assert any("'a.json' reaches beyond the end of the shard" in m for m in found(tmp_path, one, data))


@pytest.mark.parametrize("data", [b"", b"\0" * 10_240, b"PK\3\4" * 400, b"\xff" * 2048])
def test_what_is_no_tar(tmp_path, one, data):
    messages = found(tmp_path, one, data)
    assert ": holds 0 samples, the shard table says 2" in messages


def test_a_record_that_is_not_canonical(tmp_path, one):
    members = [(f"{KEYS[0]}.json", b" " + SAMPLES[0].design.to_json())]
    assert f":{KEYS[0]}: the record is not in canonical form" in found(tmp_path, one, tar(*members))


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_is_found_and_never_raises(tmp_path, one, seed):
    rng = random.Random(seed)
    ((_, good),) = one.shards.items()
    data = bytearray(good)
    for _ in range(rng.choice((1, 3, 40))):
        start = rng.randrange(len(data))
        data[start : start + rng.choice((1, 12, 600))] = rng.randbytes(rng.choice((1, 12, 600)))
    assert found(tmp_path, one, bytes(data), row=one.shard_rows[0])
