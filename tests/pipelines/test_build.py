"""The build: what it publishes, how it goes on, and what becomes of bad input."""

from __future__ import annotations

import hashlib
import io
import resource
import shutil
import subprocess
import uuid
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from psd_tools import PSDImage

from pipelines.build import Retry
from pipelines.errors import PublishError, StoreError, UsageError
from pipelines.gc import collect
from pipelines.storage import Store
from pipelines.synth import synthesise
from pipelines.validation.verify import verify
from schemas.ledger import LEDGER_SCHEMA, Code
from tests.conftest import S3
from tests.pipelines.builds import call, codes, command, listing, outcome, published, rows, run_inline

COUNT = 12


@pytest.fixture(scope="module")
def designs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny designs; gives its manifest."""
    return synthesise(tmp_path_factory.mktemp("designs"), COUNT, 5, "tiny")


@pytest.fixture
def own(designs: Path, tmp_path: Path) -> Path:
    """A copy of the designs that a test may spoil; gives its manifest."""
    shutil.copytree(designs.parent, tmp_path / "in")
    return tmp_path / "in" / designs.name


def small(**settings: object) -> dict[str, object]:
    return {"run__unit_size": 4, "extract__min_side": 16, "run__max_failed": 1.0, **settings}


def shorten(manifest: Path, keep: int) -> Path:
    lines = manifest.read_text().splitlines()
    short = manifest.with_name("short.csv")
    short.write_text("\n".join(lines[: keep + 1]) + "\n")
    return short


def test_a_build_publishes_a_valid_dataset_that_stock_webdataset_reads(designs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    result = run_inline(designs, str(out), **small())
    counts = result.dataset.counts
    assert counts.inputs == COUNT == counts.ok + counts.filtered + counts.failed
    assert counts.ok >= COUNT * 0.8
    assert verify(Store(str(out))) == []
    urls = [str(out / row["path"]) for row in rows(out, "shards")]
    keys = [sample["__key__"] for sample in wds.WebDataset(urls, shardshuffle=False, empty_check=False)]
    assert sorted(keys) == sorted(row["key"] for row in rows(out, "index"))
    assert (out / "report" / "index.html").is_file()
    assert (out / "croissant.json").is_file()


def test_a_second_run_writes_nothing(designs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    first = run_inline(designs, str(out), **small())
    before = listing(out)
    second = run_inline(designs, str(out), **small())
    assert (first.fresh, second.fresh) == (True, False)
    assert listing(out) == before


def test_a_grown_manifest_keeps_the_old_shards(designs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    run_inline(shorten(designs, 7), str(out), **small())
    old = {row["path"] for row in rows(out, "shards")}
    extracted = listing(out / "_work" / "extract")
    grown = run_inline(designs, str(out), **small())
    assert grown.dataset.generation == 2
    assert old < {row["path"] for row in rows(out, "shards")}
    assert extracted.items() <= listing(out / "_work" / "extract").items()
    assert grown.dataset.counts.inputs == COUNT
    assert verify(Store(str(out))) == []


def test_a_changed_caption_setting_redoes_captions_and_shards_alone(designs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    run_inline(designs, str(out), **small())
    work = {name: listing(out / "_work" / name) for name in ("extract", "group", "restyle", "caption")}
    run_inline(designs, str(out), **small(caption__languages=["de"]))
    for name in ("extract", "group", "restyle"):
        assert listing(out / "_work" / name) == work[name]
    assert listing(out / "_work" / "caption") != work["caption"]
    assert verify(Store(str(out))) == []


def test_bad_inputs_cost_their_own_rows(own: Path, tmp_path: Path) -> None:
    folder = own.parent
    good = own.read_text().splitlines()[1:]
    first = next(folder.glob("*.psd")).read_bytes()
    (folder / "truncated.psd").write_bytes(first[: len(first) // 3])
    (folder / "huge.psd").write_bytes(first[:14] + b"\x00\x00\x70\x00\x00\x00\x70\x00" + first[22:])
    (folder / "mode.psd").write_bytes(first[:24] + b"\x00\x63" + first[26:])
    (folder / "garbage.ora").write_bytes(b"PK\x03\x04 no zip")
    (folder / "empty.psd").write_bytes(b"")
    shutil.copy(folder / next(folder.glob("*.psd")).name, folder / "again.psd")
    bad = ["truncated.psd", "huge.psd", "mode.psd", "garbage.ora", "empty.psd", "nowhere.psd", "note.txt", "again.psd"]
    terms = "LicenseRef-Acetate-Synthetic,one,"
    extra = [f"{name},{terms}" for name in bad] + ["x.psd,GPL-3.0-only,one,", "y.psd,,one,"]
    header = own.read_text().splitlines()[0]
    assert header.startswith("uri,licence,licensor")
    own.write_text("\n".join([header, *good, *extra]) + "\n")
    out = tmp_path / "ds"
    run_inline(own, str(out), **small())
    found = codes(out)
    assert len(found) == COUNT + 10
    expected = {
        "truncated.psd": {Code.UNREADABLE},
        "huge.psd": {Code.TOO_LARGE},
        "mode.psd": {Code.UNSUPPORTED, Code.UNREADABLE},
        "garbage.ora": {Code.UNREADABLE},
        "empty.psd": {Code.UNREADABLE},
        "nowhere.psd": {Code.NOT_FOUND},
        "note.txt": {Code.UNSUPPORTED, Code.NOT_FOUND},
        "x.psd": {Code.LICENCE_NOT_ALLOWED},
        "y.psd": {Code.LICENCE_MISSING},
    }
    for uri, allowed in expected.items():
        assert found[uri] in allowed, (uri, found[uri])
    assert list(found.values()).count(Code.DUPLICATE) == 1
    assert list(found.values()).count(Code.OK) >= COUNT * 0.8
    assert all(row["message"] for row in rows(out, "ledger") if row["code"] != Code.OK)
    assert verify(Store(str(out))) == []


def test_a_design_over_the_limits_costs_its_own_row(own: Path, tmp_path: Path) -> None:
    from tests.pipelines.hungry import write_hungry

    write_hungry(own.parent / "hungry.psd")
    with own.open("a") as out:
        out.write("hungry.psd,LicenseRef-Acetate-Synthetic,one,\n")
    run_inline(own, str(tmp_path / "ds"), **small(run__limits={"memory_mb": 256, "cpu_seconds": 20}))
    found = codes(tmp_path / "ds")
    assert found.pop("hungry.psd") == Code.OUT_OF_MEMORY
    assert list(found.values()).count(Code.OK) >= COUNT * 0.8


def test_retry_failed_takes_the_failed_rows_alone(own: Path, tmp_path: Path) -> None:
    out, hidden = tmp_path / "ds", tmp_path / "hidden.psd"
    uri = next(own.parent.glob("*.psd")).name
    (own.parent / uri).rename(hidden)
    run_inline(own, str(out), **small())
    assert codes(out)[uri] == Code.NOT_FOUND
    hidden.rename(own.parent / uri)
    assert run_inline(own, str(out), **small()).fresh is False
    assert run_inline(own, str(out), Retry(Code.TIMEOUT), **small()).fresh is False
    result = run_inline(own, str(out), Retry(), **small())
    assert result.dataset.generation == 2
    assert result.dataset.counts.failed == 0
    assert codes(out)[uri] == Code.OK
    assert verify(Store(str(out))) == []


def test_earlier_winners_stay(own: Path, tmp_path: Path) -> None:
    """A copy that was published stays, although the row that would have won comes back with a lower number."""
    out = tmp_path / "ds"
    originals = sorted(own.parent.glob("*.psd"))
    for path in originals:
        shutil.copy(path, path.with_name(f"copy-of-{path.name}"))
    header, *lines = own.read_text().splitlines()
    copies = [f"copy-of-{path.name},LicenseRef-Acetate-Synthetic,one,{path.name}" for path in originals]
    own.write_text("\n".join([header, *lines, *copies]) + "\n")
    for path in originals:
        path.rename(path.with_suffix(".away"))
    run_inline(own, str(out), **small())
    winners = {uri for uri, code in codes(out).items() if code == Code.OK}
    for path in originals:
        path.with_suffix(".away").rename(path)
    run_inline(own, str(out), Retry(), **small())
    after = codes(out)
    assert all(after[uri] == Code.OK for uri in winners)
    assert all(after[path.name] == Code.DUPLICATE for path in originals if f"copy-of-{path.name}" in winners)


def test_a_critical_expectation_stops_publication(designs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    run_inline(shorten(designs, 8), str(out), **small())
    before = published(out)
    with pytest.raises(PublishError, match="not published"):
        run_inline(designs, str(out), **small(expectations__max_mae=0.0))
    assert published(out) == before


def test_a_dataset_can_live_in_memory(designs: Path) -> None:
    out = f"memory://{uuid.uuid4().hex}"
    run_inline(designs, out, **small())
    assert verify(Store(out)) == []
    with pytest.raises(UsageError, match="--executor inline"):
        run_inline(shorten(designs, 4), f"memory://{uuid.uuid4().hex}", **small(run__executor="ray"))


def test_sources_and_dataset_can_live_on_s3(designs: Path, s3_environment: S3, tmp_path: Path) -> None:
    bucket, options = s3_environment.bucket(), {"run__storage_options": s3_environment.options}
    fs, root = fsspec.core.url_to_fs(f"{bucket}/in")
    fs.put(str(designs.parent), root, recursive=True)
    run_inline(f"{bucket}/in/{designs.name}", f"{bucket}/ds", **small(**options))
    assert verify(Store(f"{bucket}/ds")) == []
    run_inline(designs, str(tmp_path / "ds"), **small())
    assert outcome(f"{bucket}/ds") == outcome(tmp_path / "ds")
    assert run_inline(f"{bucket}/in/{designs.name}", f"{bucket}/ds", **small(**options)).fresh is False


def test_gc_removes_what_no_generation_names(designs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    run_inline(shorten(designs, 8), str(out), **small())
    run_inline(designs, str(out), **small(caption__languages=["de"]))
    before = {row["path"] for row in rows(out, "shards")}
    removed = collect(Store(str(out)), work=True)
    assert any(name.startswith("shards/") for name in removed)
    assert not list(out.rglob("_work/**/*.json"))
    assert {row["path"] for row in rows(out, "shards")} == before
    assert verify(Store(str(out))) == []
    assert run_inline(designs, str(out), **small(caption__languages=["de"])).fresh is False
    run_inline(designs, str(out), **small())
    assert verify(Store(str(out))) == []


def test_a_full_disk_stops_with_one_and_the_next_run_goes_on(designs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    words = ["build", "--manifest", designs, "--out", out, "--executor", "inline", "--set", "extract.min_side=16"]
    full = subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert full.returncode == 1, full.stderr
    assert "Traceback" not in full.stderr
    assert not (out / "dataset.json").exists()
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert verify(Store(str(out))) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "extract.min_layer=3"], "did you mean 'extract.min_layers'"),
        (["--manifest", "{none}"], "no manifest"),
        (["--manifest", "{short}"], "has no column 'licensor'"),
        (["--manifest", "{good}", "--set", "run.unit_size=5"], "unit_size was 4, is 5"),
        (["--manifest", "{good}", "--out", "{other}"], "another schema version"),
        (["--manifest", "{good}", "--code", "timeout"], "--retry-failed"),
        (["--manifest", "{good}", "--executor", "spark"], "run.executor"),
    ],
)
def test_a_users_mistakes_are_one_line_and_exit_2(designs: Path, tmp_path: Path, words: list[str], told: str) -> None:
    places = {"none": tmp_path / "none.csv", "short": tmp_path / "short.csv", "good": designs, "other": tmp_path / "x"}
    places["short"].write_text("uri,licence\na.psd,MIT\n")
    places["other"].mkdir()
    (places["other"] / "dataset.json").write_text('{"schema": 99}')
    out = tmp_path / "ds"
    if "unit_size" in told:
        run_inline(designs, str(out), **small())
    filled = [word.format(**places) for word in words]
    done = call("build", *([] if "--out" in filled else ["--out", str(out)]), *filled)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_too_many_failures_exit_1_with_the_ledger_published(own: Path, tmp_path: Path) -> None:
    next(own.parent.glob("*.psd")).write_bytes(b"")
    words = [
        "build",
        "--manifest",
        own,
        "--out",
        tmp_path / "ds",
        "--executor",
        "inline",
        "--set",
        "extract.min_side=16",
    ]
    done = call(*words)
    assert done.returncode == 1
    assert "--max-failed" in done.stderr
    assert published(tmp_path / "ds").counts.failed == 1
    assert call(*words, "--max-failed", "0.5").returncode == 0


def test_inspect_shows_a_design(own: Path, tmp_path: Path) -> None:
    done = call("inspect", next(own.parent.glob("*.psd")), "--out", tmp_path / "shown")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "shown").glob("*.png"))


def test_the_record_of_a_sample_is_the_one_promised(designs: Path, tmp_path: Path) -> None:
    from schemas.sample import read_shard

    run_inline(designs, str(tmp_path / "ds"), **small())
    for row in rows(tmp_path / "ds", "shards"):
        for sample in read_shard(io.BytesIO((tmp_path / "ds" / row["path"]).read_bytes())):
            design = sample.design
            assert design.licence.id == "LicenseRef-Acetate-Synthetic"
            assert design.provenance.sha256.startswith(design.design_id)
            assert design.captions.short
            assert all(layer.caption for layer in design.layers)


TERMS = "LicenseRef-Acetate-Synthetic,one,"


def add_rows(manifest: Path, *lines: str) -> None:
    with manifest.open("a") as out:
        out.writelines(f"{line}\n" for line in lines)


def test_repeated_rows_keep_their_numbers_when_a_unit_is_redone(own: Path, tmp_path: Path) -> None:
    out, hidden = tmp_path / "ds", tmp_path / "hidden"
    first, second, *_ = sorted(path.name for path in own.parent.glob("*.psd"))
    add_rows(own, f"{first},{TERMS}", f"{first},{TERMS}")
    (own.parent / second).rename(hidden)
    run_inline(own, str(out), **small(run__unit_size=64, run__splits={"train": 1.0}))
    hidden.rename(own.parent / second)
    run_inline(own, str(out), Retry(), **small(run__unit_size=64, run__splits={"train": 1.0}))
    assert [row["row"] for row in rows(out, "ledger")] == list(range(COUNT + 2))
    assert verify(Store(str(out))) == []


def test_a_sample_has_the_terms_of_the_row_it_was_published_for(own: Path, tmp_path: Path) -> None:
    """Of two rows with the same bytes the one whose licence is refused must never lend its terms."""
    out = tmp_path / "ds"
    name = sorted(path.name for path in own.parent.glob("*.psd"))[0]
    shutil.copy(own.parent / name, own.parent / "twin.psd")
    own.write_text(f"uri,licence,licensor,family\n{name},MIT,mit person,f\ntwin.psd,CC0-1.0,other person,f\n")
    for denied in ([], ["MIT"], ["CC0-1.0"], []):
        run_inline(own, str(out), **small(licence__deny=denied))
        (sample,) = rows(out, "index")
        assert sample["licence"] not in denied
        assert sample["uri"] == {"MIT": name, "CC0-1.0": "twin.psd"}[sample["licence"]]
        assert verify(Store(str(out))) == []


def test_changed_terms_read_no_source_again(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    run_inline(own, str(out), **small())
    extracted = listing(out / "_work" / "extract")
    own.write_text(own.read_text().replace("LicenseRef-Acetate-Synthetic", "CC0-1.0"))
    result = run_inline(own, str(out), **small())
    assert set(result.dataset.licences) == {"CC0-1.0"}
    assert listing(out / "_work" / "extract") == extracted
    assert verify(Store(str(out))) == []


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_shards_that_are_gone_or_cut_are_made_again(designs: Path, tmp_path: Path, how: str) -> None:
    out = tmp_path / "ds"
    run_inline(designs, str(out), **small())
    before = outcome(out)["shards"]
    for path in (out / "shards").iterdir():
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:2048])
    assert verify(Store(str(out))) != []
    assert run_inline(designs, str(out), **small()).fresh
    assert outcome(out)["shards"] == before
    assert verify(Store(str(out))) == []


@pytest.mark.parametrize("kind", ["extract/*.tar", "restyle/*.bin", "extract/*.json", "shard/*.json", "caption/*.json"])
def test_damaged_artefacts_are_made_again(designs: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "ds"
    run_inline(designs, str(out), **small())
    before = outcome(out)
    damaged = list((out / "_work").glob(kind))
    assert damaged
    for path in damaged:
        data = bytearray(path.read_bytes())
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
        path.write_bytes(data)
    (out / "dataset.json").unlink()
    for path in (out / "shards").iterdir():
        path.unlink()
    for _ in range(8):
        try:
            run_inline(designs, str(out), **small())
            break
        except StoreError as error:
            assert "run the build again" in str(error)
    assert outcome(out)["shards"] == before["shards"]
    assert verify(Store(str(out))) == []


def test_dedup_that_is_set_otherwise_judges_what_was_published(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    name = sorted(path.name for path in own.parent.glob("*.psd"))[0]
    nearly = PSDImage.open(own.parent / name)
    nearly.image_resources.clear()
    nearly.save(own.parent / "nearly.psd")
    assert (own.parent / "nearly.psd").read_bytes() != (own.parent / name).read_bytes()
    add_rows(own, f"nearly.psd,{TERMS}")
    run_inline(own, str(out), **small(dedup__enabled=False))
    assert Code.NEAR_DUPLICATE not in codes(out).values()
    run_inline(own, str(out), **small())
    assert list(codes(out).values()).count(Code.NEAR_DUPLICATE) == 1


def test_a_plan_that_was_never_published_binds_nobody(own: Path, tmp_path: Path) -> None:
    out, typo = tmp_path / "ds", tmp_path / "typo.csv"
    typo.write_text(f"uri,licence,licensor\nno-such-file.psd,{TERMS[:-1]}\n")
    run_inline(typo, str(out), **small())
    (out / "dataset.json").unlink()
    assert run_inline(own, str(out), **small()).dataset.counts.inputs == COUNT


def test_a_licence_that_no_parser_reads_costs_its_own_row(own: Path, tmp_path: Path) -> None:
    add_rows(own, "a.psd,(),one,", "b.psd,MIT WITH nonsense,one,", 'c.psd,"((((",one,')
    run_inline(own, str(tmp_path / "ds"), **small())
    found = codes(tmp_path / "ds")
    assert {found[name] for name in ("a.psd", "b.psd", "c.psd")} == {Code.LICENCE_NOT_ALLOWED}


def test_a_refused_licence_that_was_published_all_the_same_is_found(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    add_rows(own, "x.psd,GPL-3.0-only,one,")
    run_inline(own, str(out), **small())
    dataset = published(out)
    path = out / dataset.ledger[0]
    table = pq.read_table(path).to_pylist()
    for row in table:
        if row["uri"] == "x.psd":
            row |= {"code": Code.TOO_SMALL}
    data = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(table, LEDGER_SCHEMA), data)
    name = f"{dataset.ledger[0][:-16]}{hashlib.sha256(data.getvalue()).hexdigest()[:8]}.parquet"
    (out / name).write_bytes(data.getvalue())
    (out / "dataset.json").write_bytes(dataset.model_copy(update={"ledger": (name,)}).to_json())
    assert any("licence policy refused" in problem.message for problem in verify(Store(str(out))))


def test_uris_that_no_store_serves_cost_their_own_rows(own: Path, tmp_path: Path) -> None:
    odd = ["foo://x.psd", "github://x.psd", "reference://x.psd", "zip://a.psd::/nowhere.zip", "~nobody/x.psd"]
    add_rows(own, *(f"{uri},{TERMS}" for uri in odd))
    run_inline(own, str(tmp_path / "ds"), **small())
    found = codes(tmp_path / "ds")
    assert all(Code(found[uri]) not in (Code.OK, Code.CRASHED) for uri in odd)
    assert list(found.values()).count(Code.OK) >= COUNT * 0.8


def test_a_store_that_falters_costs_no_committed_work(
    designs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "ds"
    run_inline(designs, str(out), **small())
    extracted = listing(out / "_work" / "extract")

    def falter(self: Store, name: str, offset: int, size: int) -> bytes:
        raise StoreError("503 slow down")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "read_range", falter)
        with pytest.raises(StoreError, match="503"):
            run_inline(designs, str(out), **small(caption__languages=["de"]))
    assert listing(out / "_work" / "extract") == extracted
    run_inline(designs, str(out), **small(caption__languages=["de"]))
    assert verify(Store(str(out))) == []


@pytest.mark.parametrize("kind", ["index", "shards"])
def test_tables_that_are_gone_are_made_again(designs: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "ds"
    run_inline(designs, str(out), **small())
    for path in (out / "manifest").glob(f"{kind}-*"):
        path.unlink()
    assert verify(Store(str(out))) != []
    assert run_inline(designs, str(out), **small()).fresh
    assert verify(Store(str(out))) == []


def test_a_damaged_plan_that_was_never_published_is_passed_over(designs: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    run_inline(shorten(designs, 8), str(out), **small())
    (out / "manifest" / "plan-000002-00000000.parquet").write_bytes(b"")
    assert run_inline(designs, str(out), **small()).dataset.counts.inputs == COUNT


def test_a_ray_cluster_that_is_not_there_is_one_line(designs: Path, tmp_path: Path) -> None:
    done = call("build", "--manifest", designs, "--out", tmp_path / "ds", RAY_ADDRESS="127.0.0.1:9")
    assert done.returncode == 2
    assert "no Ray cluster at RAY_ADDRESS=127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_licences_nested_without_end_and_dates_that_are_none_cost_their_own_rows(own: Path, tmp_path: Path) -> None:
    deep = "(MIT OR (MIT AND " * 400 + "MIT" + "))" * 400
    header, *lines = own.read_text().splitlines()
    extra = [f"a.psd,{deep},one,,", "b.psd,MIT,one,,2999-01-01garbage"]
    own.write_text("\n".join([f"{header},expires", *(f"{line}," for line in lines), *extra]) + "\n")
    run_inline(own, str(tmp_path / "ds"), **small())
    found = codes(tmp_path / "ds")
    assert (found["a.psd"], found["b.psd"]) == (Code.LICENCE_NOT_ALLOWED, Code.LICENCE_EXPIRED)
