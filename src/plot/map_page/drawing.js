'use strict';
const $ = (id) => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const count = data.ids.length;
const canvas = $('canvas'), context = canvas.getContext('2d');
const number = (value) => value.toLocaleString('en', { maximumFractionDigits: 3 });
const plural = (n, thing) => `${number(n)} ${thing}${n === 1 ? '' : 's'}`;
const percent = (part) => `${(100 * part).toFixed(1)} %`;
const list = (all) => all.join(', ').replace(/, ([^,]*)$/, ' and $1');
const brief = (text, most) => { const letters = [...text]; return letters.length > most ? letters.slice(0, most - 1).join('') + '…' : text; };
const idOf = (i) => data.ids[i] || '(no id)';

// Colours that people with any kind of colour blindness can tell apart, for a light and a dark page.
// Levels: close to Paul Tol's muted scheme, and at least 16 apart in CIELAB for every kind of vision, which
// tests/browser/map.py measures. Numbers: parts of viridis.
const LEVELS = {
  light: ['#dd6e79', '#332288', '#cbb045', '#0e7131', '#57bae9', '#851d4b', '#0a7ed3', '#6c8019', '#9f3f98'],
  dark: ['#f28997', '#9289f1', '#e4d17d', '#36a45b', '#8bceef', '#c10f64', '#6bf1df', '#aabf3b', '#c975b9'],
};
const RAMP = {
  light: ['#440154', '#3b528b', '#21918c', '#5ec962', '#c8d917'],
  dark: ['#7a4fa3', '#5b7fc4', '#2fb0a8', '#6fd36f', '#fde725'],
};
// Values beyond the colours, and records without a value.
const REST = { light: '#a3a9b1', dark: '#6c7480' };
const MISSING = { light: '#ced3da', dark: '#3a414b' };

const floats = (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
};
const projections = data.projections.map((one) => ({ ...one, values: floats(one.values) }));
const columns = [{ name: 'length', label: 'Length (residues)', numbers: data.lengths }];
for (const column of data.columns) columns.push({ ...column, label: column.name });

const state = {
  projection: 0, column: 0, theme: 'light', zoom: 1, x: 0, y: 0, yaw: 0.6, pitch: 0.4,
  selecting: false, hover: -1, found: [], at: -1, selected: [], isSelected: new Uint8Array(count),
};
// Beyond this number, rings would hide the records: those not selected fade instead.
const MOST_RINGS = 200;
// Labels are for so few records that most of them have room.
const MOST_LABELS = 40;
// Middle of the records in each projection and how far they reach, so that all of them fit.
for (const one of projections) {
  const low = Array(one.dims).fill(Infinity), high = Array(one.dims).fill(-Infinity);
  for (let i = 0; i < one.values.length; i++) {
    const dim = i % one.dims, value = one.values[i];
    if (value < low[dim]) low[dim] = value;
    if (value > high[dim]) high[dim] = value;
  }
  one.middle = low.map((value, dim) => count ? (value + high[dim]) / 2 : 0);
  one.half = low.map((value, dim) => count ? (high[dim] - value) / 2 || 1 : 1);
  one.reach = 1e-9;
  for (let i = 0; i < one.values.length; i += one.dims) {
    const parts = one.middle.map((value, dim) => one.values[i + dim] - value);
    one.reach = Math.max(one.reach, Math.hypot(...parts));
  }
}

let width = 1, height = 1, ratio = 1, image = null, pixels = null, depths = null;
const screenX = new Float32Array(count), screenY = new Float32Array(count), depth = new Float32Array(count);
let colours = new Uint32Array(count);

function project() {
  const { values, dims, middle, half, reach } = projections[state.projection];
  const room = 0.9;
  if (dims === 2) {
    const scale = state.zoom * room * Math.min(width / 2 / half[0], height / 2 / half[1]);
    for (let i = 0; i < count; i++) {
      screenX[i] = width / 2 + (values[2 * i] - middle[0]) * scale + state.x;
      screenY[i] = height / 2 - (values[2 * i + 1] - middle[1]) * scale + state.y;
      depth[i] = 0;
    }
    return;
  }
  const scale = state.zoom * room * Math.min(width, height) / 2 / reach;
  const [sy, cy, sp, cp] = [Math.sin(state.yaw), Math.cos(state.yaw), Math.sin(state.pitch), Math.cos(state.pitch)];
  for (let i = 0; i < count; i++) {
    const a = values[3 * i] - middle[0], b = values[3 * i + 1] - middle[1], c = values[3 * i + 2] - middle[2];
    const right = a * cy + c * sy, back = c * cy - a * sy;
    screenX[i] = width / 2 + right * scale + state.x;
    screenY[i] = height / 2 - (b * cp - back * sp) * scale + state.y;
    depth[i] = (b * sp + back * cp) / reach;
  }
}

