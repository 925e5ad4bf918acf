"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // light and dark: the system's choice until the reader makes one
  const root = document.documentElement;
  const remember = (theme) => { try { localStorage.setItem("pyacemaker-theme", theme); } catch { /* no storage */ } };
  try { const theme = localStorage.getItem("pyacemaker-theme"); if (theme) root.dataset.theme = theme; } catch { /* no storage */ }
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remember(root.dataset.theme);
  });

  // plots: one after the other, so that the page can be read while they come; all at once for paper
  const figures = read("figures");
  const config = {
    responsive: true, displaylogo: false, showSendToCloud: false, doubleClick: "reset",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
  };
  const scalable = (element) => all(".main-svg", element).forEach((svg) => {
    svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
  });
  const draw = (element) => {
    if (element.dataset.drawn) return;
    element.dataset.drawn = "yes";
    const { data, layout } = figures[element.dataset.figure];
    Plotly.newPlot(element, data, layout, config).then(() => {
      scalable(element);
      element.on("plotly_afterplot", () => scalable(element));
    });
  };
  const waiting = all("[data-figure]");
  const next = () => {
    const element = waiting.shift();
    if (!element) { root.dataset.ready = "yes"; return; }
    draw(element);
    setTimeout(next, 0);
  };
  setTimeout(next, 0);
  addEventListener("beforeprint", () => {
    waiting.splice(0).forEach(draw);
    all("details").forEach((details) => { details.open = true; });
  });

  // the words of a legend switch their traces in all plots beside it
  const toggle = (button) => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(shown));
    all("[data-drawn]", button.closest(".group")).forEach((element) => {
      const traces = element.data.flatMap((trace, k) => (trace.name === button.dataset.trace ? [k] : []));
      if (traces.length) Plotly.restyle(element, { visible: shown }, traces);
    });
  };
  all(".legend button").forEach((button) => button.addEventListener("click", () => toggle(button)));

  // structures: circles and lines from back to front, turned by dragging
  const structures = read("drawings");
  const node = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };
  const turned = (turn, [x, y, z]) => turn.map((row) => row[0] * x + row[1] * y + row[2] * z);
  const product = (a, b) => a.map((row) => [0, 1, 2].map((j) => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
  const span = (s, axis) => Math.max(1, ...s.positions.map((p, i) => Math.abs(p[axis]) + s.radii[i] + (s.arrows.length ? Math.abs(s.arrows[i][axis]) : 0)), ...s.corners.map((p) => Math.abs(p[axis])));
  const view = (svg, turn) => {
    const s = structures[svg.dataset.drawing];
    const scale = s.scale ?? (s.scale = Math.min(94 / span(s, 0), 66 / span(s, 1)));
    const place = (point) => { const [x, y, z] = turned(turn, point); return [x * scale, -y * scale, z * scale]; };
    const atoms = s.positions.map(place);
    const corners = s.corners.map(place);
    const items = [];
    const segment = (a, b, kind) => items.push([0.5 * (a[2] + b[2]), [node("line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], class: kind })]]);
    s.cell.forEach(([a, b]) => segment(corners[a], corners[b], "cell"));
    s.bonds.forEach(([a, b]) => segment(atoms[a], atoms[b], "bond"));
    atoms.forEach(([x, y, z], i) => {
      const r = s.radii[i] * scale;
      const atom = node("circle", { cx: x, cy: y, r, fill: s.colours[i], class: "atom" });
      const title = node("title", {});
      title.textContent = `${s.symbols[i]}, atom ${i}`;
      atom.append(title);
      const parts = [atom, node("circle", { cx: x - 0.3 * r, cy: y - 0.32 * r, r: 0.42 * r, class: "shine" })];
      if (r > 5) { const text = node("text", { x, y }); text.textContent = s.symbols[i]; parts.push(text); }
      items.push([z, parts]);
    });
    s.arrows.forEach((arrow, i) => {
      const [dx, dy, dz] = place(arrow);
      if (Math.hypot(dx, dy) < 2) return;
      const [x, y, z] = atoms[i];
      const length = Math.hypot(dx, dy), ux = dx / length, uy = dy / length, h = Math.min(5, 0.5 * length);
      const tip = [x + dx, y + dy], back = [tip[0] - h * ux, tip[1] - h * uy];
      const head = `${tip} ${back[0] - 0.5 * h * uy},${back[1] + 0.5 * h * ux} ${back[0] + 0.5 * h * uy},${back[1] - 0.5 * h * ux}`;
      items.push([Math.max(z, z + dz) + 1e-3 + s.radii[i] * scale, [node("line", { x1: x, y1: y, x2: back[0], y2: back[1], class: "arrow" }), node("polygon", { points: head, class: "arrow" })]]);
    });
    items.sort((a, b) => a[0] - b[0]);
    svg.replaceChildren(...items.flatMap((item) => item[1]));
  };
  all("[data-drawing]").forEach((svg) => {
    let turn = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    view(svg, turn);
    svg.addEventListener("pointerdown", (event) => svg.setPointerCapture(event.pointerId));
    svg.addEventListener("pointermove", (event) => {
      if (!svg.hasPointerCapture(event.pointerId)) return;
      const a = 0.01 * event.movementX, b = 0.01 * event.movementY;
      const about = [[Math.cos(a), 0, Math.sin(a)], [0, 1, 0], [-Math.sin(a), 0, Math.cos(a)]];
      const over = [[1, 0, 0], [0, Math.cos(b), -Math.sin(b)], [0, Math.sin(b), Math.cos(b)]];
      turn = product(product(over, about), turn);
      view(svg, turn);
    });
  });

  // the contents show where the reader is
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => {
    links.get(entry.target.id).classList.toggle("here", entry.isIntersecting);
  }), { rootMargin: "-80px 0px -60% 0px" });
  all("main section").forEach((section) => watcher.observe(section));
})();
