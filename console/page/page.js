import { boxOf, Camera, CloudView, decode } from "./clouds.js";
import { Curves } from "./curves.js";

const STALE_MS = 2000;
const $ = (id) => document.getElementById(id);
const now = { about: null, status: null, wire: null, scores: {}, utility: null };
const last = { heard: performance.now(), replaced: 0 };
const camera = new Camera();
const views = {
  truth: new CloudView($("truth"), camera, "height"),
  payload: new CloudView($("payload"), camera, "strength"),
  reconstruction: new CloudView($("reconstruction"), camera, "height"),
};
const frames = {};
const curves = new Curves(["privacy", "utility", "latency", "bytes", "lag"]);

const count = (n) => n.toLocaleString("en");
const size = (n) => (n >= 1e6 ? `${(n / 1e6).toFixed(2)} MB` : `${(n / 1e3).toFixed(1)} kB`);
const span = (ms) => (ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`);
const rounded = (v) => (v === null || v === undefined ? "–" : Math.abs(v) < 10 ? v.toFixed(2) : v.toPrecision(3));
const text = (id, words) => { const e = $(id); if (e.textContent !== words) e.textContent = words; };
const note = (id, words, more = "") => { text(id, words); $(id).title = more ? `${words} · ${more}` : words; };

/* ---- pictures ---- */

function scale(view, picture) {
  const node = document.createElement("div"), bar = document.createElement("i");
  node.className = "scale";
  bar.style.background = `linear-gradient(90deg, ${view.stops.join(", ")})`;
  node.append(`${picture.value_name} ${rounded(picture.span[0])}`, bar, rounded(picture.span[1]));
  return node;
}
/* The camera looks at what the network takes in: the truth may reach farther than the listener could ever rebuild. */
let fitted = null, reach = null;
function fit(panel, cloud) {
  const better = panel === "payload" ? fitted !== "payload" : fitted === null;
  if (better) { fitted = panel; camera.fit(cloud); }
}
function show(panel, picture) {
  const element = $(panel), view = views[panel];
  if (picture.kind === "points" && picture.shown) {
    const cloud = decode(picture);
    fit(panel, cloud);
    if (panel === "payload") reach = boxOf(cloud, 0.5);
    view.set(cloud, panel === "truth" ? reach : null);
    element.querySelector(".scale")?.remove();
    element.append(scale(view, picture));
    return;
  }
  view.clear();
  const node = document.createElement(picture.kind === "image" ? "img" : "div");
  if (picture.kind === "image") { node.src = picture.url; node.alt = panel; }
  else { node.className = "words"; node.textContent = picture.text || "Nothing at all."; }
  element.replaceChildren(node);
}
const points = (picture) => (picture.kind === "points" ? `${count(picture.total)} points` : "");
const drawn = (picture) => (picture.kind === "points" && picture.shown < picture.total ? `${count(picture.shown)} of them drawn` : "");
const joined = (...parts) => parts.filter(Boolean).join(" · ");

function panel(name, item) {
  frames[name] = item.frame;
  show(name, item.picture);
  $(name).dataset.frame = item.frame;
  if (name === "truth") { note("truth-note", joined(`frame ${item.frame}`, points(item.picture), reach && item.picture.kind === "points" ? "grey: too far to be sent" : ""), drawn(item.picture)); $("truth").dataset.age = item.age_ms.toFixed(0); }
  if (name === "reconstruction") now.rebuilt = item;
  if (name === "payload") now.payload = item;
  notes();
}
function notes() {
  const { payload, wire, rebuilt } = now;
  if (payload?.attack) note("payload-note", joined(`frame ${payload.frame}`, "the gradients heard so far: brighter where they are larger"), payload.attack);
  else if (payload) {
    const mark = wire && wire.frame === payload.frame ? `fingerprint ${wire.digest}` : "";
    note("payload-note", joined(`frame ${payload.frame}`, `${size(payload.bytes)} of ${payload.role}`, mark), joined(points(payload.picture), drawn(payload.picture)));
  }
  if (rebuilt) {
    const behind = frames.truth > rebuilt.frame;
    $("reconstruction").classList.toggle("old", behind);
    note("reconstruction-note", joined(`frame ${rebuilt.frame}`, behind ? "the last one made" : points(rebuilt.picture), `${span(rebuilt.lag_ms)} after the last byte`), joined(rebuilt.attack, drawn(rebuilt.picture)));
  }
}

/* Further pictures of the same frame: each in a panel of its own, made when it first comes. */
const besides = { owner: "What its owner gets", "untrained-surrogate": "What knows nothing" };
function beside({ items }) {
  const section = $("panels"), wanted = items.map((item) => item.name);
  for (const figure of [...section.querySelectorAll("[data-beside]")]) if (!wanted.includes(figure.dataset.beside)) figure.remove();
  section.classList.toggle("more", wanted.length > 0);
  for (const item of items) {
    let figure = [...section.querySelectorAll("[data-beside]")].find((f) => f.dataset.beside === item.name);
    if (!figure) {
      const title = besides[item.name] ?? item.name, caption = document.createElement("figcaption"), panel = document.createElement("div");
      const words = [document.createElement("b"), document.createElement("small")];
      figure = document.createElement("figure");
      figure.dataset.beside = item.name;
      words[0].textContent = title;
      caption.append(words[0], " ", words[1]);
      Object.assign(panel, { className: "panel", tabIndex: 0, role: "img" });
      panel.setAttribute("aria-label", title);
      figure.append(caption, panel);
      section.append(figure);
    }
    const image = document.createElement("img");
    image.src = item.picture.url; image.alt = item.name;
    figure.querySelector(".panel").replaceChildren(image);
    figure.querySelector("small").textContent = joined(`frame ${item.frame}`, besides[item.name] && item.name !== "owner" ? item.name : "");
  }
}

/* ---- figures ---- */

let most = 1e-9;
function meter() {
  const { about, status, scores } = now;
  if (!about || !status) return;
  const metric = about.metrics[about.headline], value = scores[status.shown]?.values[about.headline];
  const floors = about.floors.filter((name) => scores[name] && name !== status.shown).map((name) => [name, scores[name].values[about.headline]]).filter(([, v]) => v !== null);
  const best = floors.length ? floors.reduce((a, b) => ((metric.better === "lower" ? b[1] < a[1] : b[1] > a[1]) ? b : a)) : null;
  most = Math.max(most, value || 0, best ? best[1] : 0);
  const [low, high] = metric.bounds || [0, most]; // without bounds: of the most that was ever had on this page
  const share = (v) => `${100 * Math.min(1, Math.max(0, (v - low) / (high - low)))}%`;
  $("meter-fill").style.width = value === undefined || value === null ? "0" : share(value);
  $("meter-floor").hidden = !best;
  if (best) $("meter-floor").style.left = share(best[1]);
  const ahead = best && value !== null && value !== undefined ? (metric.better === "lower" ? best[1] - value : value - best[1]) : null;
  const floor = best ? ` ${ahead === null ? "Dashed: the floor" : ahead > 0 ? "Better than the floor (dashed)" : "No better than the floor (dashed)"}, ${rounded(best[1])}, which needs no learning at all (${best[0]}).` : "";
  text("meter-text", value === undefined ? "Nothing is scored yet." : `How much of it the listener has: ${rounded(value)} (${metric.title}, frame ${scores[status.shown].frame}).${floor}`);
  $("meter-text").title = metric.definition;
  const more = value === undefined ? [] : about.key.filter((name) => name !== about.headline).map((name) => `${about.metrics[name].title} ${rounded(scores[status.shown].values[name])}`);
  text("meter-more", more.join(" · "));
  document.body.dataset.score = value ?? "";
  document.body.dataset.scoreFrame = scores[status.shown]?.frame ?? "";
}
function lead() {
  const { about } = now;
  text("lead", about.story || `Split computing: ${about.sees} sees the first picture; only what the first layers of a network make of it, the second, crosses the wire to the cloud; and somebody who merely listens rebuilds the third. Turn up the noise: what does it hide?`);
  text("truth-title", `What ${about.sees} sees`);
  text("payload-title", about.crossing ? "What crosses, as a picture" : "What crosses the wire");
  text("cut", `live · the network ${about.victim.toUpperCase()}, cut at ${about.split}`);
  text("privacy-note", `${about.metrics[about.headline].title}; ${about.metrics[about.headline].better === "lower" ? "higher" : "lower"} is more private`);
  $("report").hidden = !about.report;
}
function counts() {
  const { status } = now, c = status.counts;
  text("counts", joined(`${count(c.sent)} frames sent`, `${count(c.answered)} answered`, c.failed ? `${count(c.failed)} failed` : "", `${count(c.dropped)} dropped at the edge`, `${count(c.captured)} captured`, `${count(c.missed)} missed`,
    `${count(c.inverted)} inversions`, `${count(c.overtaken)} overtaken in the listener's queue`, `${count(last.replaced)} updates overtaken on the way to this page`, `${status.pages} page${status.pages === 1 ? "" : "s"} open`));
}
function processes() {
  const told = Object.entries(now.status.processes).map(([name, p]) => `${name === "attacker" ? "listener" : name}${p.up ? "" : " (down)"}`);
  text("processes", `Processes: ${told.join(", ")}`);
}
function card() {
  const { knowledge } = now.status, list = $("knowledge");
  if (!knowledge) return;
  const words = JSON.stringify(knowledge);
  if (list.dataset.words === words) return;
  list.dataset.words = words;
  list.replaceChildren();
  const value = (v) => (Array.isArray(v) ? v.map(value).join(", ") || "none" : v && typeof v === "object" ? Object.entries(v).map(([k, w]) => `${k} ${value(w)}`).join(", ") || "none" : v === "" ? "nothing" : String(v));
  const rows = Object.entries(knowledge).filter(([key, v]) => key !== "guard" && v !== "" && !(v && typeof v === "object" && !Array.isArray(v) && !Object.keys(v).length));
  const guard = knowledge.guard;
  if (guard) rows.push(["enforced by", `Landlock ${guard.landlock}; audit hook ${guard.audit_hook ? "on" : "off"}`], ["refused to it", value(guard.refuses || [])]);
  for (const [key, v] of rows) {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = key.replaceAll("_", " "); dd.textContent = value(v);
    list.append(dt, dd);
  }
}

