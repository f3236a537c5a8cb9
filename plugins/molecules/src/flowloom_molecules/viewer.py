"""Interactive 3D views in one piece of HTML that needs no network: 3Dmol.js inlined, once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

MOST = 8
"""Views a page: browsers keep few 3D canvases alive."""

_DRAW = """
(function () {
  const views = %s;
  const here = document.currentScript.parentElement;
  views.forEach(function (one, i) {
    const place = here.querySelectorAll(".flowloom-view")[i];
    try {
      const view = $3Dmol.createViewer(place, {backgroundAlpha: 0});
      const model = view.addModel(one.text, one.form);
      view.setStyle({}, {stick: {radius: 0.13}, sphere: {scale: 0.24}});
      if (one.form === "cif") {
        view.addUnitCell(model);
        view.replicateUnitCell(one.repeat, one.repeat, one.repeat, model);
      }
      view.zoomTo();
      view.render();
    } catch (error) { place.textContent = "no 3D view: " + error; }
  });
})();
"""


@dataclass(frozen=True)
class View:
    """One canvas.

    Args:
        title: below it.
        text: the file that is drawn.
        form: its format.
        repeat: cells in each direction, for crystals.
    """

    title: str
    text: str
    form: str = "sdf"
    repeat: int = 1


def page(views: Sequence[View]) -> bytes:
    """A piece of HTML with a canvas for each of the first `MOST` views."""
    library = files("flowloom_molecules.assets").joinpath("3Dmol-min.js").read_text(encoding="utf-8")
    shown = views[:MOST]
    told = [{"text": v.text, "form": v.form, "repeat": v.repeat} for v in shown]
    data = json.dumps(told).replace("</", "<\\/")
    canvases = "".join(
        '<div><div class="flowloom-view" style="position:relative;height:13rem"></div>'
        f'<div style="text-align:center;opacity:.7;font-size:.85rem">{escape(v.title)}</div></div>'
        for v in shown
    )
    grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.6rem"
    scripts = f"<script>{library}</script><script>{_DRAW % data}</script>"
    return f'<div><div style="{grid}">{canvases}</div>{scripts}</div>'.encode()
