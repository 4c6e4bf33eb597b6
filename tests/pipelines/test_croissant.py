"""``croissant.json``: mlcroissant accepts it, reads records through it, and it says what the dataset says."""

import hashlib
import json
import warnings

import pytest

from pipelines.croissant import CROISSANT_JSON, croissant
from pipelines.validation.verify_croissant import check_croissant
from schemas.dataset import DATASET_JSON, Dataset
from schemas.index import INDEX_SCHEMA
from tests.pipelines.dataset_builder import publish, tiny_dataset


@pytest.fixture
def store(tmp_path):
    return tiny_dataset(tmp_path / "ds")


def dataset_of(store) -> Dataset:
    return Dataset.from_json(store.read(DATASET_JSON))


def digests(store) -> dict[str, str]:
    dataset = dataset_of(store)
    names = [*dataset.shards, *dataset.index, *dataset.ledger, dataset.plan]
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in names}


def messages(store) -> list[str]:
    return [problem.message for problem in check_croissant(store, dataset_of(store), digests(store))]


def test_it_is_a_function_of_the_dataset(store, tmp_path):
    assert croissant(store, dataset_of(store)) == croissant(store, dataset_of(store)) == store.read(CROISSANT_JSON)
    elsewhere = tiny_dataset(tmp_path / "elsewhere")
    assert elsewhere.read(CROISSANT_JSON) == store.read(CROISSANT_JSON)


def test_it_names_every_table_with_its_hash_and_describes_every_column(store):
    document = json.loads(store.read(CROISSANT_JSON))
    files = {each["contentUrl"]: each["sha256"] for each in document["distribution"] if "contentUrl" in each}
    assert files == digests(store)
    fields = {each["name"]: each for each in document["recordSet"][0]["field"]}
    assert set(fields) == set(INDEX_SCHEMA.names) - {"groupings", "members"}
    assert all(each.get("description") for each in fields.values())
    assert fields["boxes"]["arrayShape"] == "-1,4"
    assert "4 published, 1 filtered, 1 failed" in document["description"]
    assert document["license"] == ["LicenseRef-Acetate-Synthetic"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlcroissant_reads_samples_shards_and_ledger_through_it(store):
    import mlcroissant

    loaded = mlcroissant.Dataset(jsonld=store.path(CROISSANT_JSON))
    assert not loaded.metadata.ctx.issues.errors
    samples = list(loaded.records("samples"))
    assert len(samples) == 4
    assert [len(each["samples/boxes"]) for each in samples] == [3] * 4
    shards = {each["shards-table/path"].decode() for each in loaded.records("shards-table")}
    assert shards == set(store.names("shards"))
    assert sorted(int(each["ledger/row"]) for each in loaded.records("ledger")) == list(range(6))


def test_an_empty_dataset_has_one_too(tmp_path):
    empty = publish(tmp_path / "empty", [])
    assert messages(empty) == []


def test_a_good_one_has_no_problem_and_a_missing_one_has(store):
    assert messages(store) == []
    store.delete([CROISSANT_JSON])
    assert messages(store) == ["is missing"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d | {"@context": "https://example.org/context.json"}, "has not the one inline @context"),
        (lambda d: d | {"creator": {"@context": "https://example.org/c.json"}}, "has not the one inline @context"),
        (lambda d: d | {"distribution": d["distribution"][1:]}, "does not name 'manifest/shards-"),
        (lambda d: d | {"distribution": [d["distribution"][0] | {"sha256": "0" * 64}]}, "gives another sha256 for "),
        (lambda d: d | {"distribution": d["distribution"][:-1]}, "mlcroissant refuses it: "),
        (lambda d: [d], "has not the one inline @context"),
    ],
)
def test_a_stale_or_hostile_one_is_named(store, change, message):
    document = json.loads(store.read(CROISSANT_JSON))
    store.write(CROISSANT_JSON, json.dumps(change(document)).encode())
    assert any(message in each for each in messages(store)), messages(store)


def test_garbage_is_named(store):
    for garbage in (b"{", b"[" * 100_000, b"\xff\xfe"):
        store.write(CROISSANT_JSON, garbage)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert messages(store)[0].startswith("is no JSON: ")