/* ---- what is not as it should be ---- */

const called = (name) => (name === "attacker" ? "the listener (attacker)" : `the ${name}`);
function banner() {
  const { status } = now, silent = (performance.now() - last.heard) / 1000;
  let words = "";
  if (silent * 1000 > STALE_MS) words = `Nothing heard from the console for ${silent.toFixed(0)} s: what you see is old. Trying again.`;
  else if (status) {
    const gone = Object.entries(status.processes).filter(([, p]) => !p.up).map(([name, p]) => `${called(name)} is down for ${p.for_s.toFixed(0)} s${p.why ? ` (${p.why})` : ""}`);
    if (gone.length) words = `${gone.join("; ")}. The page goes on when it is back.`.replace(/^./, (c) => c.toUpperCase());
    else if (status.paused) words = "Paused. Step lets one frame through.";
    else if (status.silent_s * 1000 > STALE_MS + 1000 / (status.rate_hz || 1000)) words = `No frame for ${status.silent_s.toFixed(0)} s: what you see is old.`;
    else if (status.listener.encrypted_bytes) words = "The line is encrypted (TLS): this listener has sizes and times only.";
    else if (status.listener.paused) words = "The listener is paused: it captures, and rebuilds nothing.";
    else if (status.listener.why) words = `The listener says: ${status.listener.why}`;
    else if (status.refused) words = `The session stays as it is: ${status.refused}`;
    else if (status.trouble) words = `Something could not be shown: ${status.trouble}`;
  }
  $("banner").hidden = !words;
  text("banner", words);
}