// A disc as offsets and coverages of pixels.
function disc(radius) {
  const parts = [], reach = Math.ceil(radius);
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(x, y)));
      if (cover > 0) parts.push([x, y, Math.round(cover * 256)]);
    }
  }
  return parts;
}

const bytesOf = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const packed = (colour) => { const [r, g, b] = bytesOf(colour); return (255 << 24 | b << 16 | g << 8 | r) >>> 0; };

function radius() {
  const base = count > 20000 ? 1.4 : count > 2000 ? 2.2 : count > 300 ? 3.2 : count > 60 ? 5 : 6.5;
  return Math.min(10, base * Math.pow(Math.max(1, state.zoom), 0.35)) * ratio;
}

function splat(i, shape, colour) {
  const x0 = Math.round(screenX[i]), y0 = Math.round(screenY[i]), z = depth[i];
  const red = colour & 255, green = colour >> 8 & 255, blue = colour >> 16 & 255;
  for (const [dx, dy, cover] of shape) {
    const x = x0 + dx, y = y0 + dy;
    if (x < 0 || y < 0 || x >= width || y >= height) continue;
    const at = y * width + x;
    if (depths && z < depths[at]) continue;
    if (cover === 256) {
      pixels[at] = colour;
      if (depths) depths[at] = z;
    } else {
      const below = pixels[at], rest = 256 - cover;
      pixels[at] = (255 << 24
        | ((below >> 16 & 255) * rest + blue * cover >> 8) << 16
        | ((below >> 8 & 255) * rest + green * cover >> 8) << 8
        | (below & 255) * rest + red * cover >> 8) >>> 0;
    }
  }
}

// Ids beside their records, if few are in view and as far as there is room: labels cover neither each
// other nor a record.
let labels = [];
function label(ink, back) {
  labels = [];
  const seen = [];
  for (let i = 0; i < count; i++) {
    if (screenX[i] < 0 || screenY[i] < 0 || screenX[i] > width || screenY[i] > height) continue;
    if (seen.push(i) > MOST_LABELS) return;
  }
  const r = radius() + 2 * ratio, high = 16 * ratio;
  const taken = seen.map((i) => [screenX[i] - r, screenY[i] - r, screenX[i] + r, screenY[i] + r]);
  context.font = `${12.5 * ratio}px system-ui, sans-serif`;
  context.textBaseline = 'middle';
  context.lineJoin = 'round';
  for (const i of seen) {
    const text = brief(data.ids[i], 24);
    const wide = context.measureText(text).width, x = screenX[i], y = screenY[i], gap = r + ratio;
    const places = [
      [x + gap, y - high / 2], [x - gap - wide, y - high / 2], [x - wide / 2, y + gap], [x - wide / 2, y - gap - high],
      [x + r, y + r], [x + r, y - r - high], [x - r - wide, y + r], [x - r - wide, y - r - high],
    ];
    const boxes = places.map(([left, top]) => [left, top, left + wide, top + high]);
    const box = boxes.find((one) => one[0] >= 0 && one[1] >= 0 && one[2] <= width && one[3] <= height
      && !taken.some((other) => one[0] < other[2] && one[2] > other[0] && one[1] < other[3] && one[3] > other[1]));
    if (!text || !box) continue;
    taken.push([box[0] - 3 * ratio, box[1], box[2] + 3 * ratio, box[3]]);
    labels.push({ text, box });
    context.lineWidth = 3 * ratio;
    context.strokeStyle = back;
    context.strokeText(text, box[0], (box[1] + box[3]) / 2);
    context.fillStyle = ink;
    context.fillText(text, box[0], (box[1] + box[3]) / 2);
  }
}

