"""SMILES become conformers, in parallel, kept, whatever is in the file; what is left out is named."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

from flowloom.errors import DataError
from flowloom_molecules.data import conformers as parallel
from flowloom_molecules.data.molecules import Conformers

GOOD = ["CCO", "c1cc[nH]c1", "C[N+](C)(C)C", "[2H]OC", "F/C=C/F", "C[C@H](N)O", "CC(=O)[O-]"]
SETTINGS = {
    "most_heavy": 9,
    "hydrogens": True,
    "elements": ["C", "N", "O", "F"],
    "salts": "refuse",
    "conformers": 1,
    "optimise": "mmff",
    "seed": 0,
    "seconds": 30,
}


def test_charges_stereo_isotopes_and_aromatic_nitrogen(tmp_path, write_csv):
    file = write_csv(tmp_path / "m.csv", ("SMILES", "y"), [(s, 0) for s in GOOD])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = Conformers([str(file)], val=0, test=0, workers=1)
        x = data.all().x
    assert len(data) == len(GOOD)
    assert data.keys()[3] == "CO"
    assert "/" in data.keys()[4]
    assert "@" in data.keys()[5]
    real = data.all().cond["atoms"]
    total = torch.tensor([0.0, -1.0, 1.0])[x["charges"]] * real
    assert total.sum(1).tolist() == [0, 0, 1, 0, 0, 0, -1]
    centre = (x["pos"] * real[..., None]).sum(1)
    assert float(centre.abs().max()) < 1e-4
    # Hydrogen that was asked for is there: 9 atoms in ethanol.
    assert int(real[0].sum()) == 9


def test_rows_that_are_left_out_are_named_and_counted(tmp_path, write_csv):
    rows = ["CCO", "not smiles", "", "[Na+].[Cl-]", "C" * 12, "C[SiH](C)C", "C[CH2]", "CC.O", "CCN"]
    file = write_csv(tmp_path / "m.csv", ("smiles",), [(s,) for s in rows])
    data = Conformers([str(file)], val=0, test=0, workers=1)
    with pytest.warns(UserWarning, match="7 of 9 rows are left out") as told:
        assert sorted(data.keys()) == ["CCN", "CCO"]
    message = str(told[0].message)
    assert "several fragments (a salt): 2 (rows 4, 8)" in message
    assert "more than 9 heavy atoms: 1 (row 5)" in message
    assert "an element that is not asked for: 1 (row 6)" in message
    stripped = Conformers([str(file)], salts="strip", val=0, test=0, workers=1)
    with pytest.warns(UserWarning, match="6 of 9"):
        names = stripped.keys()
    assert "CC" in names


def test_numbers_of_atoms_are_no_other_molecule_and_a_bond_of_any_order_is_none(tmp_path, write_csv):
    rows = ["[CH3:1][OH:2]", "[H:3]OC", "CO", "C~C"]
    data = Conformers([str(write_csv(tmp_path / "m.csv", ("smiles",), [(s,) for s in rows]))], val=0, test=0)
    with pytest.warns(UserWarning, match=r"1 of 4 rows are left out: a bond of any order: 1 \(row 4\)"):
        assert data.keys() == ["CO"] * 3


def test_workers_leave_ctrl_c_to_who_asked_and_go_without_a_word():
    """All programs of a terminal are told of it."""
    worker = subprocess.Popen(
        [sys.executable, str(Path(parallel.__file__).with_name("conform.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    worker.stdin.write(json.dumps(SETTINGS) + "\n" + json.dumps("CO") + "\n")
    assert "pos" in json.loads(worker.stdout.readline())
    worker.send_signal(signal.SIGINT)
    worker.stdin.write(json.dumps("CCO") + "\n")
    assert "pos" in json.loads(worker.stdout.readline())
    worker.stdout.close()
    worker.stdin.write(json.dumps("CO") + "\n")
    worker.wait(timeout=60)
    assert worker.stderr.read() == ""


def test_who_stops_does_not_leave_threads_that_go_on(monkeypatch):
    asked = []

    def slow(self, smiles):
        asked.append(smiles)
        time.sleep(0.05)
        return {"reason": "slow"}

    monkeypatch.setattr(parallel._Worker, "embed", slow)
    stop = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    stop.start()
    with pytest.raises(KeyboardInterrupt):
        parallel.conformers(["C"] * 400, SETTINGS, 2)
    before = len(asked)
    time.sleep(0.5)
    assert len(asked) <= before + 2


def test_nothing_left_is_an_error_of_one_line(tmp_path, write_csv):
    file = write_csv(tmp_path / "m.csv", ("smiles",), [("rubbish",), ("C" * 30,)])
    with pytest.raises(DataError, match="none of 2 rows can be used"):
        len(Conformers([str(file)], workers=1))
    file = write_csv(tmp_path / "n.csv", ("structure",), [("CCO",)])
    with pytest.raises(DataError, match="no column 'smiles'; it has: structure"):
        len(Conformers([str(file)]))
    with pytest.raises(DataError, match=r"no file nowhere\.csv"):
        len(Conformers(["nowhere.csv"], root=tmp_path))
    with pytest.raises(DataError, match="each once; got Xx"):
        Conformers(elements=["C", "Xx"])


def test_what_was_made_is_kept_and_a_damaged_file_is_made_anew(tmp_path, write_csv, monkeypatch):
    file = write_csv(tmp_path / "m.csv", ("smiles",), [("CCO",), ("bad",), ("CN",)])
    with pytest.warns(UserWarning, match="unparsable"):
        first = Conformers([str(file)], val=0, test=0, workers=1).all()

    def never(*args, **kwargs):
        raise AssertionError("embedded again")

    monkeypatch.setattr("flowloom_molecules.data.molecules.conformers", never)
    with pytest.warns(UserWarning, match="unparsable"):
        second = Conformers([str(file)], val=0, test=0, workers=1).all()
    assert torch.equal(first.x["pos"], second.x["pos"])
    (kept,) = (tmp_path / "cache" / "flowloom" / "prepared").iterdir()
    kept.write_bytes(kept.read_bytes()[:50])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match="unparsable"):
        third = Conformers([str(file)], val=0, test=0, workers=1).all()
    assert torch.equal(first.x["pos"], third.x["pos"])


def test_answers_do_not_depend_on_the_workers():
    one = parallel.conformers(GOOD[:4], SETTINGS, workers=1)
    two = parallel.conformers(GOOD[:4], SETTINGS, workers=2)
    assert one == two


@pytest.mark.parametrize("seed", [0, 3])
def test_conformers_of_one_molecule_differ(seed):
    """RDKit multiplies the seed by the number of the conformer: with 0 all of them were the same."""
    (one,) = parallel.conformers(["CCCCO"], {**SETTINGS, "seed": seed, "conformers": 3}, workers=1)
    first, second, third = (torch.tensor(pos) for pos in one["pos"])
    assert (
        min(float((a - b).abs().max()) for a, b in ((first, second), (first, third), (second, third))) > 0.1
    )


def test_a_molecule_that_takes_its_process_down_costs_only_itself(tmp_path, monkeypatch):
    program = tmp_path / "conform.py"
    program.write_text(
        "import json, os, sys\n"
        "sys.stdin.readline()\n"
        "for line in sys.stdin:\n"
        "    if 'crash' in line: os._exit(1)\n"
        "    print(json.dumps({'key': json.loads(line)}), flush=True)\n"
    )
    monkeypatch.setattr(parallel, "__file__", str(tmp_path / "conformers.py"))
    answers = parallel.conformers(["a", "crash", "b"], SETTINGS, workers=1, seconds=20)
    assert [one.get("key") for one in answers] == ["a", None, "b"]
    assert "crashed" in answers[1]["reason"]
