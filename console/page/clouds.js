/* Clouds on a 2-D canvas: a pinhole camera and a depth buffer. Without a graphics card (software WebGL on the cores that
   the stream needs) a WebGL scatter takes most of a core for three clouds at two frames a second; this takes a few
   milliseconds a cloud, and draws only when a cloud or the camera changes. */

const STOPS = {
  height: ["#3b2f8f", "#2a7fb8", "#35b779", "#e8c33c", "#f26b38"],
  strength: ["#2c1e5c", "#7b2382", "#c83e73", "#f8765c", "#ffc27a"],
};

function table(stops) {
  const rgb = stops.map((s) => [1, 3, 5].map((at) => parseInt(s.slice(at, at + 2), 16)));
  const out = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (rgb.length - 1), k = Math.min(Math.floor(at), rgb.length - 2), t = at - k;
    const [r, g, b] = [0, 1, 2].map((c) => Math.round(rgb[k][c] * (1 - t) + rgb[k + 1][c] * t));
    out[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return out;
}
const TABLES = Object.fromEntries(Object.entries(STOPS).map(([name, stops]) => [name, table(stops)]));

const GREY = 0xff998f8b;

export function boxOf(cloud, margin) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < 3 * cloud.n; i++) { low[i % 3] = Math.min(low[i % 3], cloud.xyz[i]); high[i % 3] = Math.max(high[i % 3], cloud.xyz[i]); }
  return [low.map((v) => v - margin), high.map((v) => v + margin)];
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export function decode(picture) {
  const raw = new DataView(bytes(picture.xyz).buffer), n = picture.shown, xyz = new Float32Array(3 * n);
  for (let i = 0; i < 3 * n; i++) xyz[i] = picture.low[i % 3] + picture.step[i % 3] * raw.getUint16(2 * i, true);
  return { n, xyz, value: bytes(picture.value) };
}

/* One camera for all panels: a turntable around a point, z up, the first axis away from the sensor. */
export class Camera {
  constructor() { this.home = { target: [12, 0, 0], distance: 30, azimuth: 0, elevation: 0.36 }; this.watchers = []; this.back(); }
  back() { Object.assign(this, structuredClone(this.home)); this.changed(); }
  changed() { for (const watcher of this.watchers) watcher(); }
  fit(cloud) {
    if (!cloud.n) return;
    const ranges = new Float32Array(cloud.n), heights = new Float32Array(cloud.n);
    for (let i = 0; i < cloud.n; i++) { ranges[i] = Math.hypot(cloud.xyz[3 * i], cloud.xyz[3 * i + 1]); heights[i] = cloud.xyz[3 * i + 2]; }
    ranges.sort(); heights.sort();
    const reach = ranges[Math.floor(0.9 * (cloud.n - 1))] || 1;
    this.home = { target: [0.5 * reach, 0, heights[Math.floor(cloud.n / 2)] + 0.01 * reach], distance: 0.67 * reach, azimuth: 0, elevation: 0.36 };
    this.back();
  }
  turn(right, up) {
    this.azimuth -= right;
    this.elevation = Math.min(1.55, Math.max(0.02, this.elevation + up));
    this.changed();
  }
  zoom(factor) { this.distance = Math.min(this.home.distance * 8, Math.max(this.home.distance / 12, this.distance * factor)); this.changed(); }
}

