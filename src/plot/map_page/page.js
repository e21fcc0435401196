'use strict';
const $ = (id) => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const count = data.ids.length;
const canvas = $('canvas'), context = canvas.getContext('2d');
const number = (value) => value.toLocaleString('en', { maximumFractionDigits: 3 });
const plural = (n, thing) => `${number(n)} ${thing}${n === 1 ? '' : 's'}`;
const percent = (part) => (100 * part).toFixed(1);

// Colours that people with any kind of colour blindness can tell apart (Paul Tol's muted scheme, and
// parts of viridis), for a light and a dark page.
const LEVELS = {
  light: ['#cc6677', '#332288', '#c2a83e', '#117733', '#5ab4dd', '#882255', '#44aa99', '#999933', '#aa4499'],
  dark: ['#e5808f', '#8f83e8', '#ddcc77', '#3fae68', '#88ccee', '#d0568f', '#55c4b1', '#c5c556', '#d07ac0'],
};
const RAMP = {
  light: ['#440154', '#3b528b', '#21918c', '#5ec962', '#c8d917'],
  dark: ['#7a4fa3', '#5b7fc4', '#2fb0a8', '#6fd36f', '#fde725'],
};
const REST = { light: '#a3a9b1', dark: '#6c7480' };

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
// Middle and radius of the records in each projection, so that all of them fit.
for (const one of projections) {
  const low = Array(one.dims).fill(Infinity), high = Array(one.dims).fill(-Infinity);
  for (let i = 0; i < one.values.length; i++) {
    const dim = i % one.dims, value = one.values[i];
    if (value < low[dim]) low[dim] = value;
    if (value > high[dim]) high[dim] = value;
  }
  one.middle = low.map((value, dim) => count ? (value + high[dim]) / 2 : 0);
  one.half = low.map((value, dim) => count ? (high[dim] - value) / 2 || 1 : 1);
}

let width = 1, height = 1, ratio = 1, image = null, pixels = null, depths = null;
const screenX = new Float32Array(count), screenY = new Float32Array(count), depth = new Float32Array(count);
let colours = new Uint32Array(count);

