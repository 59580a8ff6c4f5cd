"""A training run gives the same weights again, byte for byte, and its solver finds what it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy", reason="the trainer's extra [train] is not installed")
pytest.importorskip("scipy", reason="the trainer's extra [train] is not installed")

from scipy import sparse

from neuroroute.classifier import fit, train
from neuroroute.classifier.table import unpack

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("NEUROROUTE_ROUTING_DATA") or ROOT / "../shared/routing-data")


def _trained(hash_seed: str, threads: str) -> bytes:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OPENBLAS_NUM_THREADS": threads}
    made = subprocess.run(
        [sys.executable, "-m", "tests.classifier.training_slice"], cwd=ROOT, env=environment, capture_output=True, check=False, timeout=300
    )
    assert made.returncode == 0, made.stderr.decode()
    return made.stdout


def test_two_processes_that_order_their_sets_otherwise_on_one_thread_and_on_two_train_the_same_bytes() -> None:
    first, second = _trained("1", "1"), _trained("2", "2")
    assert first == second
    assert len(unpack(first).header["heads"]) == len(train.HEADS)


@pytest.mark.skipif(not os.environ.get("NEUROROUTE_TRAIN"), reason="minutes of training: set NEUROROUTE_TRAIN=1")
def test_training_on_the_whole_data_gives_the_packaged_weights() -> None:
    packaged = ROOT / "neuroroute" / "classifier" / "weights" / "table.nrt"
    assert train.packed(train.learn(train.load_examples(DATA))) == packaged.read_bytes()


def test_the_solver_finds_the_lowest_place_of_a_bowl() -> None:
    middle, width = np.arange(1.0, 2001.0, dtype=np.float32), np.geomspace(1.0, 50.0, 2000).astype(np.float32)

    def bowl(at: fit.Singles) -> tuple[float, fit.Singles]:
        away = at - middle
        return 0.5 * fit.inner_product(width * away, away), width * away

    found = fit.minimise(bowl, np.zeros(2000, dtype=np.float32), 60)
    assert float(np.abs(found - middle).max()) < 0.01


def test_a_softmax_fit_learns_its_columns_and_leaves_those_that_no_row_has_at_nothing() -> None:
    rows = sparse.csr_matrix(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]] * 20))
    targets = np.array([[1.0, 0.0], [0.0, 1.0]] * 20)
    table, bias = fit.fit_softmax(rows, targets, np.ones(40), 1e-3)
    assert ((rows @ table + bias).argmax(axis=1) == targets.argmax(axis=1)).all()
    assert not table[2].any()


def test_a_logistic_fit_meets_the_shares_it_was_shown() -> None:
    rows = sparse.csr_matrix(np.array([[1.0], [0.0]] * 50))
    targets = np.array([0.8, 0.3] * 50)
    table, bias = fit.fit_logistic(rows, targets, np.ones(100), 1e-6)
    scores = np.asarray(rows @ table) + bias
    assert 1.0 / (1.0 + np.exp(-scores[:2])) == pytest.approx(targets[:2], abs=0.01)
