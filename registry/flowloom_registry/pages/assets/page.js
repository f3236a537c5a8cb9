// Everything here adds to a page that is whole without it: sorting, pointing at plots, players, copying.
(() => {
  "use strict";
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  const make = (tag, words = "", text = "") => {
    const one = document.createElement(tag);
    if (words) one.className = words;
    one.textContent = text;
    return one;
  };
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Tables: a click on a head sorts, another one turns the order round.
  const keyOf = (cell) => (cell.dataset.key !== undefined ? cell.dataset.key : cell.textContent.trim());
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  all("table.data").forEach((table) => {
    const heads = all("thead th", table), body = table.tBodies[0];
    if (body.rows.length < 2) return;
    heads.forEach((head, column) => {
      if (!head.classList.contains("sorts")) return;
      const button = make("button", "", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
        rows.sort(([a], [b]) => (a === "" || b === "" ? (a === "") - (b === "") : (down ? -1 : 1) * compare(a, b)));
        body.append(...rows.map(([, row]) => row));
      });
    });
  });

  // Plots.
  const short = (value) => (value === null || value === undefined ? "" : Number(value.toPrecision(4)).toString());
  const tickText = (value) => (value === null ? "" : Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)
    ? value.toExponential(0) : Number(value.toPrecision(6)).toString());
  const drawn = [];
  const tip = (data) => {
    let box;
    return {
      hooks: {
        init: (u) => { box = make("div", "tip"); box.hidden = true; u.root.append(box); },
        setCursor: (u) => {
          const at = u.cursor.idx;
          if (at === null || at === undefined || u.cursor.left < 0) { box.hidden = true; return; }
          box.replaceChildren(make("b", "", `${data.xLabel} ${short(data.x[at])}`));
          data.lines.forEach((line, i) => {
            if (line.y[at] === null || !u.series[i + 1].show) return;
            const row = make("div"), dot = make("i");
            dot.style.background = css(`--c${line.colour}`);
            row.append(dot, `${line.label} ${short(line.y[at])}`);
            box.append(row);
          });
          box.hidden = false;
          const right = u.cursor.left > u.over.clientWidth / 2;
          box.style.left = right ? "" : `${u.over.offsetLeft + u.cursor.left + 12}px`;
          box.style.right = right ? `${u.root.clientWidth - u.over.offsetLeft - u.cursor.left + 12}px` : "";
          box.style.top = `${u.over.offsetTop + 6}px`;
        },
      },
    };
  };
  const draw = (figure, data, sync, log, off) => {
    const place = figure.querySelector(".live");
    place.replaceChildren();
    figure.classList.add("on");
    const ink = () => css("--soft-ink"), rule = { stroke: () => css("--line"), width: 1 };
    const few = data.logX && data.x.length <= 12;
    const series = data.lines.map((line) => ({
      label: line.label,
      show: !off.has(line.label),
      stroke: () => css(`--c${line.colour}`),
      width: line.style === "mark" ? 0 : 1.6,
      dash: line.style === "level" ? [5, 4] : undefined,
      spanGaps: true,
      paths: line.style === "mark" ? () => null : undefined,
      points: {
        show: line.style === "dots" || line.style === "mark",
        size: line.style === "mark" ? 13 : 6,
        width: line.style === "mark" ? 2.5 : 1,
        fill: () => (line.style === "mark" ? "transparent" : css(`--c${line.colour}`)),
        stroke: () => css(`--c${line.colour}`),
      },
    }));
    const u = new uPlot({
      width: place.clientWidth, height: place.clientHeight,
      legend: { show: false },
      cursor: { sync: { key: sync, setSeries: false }, y: false, points: { size: 7 } },
      scales: {
        x: { time: false, distr: data.logX ? 3 : 1, log: data.logX || 10,
             range: few ? (u, a, b) => [a / 1.25, b * 1.25] : undefined },
        y: { distr: log && data.positive ? 3 : 1 },
      },
      axes: [
        { stroke: ink, grid: rule, ticks: rule, label: data.xLabel, labelSize: 18, size: 34, font: "11px system-ui",
          labelFont: "11px system-ui",
          splits: few ? () => data.x : undefined, filter: few ? (u, s) => s : undefined,
          values: (u, s) => s.map((v) => tickText(v)) },
        { stroke: ink, grid: rule, ticks: rule, label: data.yLabel || undefined, labelSize: 18, size: 58,
          font: "11px system-ui", labelFont: "11px system-ui", values: (u, s) => s.map((v) => tickText(v)) },
      ],
      series: [{ label: data.xLabel }, ...series],
      plugins: [tip(data)],
    }, [data.x, ...data.lines.map((line) => line.y)], place);
    return u;
  };
  all(".plots").forEach((group, g) => {
    const off = new Set();
    const panels = all(".plot", group).map((figure) => {
      const data = JSON.parse(figure.querySelector("script").textContent);
      return { figure, data, log: data.logY };
    });
    const again = () => panels.forEach((p) => {
      if (p.u) p.u.destroy();
      p.u = draw(p.figure, p.data, `group-${g}`, p.log, off);
    });
    drawn.push({ again, panels });
    again();
    const legend = group.querySelector(".legend");
    all("li", legend).forEach((item) => {
      item.setAttribute("role", "button");
      item.tabIndex = 0;
      item.setAttribute("aria-pressed", "true");
      const flip = () => {
        const label = item.dataset.label, gone = !off.has(label);
        gone ? off.add(label) : off.delete(label);
        item.classList.toggle("off", gone);
        item.setAttribute("aria-pressed", String(!gone));
        again();
      };
      item.addEventListener("click", flip);
      item.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); flip(); } });
    });
    if (group.hasAttribute("data-log")) {
      const item = make("li", "plain"), button = make("button", "", "log / linear");
      item.style.setProperty("--c", "transparent");
      button.type = "button";
      button.addEventListener("click", () => {
        const log = !panels.some((p) => p.log && p.data.positive);
        panels.forEach((p) => { p.log = log; });
        again();
      });
      item.append(button);
      legend.append(item);
    }
  });
  const redraw = () => drawn.forEach(({ panels }) => panels.forEach(({ u }) => u.redraw(false)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    drawn.forEach(({ panels }) => panels.forEach(({ u, figure }) => {
      const place = figure.querySelector(".live");
      u.setSize({ width: place.clientWidth, height: place.clientHeight });
    }));
  });

  // Players: a slider and a button over frames; the still picture stays for print.
  all(".player").forEach((player) => {
    const stage = player.querySelector(".stage");
    if (!stage) return;
    const frames = all(".frame", stage);
    const controls = make("div", "controls"), button = make("button", "", "▶ play"), slider = make("input");
    const label = make("output");
    button.type = "button";
    slider.type = "range";
    slider.min = 0; slider.max = frames.length - 1; slider.step = 1;
    slider.setAttribute("aria-label", "time");
    const show = (i) => {
      frames.forEach((frame, j) => { frame.hidden = i !== j; });
      slider.value = i;
      label.textContent = frames[i].dataset.label;
    };
    let clock = 0;
    const stop = () => { clearInterval(clock); clock = 0; button.textContent = "▶ play"; };
    button.addEventListener("click", () => {
      if (clock) { stop(); return; }
      let i = Number(slider.value) === frames.length - 1 ? 0 : Number(slider.value);
      show(i);
      button.textContent = "❚❚ pause";
      clock = setInterval(() => { i += 1; show(i); if (i === frames.length - 1) stop(); }, 280);
    });
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    controls.append(button, slider, label);
    stage.append(controls);
    stage.hidden = false;
    player.querySelector(".still").hidden = true;
    show(frames.length - 1);
  });

  // Blind pairs: a choice for each, and behind the last one who was who.
  all(".blind").forEach((box) => {
    const names = JSON.parse(box.dataset.names), pairs = all(".choice", box);
    const said = pairs.map(() => null), verdict = make("p", "told");
    verdict.setAttribute("role", "status");
    const tail = (wins, of) => { // of a fair coin: at least so many heads
      let term = 2 ** -of, sum = 0;
      for (let k = 0; k <= of; k += 1) { if (k >= wins) sum += term; term *= (of - k) / (k + 1); }
      return Math.min(1, 2 * sum);
    };
    const tell = () => {
      const left = said.filter((one) => one === null).length;
      if (left) { verdict.textContent = `${left} of ${pairs.length} to go`; return; }
      const won = [0, 0];
      pairs.forEach((pair, i) => {
        const swapped = pair.dataset.swapped === "1";
        if (said[i] !== "neither") won[(said[i] === "right") !== swapped ? 1 : 0] += 1;
        all(".side", pair).forEach((side, j) => side.append(make("p", "label", names[(j === 1) !== swapped ? 1 : 0])));
        all("button", pair).forEach((button) => { button.disabled = true; });
      });
      const of = won[0] + won[1], p = of ? tail(Math.max(...won), of) : 1;
      verdict.textContent = `${names[0]}: ${won[0]}, ${names[1]}: ${won[1]}, neither: ${pairs.length - of}; `
        + `sign test p = ${p.toPrecision(2)}`;
    };
    pairs.forEach((pair, i) => {
      const buttons = ["left", "neither", "right"].map((word) => {
        const button = make("button", "", word);
        button.type = "button";
        button.addEventListener("click", () => {
          said[i] = word;
          buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
          tell();
        });
        return button;
      });
      const row = make("div", "choose");
      row.append(...buttons);
      pair.append(row);
    });
    box.append(verdict);
    tell();
  });

  // Copying. Files opened from a disk have no clipboard in some browsers: the text is then selected.
  all(".command").forEach((box) => {
    const button = make("button", "", "copy");
    button.type = "button";
    button.addEventListener("click", async () => {
      const code = box.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      } catch {
        getSelection().selectAllChildren(code);
      }
    });
    box.append(button);
  });
})();
