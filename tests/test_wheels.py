"""Built wheels work in an environment that has never seen the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_root_and_images_from_wheels(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(wheels),
    ]
    for member in (ROOT, ROOT / "plugins" / "images"):
        subprocess.run([*build, str(member)], check=True)
    assert sorted(w.name.split("-")[0] for w in wheels.iterdir()) == ["flowloom", "flowloom_images"]

    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, *map(str, wheels.iterdir())], check=True)
    # Dependencies come from this environment by path; editable installs are .pth files, which a plain
    # path entry does not read, so the checkout itself stays invisible.
    libraries = sysconfig.get_paths()["purelib"]
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(site) / "libraries.pth").write_text(libraries + "\n")

    def run(*words: str) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            [str(python), *words], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = run("-c", "import flowloom, flowloom_images; print(flowloom.__file__, flowloom_images.__file__)")
    assert str(ROOT) not in where
    assert "digits" in run("-m", "flowloom_registry", "list", "dataset", "--plugin", "images")
    small = ["train.steps=2", "solver.steps=1", "evaluate.sweep_nfe=[]", "sample.n=10"]
    run("-m", "flowloom_registry", "run", "digits", "--out", "run", *(w for s in small for w in ("--set", s)))
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert (Path(site) / "flowloom" / "py.typed").exists()
    assert (Path(site) / "flowloom_images" / "py.typed").exists()
    shutil.rmtree(tmp_path / "env")