function project() {
  const { values, dims, middle, half } = projections[state.projection];
  const room = 0.92;
  if (dims === 2) {
    const scale = state.zoom * room * Math.min(width / 2 / half[0], height / 2 / half[1]);
    for (let i = 0; i < count; i++) {
      screenX[i] = width / 2 + (values[2 * i] - middle[0]) * scale + state.x;
      screenY[i] = height / 2 - (values[2 * i + 1] - middle[1]) * scale + state.y;
      depth[i] = 0;
    }
    return;
  }
  const radius = Math.hypot(...half);
  const scale = state.zoom * room * Math.min(width, height) / 2 / radius;
  const [sy, cy, sp, cp] = [Math.sin(state.yaw), Math.cos(state.yaw), Math.sin(state.pitch), Math.cos(state.pitch)];
  for (let i = 0; i < count; i++) {
    const a = values[3 * i] - middle[0], b = values[3 * i + 1] - middle[1], c = values[3 * i + 2] - middle[2];
    const right = a * cy + c * sy, back = c * cy - a * sy;
    screenX[i] = width / 2 + right * scale + state.x;
    screenY[i] = height / 2 - (b * cp - back * sp) * scale + state.y;
    depth[i] = (b * sp + back * cp) / radius;
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
  const base = count > 20000 ? 1.4 : count > 2000 ? 2.2 : count > 300 ? 3.2 : 5;
  return Math.min(9, base * Math.pow(Math.max(1, state.zoom), 0.35)) * ratio;
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

function draw() {
  project();
  const style = getComputedStyle(document.documentElement);
  pixels.fill(packed(style.getPropertyValue('--back').trim()));
  depths = projections[state.projection].dims === 3 ? new Float32Array(width * height).fill(-Infinity) : null;
  const shape = disc(radius());
  const ink = style.getPropertyValue('--ink').trim(), accent = style.getPropertyValue('--accent').trim();
  const fades = state.selected.length > MOST_RINGS && state.selected.length < count;
  const faded = packed(style.getPropertyValue('--line').trim());
  let drawn = 0;
  for (let i = 0; i < count; i++) {
    if (screenX[i] < -20 || screenY[i] < -20 || screenX[i] > width + 20 || screenY[i] > height + 20) continue;
    splat(i, shape, fades && !state.isSelected[i] ? faded : colours[i]);
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

// What the legend shows: [colour, label, records], or the ends of a ramp.
let legend = { entries: [] };
function paint() {
  const column = columns[state.column], rest = packed(REST[state.theme]), box = $('legend');
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
      colours[i] = value === null ? rest : table[high > low ? Math.round(255 * (value - low) / (high - low)) : 128];
    });
    if (high >= low) {
      const ramp = element('div', null, box, 'ramp');
      ramp.style.background = `linear-gradient(to right, ${RAMP[state.theme].join(', ')})`;
      const ends = element('div', null, box, 'ends');
      element('span', number(low), ends);
      element('span', number(high), ends);
      legend.ends = [number(low), number(high)];
    }
  } else {
    const sizes = column.levels.map(() => 0);
    for (const level of column.values) if (level < 0) missing++; else sizes[level]++;
    const order = sizes.map((_, level) => level).sort((a, b) => sizes[b] - sizes[a] || a - b);
    const shown = LEVELS[state.theme], colourOf = column.levels.map(() => rest);
    order.slice(0, shown.length).forEach((level, k) => {
      colourOf[level] = packed(shown[k]);
      legend.entries.push([shown[k], column.levels[level], sizes[level]]);
    });
    const others = order.slice(shown.length);
    if (others.length) {
      const records = others.reduce((sum, level) => sum + sizes[level], 0);
      legend.entries.push([REST[state.theme], plural(others.length, 'other value'), records]);
    }
    column.values.forEach((level, i) => { colours[i] = level < 0 ? rest : colourOf[level]; });
  }
  if (missing) legend.entries.push([REST[state.theme], 'no value', missing]);
  for (const [colour, label, records] of legend.entries) {
    const line = element('div', null, box, 'level');
    element('i', null, line).style.background = colour;
    element('span', label, line);
    element('b', number(records), line);
  }
  redraw();
}

const say = (text) => { $('status').textContent = text; };
function describe(i) {
  const lines = [data.ids[i]];
  if (data.descriptions[i]) lines.push(data.descriptions[i]);
  lines.push(plural(data.lengths[i], 'residue'));
  const column = columns[state.column];
  if (state.column > 0) {
    const value = column.numbers ? column.numbers[i] : column.levels[column.values[i]];
    lines.push(`${column.label}: ${value ?? 'no value'}`);
  }
  return lines;
}

function nearest(x, y) {
  let best = -1, least = (radius() + 6 * ratio) ** 2, front = -Infinity;
  for (let i = 0; i < count; i++) {
    const square = (screenX[i] - x) ** 2 + (screenY[i] - y) ** 2;
    if (square < least || square === least && depth[i] > front) { best = i; least = square; front = depth[i]; }
  }
  return best;
}

function hover(i, x, y) {
  const tip = $('tip');
  if (i !== state.hover) { state.hover = i; redraw(); }
  tip.hidden = i < 0;
  if (i < 0) return;
  tip.textContent = describe(i).join('\n');
  const box = $('stage').getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = x + 14 + own.width > box.width ? Math.max(4, x - 14 - own.width) : x + 14;
  const top = y + 14 + own.height > box.height ? Math.max(4, y - 14 - own.height) : y + 14;
  tip.style.left = left + 'px';
  tip.style.top = top + 'px';
}

function zoom(factor, x, y) {
  const before = state.zoom;
  state.zoom = Math.min(500, Math.max(0.2, before * factor));
  const by = state.zoom / before;
  state.x = x - width / 2 - (x - width / 2 - state.x) * by;
  state.y = y - height / 2 - (y - height / 2 - state.y) * by;
  redraw();
}

function move(dx, dy, alongside) {
  if (projections[state.projection].dims === 3 && !alongside) {
    state.yaw += dx / 200;
    state.pitch = Math.min(1.57, Math.max(-1.57, state.pitch + dy / 200));
  } else {
    state.x += dx * ratio;
    state.y += dy * ratio;
  }
  redraw();
}

function reset() {
  Object.assign(state, { zoom: 1, x: 0, y: 0, yaw: 0.6, pitch: 0.4 });
  redraw();
}

function choose(indices) {
  state.selected = indices;
  state.isSelected.fill(0);
  for (const i of indices) state.isSelected[i] = 1;
  $('copy').disabled = !indices.length;
  say(indices.length ? `${plural(indices.length, 'record')} selected` : '');
  redraw();
}

const pointers = new Map();
let start = null, moved = false;
const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.addEventListener('pointerdown', (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, place(event));
  start = place(event);
  moved = false;
  hover(-1);
});
canvas.addEventListener('pointermove', (event) => {
  const [x, y] = place(event), before = pointers.get(event.pointerId);
  if (!before) return hover(nearest(x * ratio, y * ratio), x, y);
  pointers.set(event.pointerId, [x, y]);
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const far = (at) => Math.max(1, Math.hypot(at[0] - other[0], at[1] - other[1]));
    return zoom(far([x, y]) / far(before), (x + other[0]) / 2 * ratio, (y + other[1]) / 2 * ratio);
  }
  moved = moved || Math.hypot(x - start[0], y - start[1]) > 3;
  if (!state.selecting) return move(x - before[0], y - before[1], event.shiftKey);
  const band = $('band'), [x0, y0] = start;
  band.hidden = false;
  Object.assign(band.style, { left: Math.min(x, x0) + 'px', top: Math.min(y, y0) + 'px', width: Math.abs(x - x0) + 'px', height: Math.abs(y - y0) + 'px' });
});
function released(event) {
  if (!pointers.delete(event.pointerId)) return;
  const [x, y] = place(event);
  if (!$('band').hidden) {
    $('band').hidden = true;
    const [x0, x1] = [x, start[0]].sort((a, b) => a - b), [y0, y1] = [y, start[1]].sort((a, b) => a - b);
    const inside = [];
    for (let i = 0; i < count; i++) {
      const [px, py] = [screenX[i] / ratio, screenY[i] / ratio];
      if (px >= x0 && px <= x1 && py >= y0 && py <= y1) inside.push(i);
    }
    choose(inside);
  } else if (!moved) {
    const i = nearest(x * ratio, y * ratio);
    if (i >= 0) { choose([i]); say(describe(i).join(' · ')); hover(i, x, y); }
  }
}
canvas.addEventListener('pointerup', released);
canvas.addEventListener('pointercancel', released);
canvas.addEventListener('pointerleave', () => hover(-1));
canvas.addEventListener('wheel', (event) => {
  event.preventDefault();
  const [x, y] = place(event);
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), x * ratio, y * ratio);
}, { passive: false });
canvas.addEventListener('keydown', (event) => {
  const step = 30, keys = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (keys[event.key]) move(...keys[event.key], event.shiftKey);
  else if (event.key === '+' || event.key === '=') zoom(1.25, width / 2, height / 2);
  else if (event.key === '-') zoom(0.8, width / 2, height / 2);
  else if (event.key === '0') reset();
  else if (event.key === 'Escape') choose([]);
  else return;
  event.preventDefault();
});