/* ---- knobs ---- */

async function turn(wish) {
  try {
    const answer = await fetch("/settings", { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wish) });
    const said = await answer.json();
    text("refusal", answer.ok ? "" : said.error);
    return answer.ok ? said : null;
  } catch { text("refusal", "The console did not answer; nothing was changed."); return null; }
}
/* At most one wish of a kind under way; of those that wait only the newest is sent. */
const under = {}, next = {};
async function turnLatest(kind, wish) {
  next[kind] = wish;
  if (under[kind]) return;
  under[kind] = true;
  while (next[kind]) { const w = next[kind]; next[kind] = null; await turn(w); }
  under[kind] = false;
}
/* What somebody is just changing is not overwritten by what the processes say: a number until it is entered or left, a
   slider for a moment. */
const touched = {};
const busy = (id) => document.activeElement === $(id) && performance.now() - (touched[id] || 0) < 1500;
const set = (id, value) => { const e = $(id); if (!busy(id) && e.value !== String(value)) e.value = value; };

function choices(select, names) {
  if ([...select.options].map((o) => o.value).join() === names.join()) return;
  select.replaceChildren(...names.map((name) => new Option(name.replaceAll("_", " "), name)));
}
function defenseWish() {
  const name = $("defense").value, strength = Number($("strength-number").value);
  return { defense: { name, settings: name === "none" ? {} : { strength } } };
}
function knobs() {
  const { status, about } = now;
  if (!about) return;
  choices($("defense"), status.defenses);
  if (status.defense) {
    set("defense", status.defense.name);
    const strength = status.defense.settings.strength ?? (status.defense.name === "none" ? 0 : 1);
    if (!busy("strength") && !busy("strength-number")) { set("strength", strength); set("strength-number", strength); }
  }
  const plain = $("defense").value === "none";
  $("strength").disabled = $("strength-number").disabled = plain;
  $("link-set").hidden = !status.processes.link;
  if (status.link) {
    const { up, down } = status.link, names = Object.keys(about.profiles), keys = ["rate_mbps", "delay_ms", "jitter_ms"];
    const same = names.find((name) => keys.every((key) => about.profiles[name].up[key] === up[key] && about.profiles[name].down[key] === down[key]));
    choices($("profile"), same ? names : ["own", ...names]);
    set("profile", same || "own");
    $("profile").title = same ? Object.values(about.profiles[same].sources).join("\n") : "";
    set("rate", up.rate_mbps ?? ""); set("delay", up.delay_ms);
  }
  choices($("shown"), status.attacks);
  if (status.shown) set("shown", status.shown);
  $("split-label").hidden = !about.splits.length;
  if (about.splits.length) { choices($("split"), about.splits); set("split", status.opening || status.split); }
  for (const [id, on, words] of [["pause", status.paused, ["Pause", "Go on"]], ["listener", status.listener.paused, ["Pause listener", "Let it listen"]]]) {
    $(id).setAttribute("aria-pressed", on); text(id, words[on ? 1 : 0]);
  }
  $("step").disabled = !status.paused;
}
for (const id of ["defense", "strength", "strength-number", "profile", "rate", "delay", "shown", "split"]) {
  $(id).addEventListener("input", () => { touched[id] = $(id).type === "number" ? Infinity : performance.now(); });
  $(id).addEventListener("change", () => { touched[id] = performance.now(); });
}
$("strength").addEventListener("input", () => { $("strength-number").value = $("strength").value; turnLatest("defense", defenseWish()); });
$("strength-number").addEventListener("change", () => { $("strength").value = $("strength-number").value; turnLatest("defense", defenseWish()); });
$("defense").addEventListener("change", () => turnLatest("defense", defenseWish()));
$("profile").addEventListener("change", () => { if ($("profile").value !== "own") turnLatest("link", { link: { profile: $("profile").value } }); });
for (const id of ["rate", "delay"]) $(id).addEventListener("change", () => turnLatest("link", { link: { rate_mbps: $("rate").value === "" ? null : Number($("rate").value), delay_ms: Number($("delay").value) } }));
$("shown").addEventListener("change", () => turn({ shown: $("shown").value }));
$("split").addEventListener("change", () => turn({ split: $("split").value }));
$("pause").addEventListener("click", () => turn({ paused: !now.status?.paused }));
$("step").addEventListener("click", () => turn({ step: true }));
$("listener").addEventListener("click", () => turn({ listener_paused: !now.status?.listener.paused }));
$("controls").addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, button, a")) return;
  const button = { " ": "pause", n: "step", l: "listener" }[event.key];
  if (button) { event.preventDefault(); $(button).click(); }
});

