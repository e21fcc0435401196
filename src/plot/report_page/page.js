'use strict';
const $ = (id) => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const number = (value) => value.toLocaleString('en', { maximumFractionDigits: 3 });
const plural = (n, thing) => `${number(n)} ${thing}${n === 1 ? '' : 's'}`;
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const count = data.ids.length;
const near = data.embeddings && {
  ...data.embeddings,
  points: new Float32Array(bytesOf(data.embeddings.points).buffer),
  rows: new Uint32Array(bytesOf(data.embeddings.rows).buffer),
  cosines: new Float32Array(bytesOf(data.embeddings.cosines).buffer),
};
let chosen = -1, bar = -1, screen = null;
const element = (name, text, parent) => { const made = document.createElement(name); made.textContent = text; parent.append(made); return made; };
const shown = (i) => data.ids[i] || '(no id)';
const brief = (text, most) => { const letters = [...text]; return letters.length > most ? letters.slice(0, most - 1).join('') + '…' : text; };

// A canvas as large as its box, in pixels of the screen; drawing is in pixels of the page.
function canvasOf(id) {
  const canvas = $(id), box = canvas.getBoundingClientRect(), ratio = Math.min(2, devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(box.width * ratio));
  canvas.height = Math.max(1, Math.round(box.height * ratio));
  const context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  return [context, box.width, box.height];
}

function drawLengths() {
  const [context, width, height] = canvasOf('lengths'), bars = data.histogram;
  const most = Math.max(1, ...bars.map((one) => one[2])), base = height - 22, step = width / Math.max(1, bars.length);
  bars.forEach(([, , records], k) => {
    const tall = records ? Math.max(1.5, (base - 16) * records / most) : 0;
    context.fillStyle = colour(k === bar ? '--mark' : '--accent');
    context.fillRect(k * step + 0.5, base - tall, Math.max(1, step - 1.5), tall);
  });
  context.fillStyle = colour('--soft');
  context.font = '12px system-ui, sans-serif';
  context.fillText(plural(most, 'record'), 0, 11);
  if (!bars.length) return;
  context.fillText(plural(bars[0][0], 'residue'), 0, height - 6);
  context.textAlign = 'right';
  context.fillText(number(bars[bars.length - 1][1]), width, height - 6);
  $('lengths').setAttribute('aria-label', `Histogram of the lengths of ${plural(bars.reduce((sum, one) => sum + one[2], 0), 'record')}, from ${number(bars[0][0])} to ${number(bars[bars.length - 1][1])} residues`);
}

function drawPoints() {
  const [context, width, height] = canvasOf('points'), { points } = near;
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  points.forEach((value, at) => { low[at % 2] = Math.min(low[at % 2], value); high[at % 2] = Math.max(high[at % 2], value); });
  const place = (value, dim, size) => high[dim] > low[dim] ? 14 + (value - low[dim]) / (high[dim] - low[dim]) * (size - 28) : size / 2;
  screen = new Float32Array(points.length);
  const radius = count > 20000 ? 1 : count > 2000 ? 1.6 : count > 200 ? 2.6 : 4;
  const dot = (i, size) => { context.beginPath(); context.arc(screen[2 * i], screen[2 * i + 1], size, 0, 7); context.fill(); };
  context.fillStyle = colour('--accent');
  context.globalAlpha = count > 2000 ? 0.5 : 0.8;
  for (let i = 0; i < count; i++) {
    screen[2 * i] = place(points[2 * i], 0, width);
    screen[2 * i + 1] = height - place(points[2 * i + 1], 1, height);
    dot(i, radius);
  }
  context.globalAlpha = 1;
  if (chosen >= 0) {
    context.fillStyle = colour('--mark');
    for (let k = 0; k < near.number; k++) dot(near.rows[chosen * near.number + k], radius + 1.5);
    context.strokeStyle = colour('--ink');
    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(screen[2 * chosen], screen[2 * chosen + 1], radius + 5, 0, 7);
    context.stroke();
  }
}

