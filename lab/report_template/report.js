"use strict";
/* The page's own script. Everything it draws lies in #data; nothing is fetched. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const state = { cell: 0, attack: null, frame: 0, colour: "value", metric: data.headline };
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const heights = [[0, "#3b2f8f"], [0.25, "#2a7fb8"], [0.5, "#35b779"], [0.75, "#e8c33c"], [1, "#f26b38"]];
  const errors = [[0, "#3d9be0"], [0.5, "#b9a7c9"], [1, "#e8432e"]];
  const attackColours = ["#0b76c5", "#d55e00", "#009e73", "#b1599a", "#c29200", "#4fa6d5"];
  const dashes = { attack: "solid", floor: "dash", oracle: "dot" };
  // Pictures of pixels have no colour scale and do not turn.
  if (data.pictures.every((picture) => picture.kind !== "points")) for (const id of ["colour-label", "turning"]) $(id).hidden = true;
  const quiet = { displayModeBar: false, responsive: true };

  // Layout colours are read again on every draw, so that a change of the system's theme needs no reload.
  const base = (more) => Object.assign({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink("--ink"), size: 12.5 },
    margin: { l: 55, r: 15, t: 10, b: 45 }, hovermode: "closest",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
  }, more);
  const axis = (title, more) => Object.assign({ title: { text: title }, gridcolor: ink("--line"), zerolinecolor: ink("--line"), linecolor: ink("--line") }, more);

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  function decode(cloud) {
    if (cloud.x) return cloud;
    const raw = new DataView(bytes(cloud.xyz).buffer), n = cloud.shown;
    for (const [axisName, k] of [["x", 0], ["y", 1], ["z", 2]]) {
      const out = (cloud[axisName] = new Float32Array(n));
      for (let i = 0; i < n; i++) out[i] = cloud.low[k] + cloud.step[k] * raw.getUint16(2 * (3 * i + k), true);
    }
    cloud.values = Array.from(bytes(cloud.value));
    if (cloud.error) cloud.errors = Array.from(bytes(cloud.error));
    return cloud;
  }

  /* Three panels, one camera. */
  const panels = {};
  let camera = { eye: { x: -1.32, y: -0.3, z: 0.8 }, center: { x: 0, y: 0, z: -0.16 }, up: { x: 0, y: 0, z: 1 } };
  let follow = null;
  function link(name) {
    const plot = $(name);
    for (const event of ["plotly_relayouting", "plotly_relayout"]) {
      plot.on(event, (change) => {
        const moved = change["scene.camera"];
        if (!moved || follow) return;
        camera = moved;
        follow = requestAnimationFrame(() => {
          const others = Object.keys(panels).filter((other) => other !== name && panels[other] === "points" && $(other).dataset.drawn);
          Promise.all(others.map((other) => Plotly.relayout(other, { "scene.camera": camera }))).finally(() => { follow = null; });
        });
      });
    }
  }
  // All clouds of a frame share their box: what the listener missed must not look as if the street were shorter.
  function box(frame) {
    if (!frame.box) return { limits: [null, null, null], ratio: { x: 1, y: 1, z: 1 } };
    const limits = [0, 1, 2].map((k) => [frame.box[0][k] - 0.5, frame.box[1][k] + 0.5]);
    const size = limits.map(([a, b]) => b - a), most = Math.max(size[0], size[1]);
    return { limits, ratio: { x: 1.6 * size[0] / most, y: 1.6 * size[1] / most, z: 1.6 * size[2] / most } };
  }
  // A panel finishes one drawing before it begins the next, and of those that wait only the newest is drawn: the slider
  // moves faster than a cloud is drawn, and a plot must not be taken away under its own drawing.
  const waiting = {}, busy = {};
  async function draw(name, ...wanted) {
    waiting[name] = wanted;
    if (busy[name]) return;
    busy[name] = true;
    try {
      while (waiting[name]) {
        const next = waiting[name];
        waiting[name] = null;
        await drawNow(name, ...next);
      }
    } finally { busy[name] = false; }
  }
  async function drawNow(name, picture, frame, why) {
    const element = $(name);
    if (!picture || picture.kind !== "points" || !picture.shown) {
      if (panels[name] === "points") Plotly.purge(element);
      delete element.dataset.drawn;
      panels[name] = "other";
      element.replaceChildren();
      const node = document.createElement(picture && picture.kind === "image" ? "img" : "div");
      if (picture && picture.kind === "image") { node.src = picture.url; node.alt = name; }
      else { node.className = "empty"; node.textContent = picture ? picture.text || "No points at all." : why; }
      element.append(node);
      return;
    }
    const cloud = decode(picture), wrong = state.colour === "error" && name === "rebuilt" && cloud.errors;
    const { limits, ratio } = box(frame);
    const side = (k) => ({ visible: false, range: limits[k], autorange: limits[k] ? false : true });
    const trace = { type: "scatter3d", mode: "markers", x: cloud.x, y: cloud.y, z: cloud.z, hoverinfo: "skip",
      marker: { size: name === "payload" ? 2.2 : 1.7, color: wrong ? cloud.errors : cloud.values, cmin: 0, cmax: 255, colorscale: wrong ? errors : heights, line: { width: 0 } } };
    const layout = base({ margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: "one", scene: { xaxis: side(0), yaxis: side(1), zaxis: side(2), aspectmode: "manual", aspectratio: ratio, camera, bgcolor: ink("--stage") } });
    if (panels[name] !== "points") element.replaceChildren();
    const first = panels[name] !== "points";
    panels[name] = "points";
    await Plotly.react(element, [trace], layout, quiet);
    if (first) link(name);
    element.dataset.drawn = String(cloud.shown);
  }
  const count = (n) => n.toLocaleString("en");
  function caption(id, strong, picture, more) {
    let shown = "";
    if (picture && picture.kind === "points") {
      shown = `${count(picture.total)} points`;
      if (picture.inside < picture.total) shown += `, ${count(picture.inside)} of them in range`;
      if (picture.shown < picture.inside) shown += `, ${count(picture.shown)} drawn`;
    }
    const bold = document.createElement("b"), small = document.createElement("small");
    bold.textContent = strong;
    small.textContent = [shown, more].filter(Boolean).join(" · ");
    $(id).replaceChildren(bold, " ", small);
  }
  const rounded = (v) => (v === null || v === undefined ? "–" : Math.abs(v) < 10 ? v.toFixed(3) : v.toPrecision(4));
  const words = { floor: "floor: learns nothing", oracle: `${data.oracleIs}, made from the truth`, attack: "" };

  // A panel changes its width when its neighbour appears; the window's own resizing is plotly's.
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.dataset.drawn && target.offsetParent) Plotly.Plots.resize(target);
  });

  function viewer() {
    const cell = data.cells[state.cell], frame = cell.frames[state.frame];
    if (!frame) { for (const name of ["truth", "rebuilt"]) draw(name, null, null, "The truth was not recorded in this run."); return; }
    const attack = cell.attacks.find((a) => a.name === state.attack);
    const truth = data.pictures[frame.truth], rebuilt = data.pictures[frame.rebuilt[state.attack]];
    const payload = frame.payload === null ? null : data.pictures[frame.payload];
    const scored = (cell.curves[data.headline][state.attack] || []).find(([number]) => number === frame.frame);
    $("frame-name").textContent = `${frame.frame} (${frame.name})`;
    $("payload-figure").hidden = !payload;
    caption("truth-caption", "What was there", truth, "");
    caption("rebuilt-caption", `Rebuilt by ${state.attack || "nobody"}`, rebuilt, [attack ? words[attack.role] : "", scored ? `${data.metrics[data.headline].title} ${rounded(scored[1])}` : ""].filter(Boolean).join(" · "));
    draw("truth", truth, frame);
    draw("rebuilt", rebuilt, frame, "The listener did not rebuild this frame.");
    if (payload) { caption("payload-caption", "What crossed the wire", payload, payload.value_name ? `colour: ${payload.value_name}` : ""); draw("payload", payload, frame); }
    const wrong = state.colour === "error", scale = wrong ? errors : heights, span = wrong ? [0, data.errorSpan] : truth.span || [];
    $("scale").style.background = `linear-gradient(90deg, ${scale.map(([at, c]) => `${c} ${at * 100}%`).join(", ")})`;
    $("scale-low").textContent = span.length ? String(span[0]) : "";
    $("scale-high").textContent = span.length ? (wrong ? `${span[1]} or more` : String(span[1])) : "";
    $("scale-name").textContent = wrong ? "distance of a rebuilt point to the nearest true one (m)" : truth.value_name || "";
  }

  function curves() {
    const cell = data.cells[state.cell], metric = data.metrics[state.metric];
    let colour = 0;
    const traces = cell.attacks.map(({ name, role }) => {
      const rows = cell.curves[state.metric][name] || [];
      const line = { dash: dashes[role], width: role === "attack" ? 2.4 : 1.6, color: role === "attack" ? attackColours[colour++ % attackColours.length] : ink("--soft") };
      return { type: "scatter", mode: role === "attack" ? "lines+markers" : "lines", name: role === "attack" ? name : `${name} (${role})`, x: rows.map((r) => r[0]), y: rows.map((r) => r[1]), line, marker: { size: 5 }, connectgaps: false };
    });
    const y = axis(metric.title, metric.bounds ? { range: [metric.bounds[0] - 0.02, metric.bounds[1] + 0.04] } : { rangemode: "tozero" });
    Plotly.react("curves", traces, base({ xaxis: axis("frame", { tickformat: "d" }), yaxis: y }), quiet).then((p) => { p.dataset.drawn = traces.length; });
    $("metric-definition").textContent = metric.definition;
  }

  function overview() {
    if (data.cells.length < 2) return;
    $("overview-figure").hidden = false;
    const titles = data.cells.map((c) => c.title), names = [...new Set(data.cells.flatMap((c) => c.attacks.map((a) => a.name)))];
    let colour = 0;
    const traces = [];
    for (const name of names) {
      const role = data.cells.flatMap((c) => c.attacks).find((a) => a.name === name).role;
      const found = data.cells.map((c) => c.summary[name]);
      const mean = found.map((f) => (f ? f.mean : null)), c = role === "attack" ? attackColours[colour++ % attackColours.length] : ink("--soft");
      const has = (f) => f && f.low !== null;
      traces.push({ type: "scatter", mode: "markers", name: role === "attack" ? name : `${name} (${role})`, x: titles, y: mean,
        marker: { size: role === "attack" ? 10 : 8, color: c, symbol: role === "attack" ? "circle" : role === "floor" ? "line-ew-open" : "diamond-open", line: { width: 2, color: c } },
        error_y: { type: "data", symmetric: false, array: found.map((f) => (has(f) ? f.high - f.mean : 0)), arrayminus: found.map((f) => (has(f) ? f.mean - f.low : 0)), thickness: 1.2, width: 3 } });
      const paper = data.cells.map((cell) => cell.paper[name] ?? null);
      if (paper.some((v) => v !== null)) traces.push({ type: "scatter", mode: "markers", name: `${name}, the paper's`, x: titles, y: paper, marker: { symbol: "circle-open", size: 11, color: c, line: { width: 2 } } });
    }
    const metric = data.metrics[data.headline];
    Plotly.react("overview", traces, base({ scattermode: "group", scattergap: 0.6, xaxis: axis("", { type: "category" }), yaxis: axis(metric.title, metric.bounds ? { range: [metric.bounds[0] - 0.02, metric.bounds[1] + 0.05] } : {}) }), quiet);
  }

  function latency() {
    const cell = data.cells[state.cell], listenerColour = "#d55e00";
    const general = Object.keys(cell.latency).filter((s) => !(s.startsWith("listener.") && s.split(".").length === 2 && Object.keys(cell.latency).some((o) => o.startsWith(s + "."))));
    const stages = general.reverse();
    const word = (s) => { const parts = s.split("."); return data.stageWords[s] || `${data.stageWords[parts.slice(0, 2).join(".")] || s} (${parts.slice(2).join(".")})`; };
    const p50 = stages.map((s) => cell.latency[s].p50), p95 = stages.map((s) => cell.latency[s].p95);
    const trace = { type: "bar", orientation: "h", y: stages.map(word), x: p50, marker: { color: stages.map((s) => (s.startsWith("listener") ? listenerColour : "#0b76c5")) },
      error_x: { type: "data", symmetric: false, array: p95.map((v, i) => v - p50[i]), arrayminus: p50.map(() => 0), color: ink("--soft"), thickness: 1.4, width: 4 },
      hovertemplate: "%{y}<br>median %{x:.1f} ms<extra></extra>", text: p50.map((v) => v.toFixed(v < 10 ? 1 : 0)), textposition: "none" };
    $("latency").style.height = `${Math.max(220, 26 * stages.length + 70)}px`;
    Plotly.react("latency", [trace], base({ margin: { l: 225, r: 20, t: 8, b: 45 }, xaxis: axis("milliseconds"), yaxis: axis("", { automargin: true }), bargap: 0.35 }), quiet);
  }

  function choose() {
    const cell = data.cells[state.cell];
    if (!cell.attacks.some((a) => a.name === state.attack)) state.attack = cell.attacks.length ? cell.attacks[0].name : null;
    state.frame = Math.min(state.frame, Math.max(cell.frames.length - 1, 0));
    $("frame").max = String(Math.max(cell.frames.length - 1, 0));
    $("frame").value = String(state.frame);
    $("frame").hidden = cell.frames.length < 2;
    $("attack").replaceChildren(...cell.attacks.map(({ name, role }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.title = words[role] || "attack";
      button.setAttribute("aria-pressed", String(name === state.attack));
      button.addEventListener("click", () => { state.attack = name; choose(); viewer(); });
      return button;
    }));
    for (const span of document.querySelectorAll(".cell-name")) span.textContent = data.cells.length > 1 ? `(${cell.title})` : "";
  }
  function all() { choose(); viewer(); curves(); overview(); latency(); document.body.dataset.ready = "true"; }

  data.cells.forEach((cell, i) => $("cell").append(new Option(cell.title, String(i))));
  $("cell-label").hidden = data.cells.length < 2;
  Object.entries(data.metrics).forEach(([name, metric]) => $("metric").append(new Option(metric.title, name, false, name === data.headline)));
  $("cell").addEventListener("change", (e) => { state.cell = Number(e.target.value); all(); });
  $("frame").addEventListener("input", (e) => { state.frame = Number(e.target.value); viewer(); });
  $("colour").addEventListener("change", (e) => { state.colour = e.target.value; viewer(); });
  $("metric").addEventListener("change", (e) => { state.metric = e.target.value; curves(); });
  dark.addEventListener("change", all);
  all();
  for (const name of ["truth", "payload", "rebuilt"]) resized.observe($(name));
})();
