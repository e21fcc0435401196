const say = (text) => { $('status').textContent = text; };
function describe(i) {
  const lines = [brief(idOf(i), 100)];
  if (data.descriptions[i]) lines.push(brief(data.descriptions[i], 200));
  lines.push(plural(data.lengths[i], 'residue'));
  const column = columns[state.column];
  if (state.column > 0) {
    const value = column.numbers ? column.numbers[i] : column.levels[column.values[i]];
    lines.push(`${brief(column.label, 60)}: ${brief(String(value ?? 'no value'), 100)}`);
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
$('colour').addEventListener('change', () => { state.column = Number($('colour').value); paint(); facts(); });
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
  // The beginning of a text that is at most as wide as the room for it.
  const fit = (text, room) => {
    let part = brief(text, 300), letters = [...part].length;
    while (letters > 1 && paper.measureText(part).width > room) part = brief(text, --letters);
    return part;
  };
  const write = (text, x, y, size, colour, room) => {
    paper.font = `${size * ratio}px system-ui, sans-serif`;
    paper.fillStyle = colour;
    paper.fillText(fit(text, room), x, y);
  };
  write($('title').textContent, 14 * ratio, 25 * ratio, 18, ink, page.width - 28 * ratio);
  write($('facts').textContent, 14 * ratio, 46 * ratio, 13, soft, page.width - 28 * ratio);
  write(legend.title, width + 12 * ratio, top + 20 * ratio, 14, ink, side - 24 * ratio);
  let y = top + 42 * ratio;
  if (legend.ends) {
    const ramp = paper.createLinearGradient(width + 12 * ratio, 0, width + 200 * ratio, 0);
    RAMP[state.theme].forEach((colour, k, all) => ramp.addColorStop(k / (all.length - 1), colour));
    paper.fillStyle = ramp;
    paper.fillRect(width + 12 * ratio, y - 12 * ratio, 188 * ratio, 14 * ratio);
    y += 18 * ratio;
    write(legend.ends[0], width + 12 * ratio, y, 13, ink, side / 2);
    paper.textAlign = 'right';
    write(legend.ends[1], width + 200 * ratio, y, 13, ink, side / 2);
    paper.textAlign = 'left';
    y += 24 * ratio;
  }
  for (const [colour, label, records] of legend.entries) {
    paper.fillStyle = colour;
    paper.beginPath();
    paper.arc(width + 18 * ratio, y - 4 * ratio, 5.5 * ratio, 0, 2 * Math.PI);
    paper.fill();
    const many = ` (${number(records)})`;
    paper.font = `${13 * ratio}px system-ui, sans-serif`;
    const name = fit(label, side - 40 * ratio - paper.measureText(many).width);
    write(name + many, width + 30 * ratio, y, 13, ink, side);
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
  const parts = list(data.explained.slice(0, one.dims).map(percent));
  const how = one.method === 'PCA'
    ? 'principal components' + (data.explained[0] > 0 ? ` with ${parts} of the variance` : '')
    : `UMAP, ${plural(Math.min(data.neighbours, count), 'neighbor')}, seed ${data.seed}`;
  $('facts').textContent = `${data.model} · ${data.array} · ${plural(count, 'record')} · ${how}`;
  canvas.setAttribute('aria-label', `Map of ${plural(count, 'record')}: ${one.method} in ${one.dims} dimensions, colored by ${columns[state.column].label}`);
}

$('title').textContent = data.title;
// To UMAP, so few records are all neighbors of each other: principal components show more.
if (count <= data.neighbours) state.projection = Math.max(0, projections.findIndex((one) => one.method === 'PCA'));
projections.forEach((one, k) => { element('option', `${one.method}, ${one.dims}-D`, $('projection')).value = k; });
$('projection').value = state.projection;
columns.forEach((one, k) => { element('option', one.label, $('colour')).value = k; });
state.column = Math.max(0, columns.findIndex((one, k) => k > 0 && one.name === data.colour));
$('colour').value = state.column;
theme(window.matchMedia?.('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
facts();
resize();
new ResizeObserver(resize).observe($('stage'));