$('search').addEventListener('input', () => {
  const text = $('search').value.trim().toLowerCase();
  state.found = [];
  state.at = -1;
  if (text) {
    for (let i = 0; i < count; i++) {
      if (data.ids[i].toLowerCase().includes(text) || data.descriptions[i].toLowerCase().includes(text)) state.found.push(i);
    }
    const first = state.found.length === 1 ? `: ${describe(state.found[0]).join(' · ')}` : state.found.length ? '; Enter shows them one by one' : '';
    say(`${plural(state.found.length, 'record')} found${first}`);
  } else say('');
  redraw();
});
$('search').addEventListener('keydown', (event) => {
  if (event.key === 'Escape') { $('search').value = ''; $('search').dispatchEvent(new Event('input')); }
  if (event.key !== 'Enter' || !state.found.length) return;
  state.at = (state.at + 1) % state.found.length;
  const i = state.found[state.at];
  project();
  state.x += width / 2 - screenX[i];
  state.y += height / 2 - screenY[i];
  say(describe(i).join(' · '));
  redraw();
});
$('projection').addEventListener('change', () => { state.projection = Number($('projection').value); reset(); facts(); });
$('colour').addEventListener('change', () => { state.column = Number($('colour').value); paint(); });
$('select').addEventListener('click', () => {
  state.selecting = !state.selecting;
  $('select').setAttribute('aria-pressed', state.selecting);
  canvas.classList.toggle('selecting', state.selecting);
  say(state.selecting ? 'Drag a box around records to select them' : '');
});
$('copy').addEventListener('click', async () => {
  const text = state.selected.map((i) => data.ids[i]).join('\n') + '\n';
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element('textarea', text, document.body);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  say(`${plural(state.selected.length, 'id')} copied`);
});
$('reset').addEventListener('click', reset);
$('save').addEventListener('click', () => {
  draw();
  const page = document.createElement('canvas'), side = 230 * ratio, top = 60 * ratio;
  page.width = width + side;
  page.height = height + top;
  const paper = page.getContext('2d'), style = getComputedStyle(document.documentElement);
  const [ink, soft] = ['--ink', '--soft'].map((name) => style.getPropertyValue(name).trim());
  paper.fillStyle = style.getPropertyValue('--back').trim();
  paper.fillRect(0, 0, page.width, page.height);
  paper.drawImage(canvas, 0, top);
  const write = (text, x, y, size, colour) => {
    paper.font = `${size * ratio}px system-ui, sans-serif`;
    paper.fillStyle = colour;
    paper.fillText(text, x, y);
  };
  write($('title').textContent, 14 * ratio, 25 * ratio, 18, ink);
  write($('facts').textContent, 14 * ratio, 46 * ratio, 13, soft);
  write(legend.title, width + 12 * ratio, top + 20 * ratio, 14, ink);
  let y = top + 42 * ratio;
  if (legend.ends) {
    const ramp = paper.createLinearGradient(width + 12 * ratio, 0, width + 200 * ratio, 0);
    RAMP[state.theme].forEach((colour, k, all) => ramp.addColorStop(k / (all.length - 1), colour));
    paper.fillStyle = ramp;
    paper.fillRect(width + 12 * ratio, y - 12 * ratio, 188 * ratio, 14 * ratio);
    y += 18 * ratio;
    write(legend.ends[0], width + 12 * ratio, y, 13, ink);
    paper.textAlign = 'right';
    write(legend.ends[1], width + 200 * ratio, y, 13, ink);
    paper.textAlign = 'left';
    y += 24 * ratio;
  }
  for (const [colour, label, records] of legend.entries) {
    paper.fillStyle = colour;
    paper.beginPath();
    paper.arc(width + 18 * ratio, y - 4 * ratio, 5.5 * ratio, 0, 2 * Math.PI);
    paper.fill();
    const short = label.length > 24 ? label.slice(0, 23) + '…' : label;
    write(`${short} (${number(records)})`, width + 30 * ratio, y, 13, ink);
    y += 20 * ratio;
  }
  page.toBlob((blob) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = 'map.png';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
});

function theme(name) {
  state.theme = name;
  document.documentElement.dataset.theme = name;
  $('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
  paint();
}
$('theme').addEventListener('click', () => theme(state.theme === 'dark' ? 'light' : 'dark'));

function facts() {
  const one = projections[state.projection];
  const how = one.method === 'PCA'
    ? `principal components with ${data.explained.slice(0, one.dims).map(percent).join(', ')} % of the variance`
    : `UMAP of ${plural(data.neighbours, 'neighbor')}, seed ${data.seed}`;
  $('facts').textContent = `${data.model} · ${data.array} · ${plural(count, 'record')} · ${how}`;
  canvas.setAttribute('aria-label', `Map of ${plural(count, 'record')}: ${one.method} in ${one.dims} dimensions, colored by ${columns[state.column].label}`);
}

$('title').textContent = data.title;
projections.forEach((one, k) => { element('option', `${one.method}, ${one.dims}-D`, $('projection')).value = k; });
columns.forEach((one, k) => { element('option', one.label, $('colour')).value = k; });
state.column = Math.max(0, columns.findIndex((one, k) => k > 0 && one.name === data.colour));
$('colour').value = state.column;
theme(window.matchMedia?.('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
facts();
resize();
new ResizeObserver(resize).observe($('stage'));