function draw() {
  project();
  const style = getComputedStyle(document.documentElement);
  pixels.fill(packed(style.getPropertyValue('--back').trim()));
  depths = projections[state.projection].dims === 3 ? new Float32Array(width * height).fill(-Infinity) : null;
  // In three dimensions, near records are larger.
  const shapes = depths ? [0.72, 0.86, 1, 1.14, 1.28].map((factor) => disc(radius() * factor)) : [disc(radius())];
  const ink = style.getPropertyValue('--ink').trim(), accent = style.getPropertyValue('--accent').trim();
  const fades = state.selected.length > MOST_RINGS && state.selected.length < count;
  const faded = packed(style.getPropertyValue('--line').trim());
  let drawn = 0;
  for (let i = 0; i < count; i++) {
    if (screenX[i] < -20 || screenY[i] < -20 || screenX[i] > width + 20 || screenY[i] > height + 20) continue;
    splat(i, shapes[depths ? Math.max(0, Math.min(4, Math.floor((depth[i] + 1) * 2.5))) : 0], fades && !state.isSelected[i] ? faded : colours[i]);
    drawn++;
  }
  context.putImageData(image, 0, 0);
  const ring = (i, colour, thick) => {
    context.beginPath();
    context.arc(screenX[i], screenY[i], radius() + 2.5 * ratio, 0, 2 * Math.PI);
    context.lineWidth = thick * ratio;
    context.strokeStyle = colour;
    context.stroke();
  };
  if (state.selected.length <= MOST_RINGS) for (const i of state.selected) ring(i, accent, 1.5);
  for (const i of state.found.slice(0, 2000)) ring(i, ink, 1.5);
  if (state.at >= 0) ring(state.found[state.at], ink, 3.5);
  if (state.hover >= 0) ring(state.hover, ink, 2.5);
  label(ink, style.getPropertyValue('--back').trim());
  document.documentElement.dataset.drawn = drawn;
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

function resize() {
  const box = $('stage').getBoundingClientRect();
  ratio = Math.min(2, window.devicePixelRatio || 1);
  width = Math.max(1, Math.round(box.width * ratio));
  height = Math.max(1, Math.round(box.height * ratio));
  canvas.width = width;
  canvas.height = height;
  image = context.createImageData(width, height);
  pixels = new Uint32Array(image.data.buffer);
  redraw();
}

function rampAt(part) {
  const stops = RAMP[state.theme].map(bytesOf), at = Math.min(stops.length - 1.000001, Math.max(0, part * (stops.length - 1)));
  const low = stops[Math.floor(at)], high = stops[Math.floor(at) + 1], rest = at - Math.floor(at);
  return '#' + low.map((value, k) => Math.round(value + (high[k] - value) * rest).toString(16).padStart(2, '0')).join('');
}

const element = (name, text, parent, className) => {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
};

// What the legend shows: [colour, label, records, whether a record belongs to it], or the ends of a ramp.
let legend = { entries: [] };
function paint() {
  const column = columns[state.column], rest = packed(REST[state.theme]), none = packed(MISSING[state.theme]), box = $('legend');
  box.replaceChildren();
  $('legend-title').textContent = column.label;
  legend = { title: column.label, entries: [] };
  let missing = 0;
  if (column.numbers) {
    let low = Infinity, high = -Infinity;
    for (const value of column.numbers) if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
    const table = Array.from({ length: 256 }, (_, k) => packed(rampAt(k / 255)));
    column.numbers.forEach((value, i) => {
      if (value === null) missing++;
      colours[i] = value === null ? none : table[high > low ? Math.round(255 * (value - low) / (high - low)) : 128];
    });
    if (high > low) {
      const ramp = element('div', null, box, 'ramp');
      ramp.style.background = `linear-gradient(to right, ${RAMP[state.theme].join(', ')})`;
      const ends = element('div', null, box, 'ends');
      element('span', number(low), ends);
      element('span', number(high), ends);
      legend.ends = [number(low), number(high)];
    } else if (high === low) {
      legend.entries.push([rampAt(128 / 255), number(low), count - missing, (i) => column.numbers[i] !== null]);
    }
  } else {
    const sizes = column.levels.map(() => 0);
    for (const level of column.values) if (level < 0) missing++; else sizes[level]++;
    const order = sizes.map((_, level) => level).sort((a, b) => sizes[b] - sizes[a] || a - b);
    const shown = LEVELS[state.theme], colourOf = column.levels.map(() => rest);
    order.slice(0, shown.length).forEach((level, k) => {
      colourOf[level] = packed(shown[k]);
      legend.entries.push([shown[k], column.levels[level], sizes[level], (i) => column.values[i] === level]);
    });
    const others = order.slice(shown.length);
    if (others.length) {
      const records = others.reduce((sum, level) => sum + sizes[level], 0);
      const rare = new Set(others);
      legend.entries.push([REST[state.theme], plural(others.length, 'other value'), records, (i) => rare.has(column.values[i])]);
    }
    column.values.forEach((level, i) => { colours[i] = level < 0 ? none : colourOf[level]; });
  }
  const isMissing = (i) => column.numbers ? column.numbers[i] === null : column.values[i] < 0;
  if (missing) legend.entries.push([MISSING[state.theme], 'no value', missing, isMissing]);
  for (const [colour, label, records, belongs] of legend.entries) {
    const line = element('button', null, box, 'level');
    line.type = 'button';
    line.title = `${label}: select ${plural(records, 'record')}`;
    line.addEventListener('click', () => choose([...data.ids.keys()].filter(belongs)));
    element('i', null, line).style.background = colour;
    element('span', label, line);
    element('b', number(records), line);
  }
  redraw();
}