/* ---- what comes in ---- */

const takes = {
  about(v) { if (now.about && now.about.split !== v.split) fitted = null; now.about = curves.about = v; lead(); },
  status(v) { now.status = v; knobs(); meter(); counts(); processes(); card(); banner(); },
  wire(v) { now.wire = v; document.body.dataset.digest = v.digest; document.body.dataset.captured = v.frame; notes(); },
  scores(v) { now.scores = v; meter(); },
  utility(v) { now.utility = v; text("utility-note", `of the victim, over its last ${v.frames} frame${v.frames === 1 ? "" : "s"} under this defense`); },
  history(v) { curves.set(v); },
  truth: (v) => panel("truth", v),
  payload: (v) => panel("payload", v),
  reconstruction: (v) => panel("reconstruction", v),
  beside,
  beat(v) { last.replaced = v.replaced; },
};
/* What came is put on the page once before each drawing of the screen, in the order in which it came; what was overtaken
   by then is never even read. Nothing is drawn, and little is kept, while nobody looks. */
const waiting = new Map();
let asked = 0;
function come(key, data) {
  last.heard = performance.now();
  waiting.set(key, { data, heard: last.heard });
  asked ||= requestAnimationFrame(put);
}
function put() {
  asked = 0;
  const came = [...waiting], marks = [];
  waiting.clear();
  for (const [key, { data, heard }] of came) {
    const value = JSON.parse(data);
    takes[key](value);
    const frame = key === "scores" ? value[now.status?.shown]?.frame : value.frame;
    if (typeof frame === "number") marks.push({ key, frame, heard, told_ns: value.told_ns });
  }
  // A task that is queued while a frame is made runs after that frame has gone to the screen.
  setTimeout(() => { for (const mark of marks) told({ ...mark, drawn: performance.now() }); }, 0);
}
/* When which frame was heard of and drawn, the newest last: what `eavesplit bench page` reads. Milliseconds of this page's
   own clock. */
const shown = [];
function told(mark) { shown.push(mark); if (shown.length > 600) shown.splice(0, 300); }
window.eavesplit = { shown };

function listen() {
  const source = new EventSource("/events");
  for (const key of Object.keys(takes)) source.addEventListener(key, (event) => come(key, event.data));
  // A browser gives up for good when it is answered by something that is no event stream (a proxy's error page).
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000); };
}
listen();
setInterval(banner, 500);