function choose(i) {
  chosen = i;
  const body = $('near').tBodies[0];
  body.replaceChildren();
  if (i < 0) return;
  $('chosen').textContent = [brief(shown(i), 100), brief(data.descriptions[i], 200), plural(data.lengths[i], 'residue')].filter(Boolean).join(' · ');
  for (let k = 0; k < near.number; k++) {
    const row = near.rows[i * near.number + k], line = element('tr', '', body);
    const button = element('button', brief(shown(row), 60), element('td', '', line));
    button.type = 'button';
    button.title = brief(data.descriptions[row], 200);
    button.addEventListener('click', () => { $('search').value = data.ids[row]; choose(row); });
    element('td', near.cosines[i * near.number + k].toFixed(4), line);
    element('td', number(data.lengths[row]), line);
  }
  drawPoints();
}

function search() {
  const text = $('search').value.trim().toLowerCase();
  const exact = data.ids.findIndex((id) => id.toLowerCase() === text);
  const found = [];
  for (let i = 0; i < count && found.length < 20 && text; i++) {
    if (data.ids[i].toLowerCase().includes(text) || data.descriptions[i].toLowerCase().includes(text)) found.push(i);
  }
  $('found').replaceChildren(...found.map((i) => { const one = document.createElement('option'); one.value = data.ids[i]; one.textContent = data.descriptions[i]; return one; }));
  if (exact >= 0) choose(exact);
  else if (found.length) choose(found[0]);
  else if (text) $('chosen').textContent = 'No record found';
}

function drawMaps() {
  const dark = document.documentElement.dataset.theme === 'dark';
  const from = dark ? [20, 23, 28] : [255, 255, 255], to = dark ? [122, 184, 255] : [8, 48, 107];
  $('maps').replaceChildren(...data.maps.map((map) => {
    const figure = document.createElement('figure'), canvas = document.createElement('canvas'), size = map.residues;
    canvas.width = canvas.height = Math.max(1, size);
    // Smaller than its pixels, a map would lose contacts if it were not smoothed.
    canvas.style.imageRendering = size > 200 ? 'auto' : 'pixelated';
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `Contact map of ${shown(map.row)}`);
    const context = canvas.getContext('2d'), image = context.createImageData(canvas.width, canvas.height), levels = bytesOf(map.values);
    levels.forEach((level, at) => {
      for (let k = 0; k < 3; k++) image.data[4 * at + k] = from[k] + (to[k] - from[k]) * level / 255;
      image.data[4 * at + 3] = 255;
    });
    context.putImageData(image, 0, 0);
    figure.append(canvas);
    element('figcaption', `${brief(shown(map.row), 60)}, ${plural(size, 'residue')}`, figure);
    return figure;
  }));
}

function draw() {
  drawLengths();
  if (near && count) drawPoints();
  document.documentElement.dataset.drawn = count;
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  $('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
  drawMaps();
  draw();
}

function nearest(x, y, most) {
  let best = -1, least = most * most;
  for (let i = 0; i < count; i++) {
    const square = (screen[2 * i] - x) ** 2 + (screen[2 * i + 1] - y) ** 2;
    if (square < least) { best = i; least = square; }
  }
  return best;
}

$('theme').addEventListener('click', () => theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'));
$('lengths').addEventListener('pointermove', (event) => {
  const box = $('lengths').getBoundingClientRect();
  bar = Math.floor((event.clientX - box.left) / box.width * data.histogram.length);
  const one = data.histogram[bar];
  $('bar').textContent = one ? `${number(one[0])} to ${plural(one[1], 'residue')}: ${plural(one[2], 'record')}` : '';
  drawLengths();
});
$('search').addEventListener('input', search);
if (near && count) {
  const percent = near.explained.map((part) => (100 * part).toFixed(1) + ' %');
  const variance = near.explained[0] > 0 ? `Principal components with ${percent.join(' and ')} of the variance.` : '';
  $('axes').textContent = count > 1 ? `${variance || 'All embeddings are equal.'} Click a point, or use the arrow keys.` : '';
  $('points').setAttribute('aria-label', `The first two principal components of ${plural(count, 'record')}`);
  $('points').addEventListener('click', (event) => {
    const box = $('points').getBoundingClientRect(), i = nearest(event.clientX - box.left, event.clientY - box.top, 30);
    if (i >= 0) { $('search').value = data.ids[i]; choose(i); }
  });
  $('points').addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose((chosen + step + count) % count);
    $('search').value = data.ids[chosen];
  });
  $('near').caption.textContent = plural(near.number, 'nearest record');
  $('near').hidden = !near.number;
  choose(0);
} else $('pair').hidden = true;
theme(window.matchMedia?.('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
new ResizeObserver(draw).observe(document.body);