export class CloudView {
  constructor(panel, camera, colours) {
    this.panel = panel; this.camera = camera; this.table = TABLES[colours]; this.stops = STOPS[colours];
    this.canvas = document.createElement("canvas");
    this.cloud = null; this.pending = 0; this.drawn = 0;
    camera.watchers.push(() => this.ask());
    new ResizeObserver(() => this.ask()).observe(panel);
    panel.addEventListener("pointerdown", (event) => this.grab(event));
    panel.addEventListener("wheel", (event) => {
      if (document.activeElement !== panel) return;  // until it is chosen, the wheel scrolls the page
      event.preventDefault();
      camera.zoom(Math.exp(event.deltaY * 0.0012));
    }, { passive: false });
    panel.addEventListener("keydown", (event) => this.key(event));
  }
  /* box: [lowest, highest corner] beyond which points are grey. */
  set(cloud, box = null) { this.cloud = cloud; this.box = box; if (!this.canvas.isConnected) this.panel.replaceChildren(this.canvas); this.draw(); }
  clear() { this.cloud = null; this.canvas.remove(); }
  ask() { if (this.cloud && !this.pending) this.pending = requestAnimationFrame(() => { this.pending = 0; this.draw(); }); }
  grab(event) {
    if (!this.cloud) return;
    let [x, y] = [event.clientX, event.clientY];
    this.panel.setPointerCapture(event.pointerId);
    const move = (e) => { this.camera.turn((e.clientX - x) * 0.006, (e.clientY - y) * 0.005); [x, y] = [e.clientX, e.clientY]; };
    const end = () => { this.panel.removeEventListener("pointermove", move); };
    this.panel.addEventListener("pointermove", move);
    for (const over of ["pointerup", "pointercancel"]) this.panel.addEventListener(over, end, { once: true });
  }
  key(event) {
    const camera = this.camera;
    const act = { ArrowLeft: () => camera.turn(-0.12, 0), ArrowRight: () => camera.turn(0.12, 0), ArrowUp: () => camera.turn(0, 0.08), ArrowDown: () => camera.turn(0, -0.08),
      "+": () => camera.zoom(0.85), "=": () => camera.zoom(0.85), "-": () => camera.zoom(1.18), 0: () => camera.back() }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }
  draw() {
    const scale = Math.min(window.devicePixelRatio || 1, 2);
    const w = Math.round(this.panel.clientWidth * scale), h = Math.round(this.panel.clientHeight * scale);
    if (!w || !h || !this.cloud) return;
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w; this.canvas.height = h;
      this.context = this.canvas.getContext("2d");
      this.image = this.context.createImageData(w, h);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.depth = new Float32Array(w * h);
    }
    const { pixels, depth, table: colours, box } = this, { n, xyz, value } = this.cloud, c = this.camera;
    pixels.fill(0); depth.fill(Infinity);
    const ca = Math.cos(c.azimuth), sa = Math.sin(c.azimuth), ce = Math.cos(c.elevation), se = Math.sin(c.elevation);
    const f = [ca * ce, sa * ce, -se], r = [sa, -ca, 0], u = [ca * se, sa * se, ce];  // forward, right, up
    const eye = [0, 1, 2].map((k) => c.target[k] - c.distance * f[k]);
    const focus = 0.83 * Math.max(w, h), near = c.distance * 0.02, size = 0.0075 * focus * c.home.distance;
    for (let i = 0; i < n; i++) {
      const x = xyz[3 * i] - eye[0], y = xyz[3 * i + 1] - eye[1], z = xyz[3 * i + 2] - eye[2];
      const d = x * f[0] + y * f[1] + z * f[2];
      if (d < near) continue;
      const side = Math.max(1.5 * scale, Math.min(3 * scale, size / d)) | 0;
      const px = (w / 2 + focus * (x * r[0] + y * r[1] + z * r[2]) / d - side / 2) | 0, py = (h / 2 - focus * (x * u[0] + y * u[1] + z * u[2]) / d - side / 2) | 0;
      if (px < 0 || py < 0 || px + side > w || py + side > h) continue;
      const out = box !== null && [0, 1, 2].some((k) => xyz[3 * i + k] < box[0][k] || xyz[3 * i + k] > box[1][k]);
      const colour = out ? GREY : colours[value[i]];
      for (let row = py; row < py + side; row++) for (let at = row * w + px, end = at + side; at < end; at++) if (d < depth[at]) { depth[at] = d; pixels[at] = colour; }
    }
    this.context.putImageData(this.image, 0, 0);
    this.drawn += 1;
  }
}
