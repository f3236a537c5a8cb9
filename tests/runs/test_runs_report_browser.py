"""The report in a real browser: Chromium, without a network. Skipped where there is none."""

import json
import re
import shutil
import subprocess

import pytest

from flowloom_registry.cli import main

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

RECIPE = """
name: seen
data: eight-gaussians
model: {use: mlp, width: 16, depth: 1}
solver: {use: midpoint, steps: 4}
metrics: [energy-distance, sliced-wasserstein]
renderer: scatter
train: {steps: 12, batch: 32, log_every: 2}
evaluate: {n: 60, reference: 80, sweep_n: 20, sweep_nfe: [2, 4, 8]}
sample: {n: 12, frames: 3, rows: 2}
"""

# A person at the page: what they do, and what they then see, told in the title.
VISIT = """<script>
const seen = {errors: []};
addEventListener("error", (e) => seen.errors.push(e.message));
addEventListener("securitypolicyviolation", (e) => seen.errors.push(e.blockedURI));
addEventListener("load", () => setTimeout(() => {
  const table = document.querySelector("table.data"), rows = () => [...table.tBodies[0].rows];
  const column = () => rows().map((r) => r.cells[1].textContent);
  const head = () => table.querySelectorAll("thead button")[1];
  head().click(); seen.rising = column(); seen.sorted = head().parentElement.getAttribute("aria-sort");
  head().click(); seen.falling = column();
  seen.plots = document.querySelectorAll(".plot.on canvas").length;
  seen.stills = [...document.querySelectorAll(".plot .still")].filter((e) => e.offsetHeight).length;
  const over = document.querySelector(".plot .u-over"), box = over.getBoundingClientRect();
  for (const type of ["mouseenter", "mousemove"])
    over.dispatchEvent(new MouseEvent(type, {clientX: box.left + box.width / 3, clientY: box.top + 20}));
  setTimeout(() => {
    const tip = document.querySelector(".tip");
    seen.tip = tip.hidden ? "" : tip.textContent;
    const slider = document.querySelector(".player input");
    slider.value = 0; slider.dispatchEvent(new Event("input"));
    seen.first = document.querySelector(".player output").textContent;
    seen.frames = [...document.querySelectorAll(".frame")].filter((e) => e.offsetHeight).length;
    document.querySelector(".legend li").click();
    seen.off = document.querySelectorAll(".legend li.off").length;
    seen.wide = document.documentElement.scrollWidth - innerWidth;
    document.body.textContent = "SEEN" + JSON.stringify(seen) + "SEEN";
  }, 200);
}, 300));
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    (folder / "r.yaml").write_text(RECIPE)
    words = ["run", str(folder / "r.yaml"), "--out", str(folder / "run"), "--device", "cpu", "--quiet"]
    assert main(words) == 0
    return folder / "run/report.html"


def visit(report, folder, *, width=1280):
    """What a visitor of the page sees."""
    page = folder / "visited.html"
    page.write_text(report.read_text().replace("</head>", VISIT + "</head>", 1))
    words = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},900",
        "--virtual-time-budget=5000",
        "--dump-dom",
        page.as_uri(),
    ]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=180, check=True).stdout
    found = re.search(r"SEEN(\{.*\})SEEN", shown, re.S)
    assert found, shown[-2000:]
    return json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_the_page_answers(report, tmp_path):
    seen = visit(report, tmp_path)
    assert seen["errors"] == []
    numbers = [
        [float(re.match(r"[−\d.e-]+", v).group().replace("−", "-")) for v in seen[k]]
        for k in ("rising", "falling")
    ]
    assert numbers[0] == sorted(numbers[0]) == numbers[1][::-1]
    assert len(numbers[0]) == 2
    assert seen["sorted"] == "ascending"
    assert seen["plots"] == 5
    assert seen["stills"] == 0, "two metrics, loss, rate and norm are drawn live"
    assert re.match(r"evaluations \d+euler", seen["tip"]), seen["tip"]
    assert seen["first"] == "t = 0.00"
    assert seen["frames"] == 1
    assert seen["off"] == 1


def test_a_narrow_window_does_not_scroll_sideways(report, tmp_path):
    assert visit(report, tmp_path, width=500)["wide"] <= 0
