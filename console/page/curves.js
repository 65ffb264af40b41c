/* The curves, drawn by plotly from the whole window each time: one at a time, when the page has nothing better to do,
   none more often than it must be, and none out of sight. */

const EVERY_MS = 2000;
const UTILITIES = 4;  // the first of those that can be had live; the report has them all
const ATTACKS = ["#0b76c5", "#d55e00", "#009e73", "#b1599a", "#c29200", "#4fa6d5"];
const STAGES = ["#8e99a8", "#0b76c5", "#d55e00", "#c29200", "#b1599a", "#009e73", "#6b5bb5", "#4fa6d5", "#b0603a"];
const idle = (work) => (window.requestIdleCallback ? requestIdleCallback(work, { timeout: EVERY_MS }) : work());
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Curves {
  constructor(ids) {
    this.charts = ids.map((id) => ({ id, element: document.getElementById(id), seen: false, stale: true, due: 0 }));
    this.about = null; this.columns = null; this.busy = false;
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const chart = this.charts.find((c) => c.element === entry.target);
        chart.seen = entry.isIntersecting;
      }
      this.soon();
    });
    for (const chart of this.charts) watcher.observe(chart.element);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.all());
  }
  set(columns) { this.columns = columns; this.all(); }
  all() { for (const chart of this.charts) chart.stale = true; this.soon(); }
  soon() {
    if (this.busy || document.hidden || !window.Plotly || !this.columns || !this.about) return;
    const next = this.charts.filter((chart) => chart.seen && chart.stale).sort((a, b) => a.due - b.due)[0];
    if (!next) return;
    this.busy = true;
    setTimeout(() => idle(async () => {
      next.stale = false;
      next.due = performance.now() + EVERY_MS;
      const { traces, axis, legend } = this[next.id]();
      const empty = !traces.some((trace) => trace.y?.some((v) => v !== null && v !== undefined));
      const drawn = Plotly.react(next.element, traces, { ...this.layout(axis, legend), annotations: empty ? [this.nothing()] : [] }, { displayModeBar: false, responsive: true });
      await drawn.finally(() => { this.busy = false; });
      this.soon();
    }), Math.max(0, next.due - performance.now()));
  }
  /* What stands in a chart without a value: these samples have no labels, or nothing was rebuilt yet. */
  nothing() {
    return { text: "no value for these frames", xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, font: { color: ink("--soft"), size: 11 } };
  }
  layout(axis, legend = {}) {
    const line = { gridcolor: ink("--line"), zerolinecolor: ink("--line"), linecolor: ink("--line") };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink("--ink"), size: 11 },
      margin: { l: 44, r: 10, t: 6, b: 36 }, hovermode: "x unified", showlegend: true, uirevision: "one",
      hoverlabel: { bgcolor: ink("--panel"), bordercolor: ink("--line"), font: { color: ink("--ink"), size: 11 } },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 10 }, ...legend },
      xaxis: { ...line, nticks: 6, title: { text: "frame", font: { size: 10 }, standoff: 4 } }, yaxis: { ...line, rangemode: "tozero", ...axis }, shapes: this.changes(),
    };
  }
  /* A thin line where another defense or strength began. */
  changes() {
    const { frame, segment } = this.columns, found = [];
    for (let i = 1; i < frame.length; i++) {
      if (segment[i] === null || segment[i - 1] === null || segment[i] === segment[i - 1]) continue;
      found.push({ type: "line", x0: frame[i] - 0.5, x1: frame[i] - 0.5, yref: "paper", y0: 0, y1: 1, line: { color: ink("--soft"), width: 1, dash: "dot" } });
    }
    return found;
  }
  lines(prefix, style) {
    const names = Object.keys(this.columns).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
    return names.map((name, k) => ({ type: "scatter", mode: "lines", name, x: this.columns.frame, y: this.columns[prefix + name], connectgaps: true, ...style(name, k) }));
  }
  /* An attack keeps its colour in every chart. */
  attack(name) {
    const known = this.about.floors.includes(name);
    if (!known && !this.order?.includes(name)) (this.order ??= []).push(name);
    return known ? { name: `${name} (floor)`, line: { dash: "dash", width: 1.6, color: ink("--soft") } }
      : { line: { width: 2.2, color: ATTACKS[this.order.indexOf(name) % ATTACKS.length] } };
  }
  privacy() {
    const metric = this.about.metrics[this.about.headline];
    return { traces: this.lines("score.", (name) => this.attack(name)), axis: metric.bounds ? { range: metric.bounds } : {} };
  }
  utility() {
    const order = this.about.utilities;
    const traces = this.lines("utility.", (name) => ({ key: name, name: this.about.metrics[name]?.title || name }));
    traces.sort((a, b) => order.indexOf(a.key) - order.indexOf(b.key));
    traces.splice(UTILITIES);
    const bounded = traces.length && traces.every((t) => this.about.metrics[t.key]?.bounds);
    traces.forEach((trace, k) => { trace.line = { width: 1.8, color: ATTACKS[k % ATTACKS.length] }; });
    return { traces, axis: bounded ? { range: [0, 1] } : {} };
  }
  latency() {
    const stages = this.about.stages.filter((stage) => this.columns[stage]?.some((v) => v !== null));
    const traces = stages.map((stage) => ({ type: "scatter", mode: "lines", name: stage, x: this.columns.frame, y: this.columns[stage], stackgroup: "all",
      line: { width: 0.6, color: STAGES[this.about.stages.indexOf(stage) % STAGES.length] } }));
    return { traces, axis: {}, legend: { orientation: "v", x: 1.01, y: 1, yanchor: "top", font: { size: 9 }, tracegroupgap: 0 } };
  }
  bytes() {
    const named = [["payload_bytes", "payload"], ["wire_up", "on the wire, up"]].filter(([key]) => this.columns[key]);
    const traces = named.map(([key, name], k) => ({ type: "scatter", mode: "lines", name, x: this.columns.frame, y: this.columns[key].map((v) => (v === null ? null : v / 1000)), connectgaps: true,
      line: { width: 1.8, color: ATTACKS[k] } }));
    return { traces, axis: {} };
  }
  lag() { return { traces: this.lines("lag.", (name) => this.attack(name)), axis: {} }; }
}
