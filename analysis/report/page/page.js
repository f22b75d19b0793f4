'use strict';
// Draws the page from the two JSON texts in it: `report` (what --json prints) and `events` (the timeline).
const report = JSON.parse(document.getElementById('report').textContent);
const events = JSON.parse(document.getElementById('events').textContent);
const kinds = events.kinds;
const byId = (id) => document.getElementById(id);

const kWords = {
  compute: 'compute', recompute: 'recomputation', comm_tp: 'exposed tp communication', comm_pp: 'exposed pp communication',
  comm_dp: 'exposed dp communication', wait: 'waiting for late ranks', bubble: 'pipeline bubble', optimizer: 'optimizer',
  data: 'reading data', host: 'host', checkpoint: 'checkpoint', idle: 'idle',
};
// In the order in which a step is explained.
const kOrder = ['compute', 'recompute', 'comm_tp', 'comm_pp', 'bubble', 'comm_dp', 'wait', 'optimizer', 'data', 'host',
  'checkpoint', 'idle'];
const color = (kind) => getComputedStyle(document.documentElement).getPropertyValue('--' + kind).trim();

function seconds(s) {
  const size = Math.abs(s);
  if (size >= 0.9995) return s.toFixed(2) + ' s';
  if (size >= 0.0009995) return (s * 1e3).toFixed(1) + ' ms';
  return (s * 1e6).toFixed(0) + ' us';
}
const percent = (part, whole) => (whole > 0 ? 100 * part / whole : 0).toFixed(1) + ' %';
function bytes(b) {
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (b < 1024) return b.toFixed(unit === 'B' ? 0 : 1) + ' ' + unit;
    b /= 1024;
  }
  return b.toFixed(1) + ' TiB';
}

function element(tag, attributes, ...children) {
  const node = ['svg', 'rect', 'text', 'path', 'title', 'g', 'line'].includes(tag)
    ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  for (const child of children) node.append(child);
  return node;
}
const chart = (width, height, label) =>
  element('svg', {viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label});
function rect(svg, x, y, width, height, kind, title) {
  const box = element('rect', {x, y, width: Math.max(width, 0), height, style: `fill: var(--${kind})`});
  if (title) box.append(element('title', {}, title));
  svg.append(box);
}
function write(svg, x, y, words, attributes) {
  svg.append(element('text', {x, y, ...attributes}, words));
}

// columns: [title, function of a row, "word" for text]
function table(into, rows, columns) {
  const head = element('tr', {});
  for (const [title, , word] of columns) head.append(element('th', word ? {class: 'word', scope: 'col'} : {scope: 'col'}, title));
  const body = element('tbody', {});
  for (const row of rows) {
    const line = element('tr', {});
    for (const [, of, word] of columns) line.append(element('td', word ? {class: 'word'} : {}, String(of(row))));
    body.append(line);
  }
  byId(into).append(element('table', {}, element('thead', {}, head), body));
}

function showAnswer() {
  const mesh = report.mesh, steps = report.steps;
  byId('name').textContent = report.name;
  if (report.planner) byId('heading').textContent = report.name;
  for (const sentence of report.planner ? report.planner.answer : []) byId('plan-answer').append(element('p', {}, sentence));
  byId('read').textContent = report.planner ? 'The best layout, and where its predicted step goes.' :
    `Steps ${steps[0].step} to ${steps[steps.length - 1].step} (${steps.length}) of ${report.ranks.length} of ` +
    `${mesh.pp * mesh.dp * mesh.tp} ranks: pp ${mesh.pp}, dp ${mesh.dp}, tp ${mesh.tp}.${report.clocks ? ` ${report.clocks}` : ''}`;
  const mean = report.mean;
  const stalled = mean.comm_tp_s + mean.comm_pp_s + mean.comm_dp_s + mean.wait_s + mean.bubble_s + mean.idle_s;
  byId('answer').textContent = `A step takes ${seconds(report.step_s)}. In ${percent(stalled, report.step_s)} of it a ` +
    'rank does not compute.';
  for (const finding of report.findings) byId('findings').append(element('li', {}, finding.text));
  for (const kind of kOrder) {
    if (mean[kind + '_s'] > 0)
      byId('legend').append(element('span', {}, element('i', {style: `background: var(--${kind})`}), kWords[kind]));
  }
}

// Parts of an explanation: their words, and the category whose colour they have.
const kParts = {
  peak: ["arithmetic at the devices' peak", 'compute'], kernels: ['computing beyond that', 'compute'],
  recompute: ['recomputation', 'recompute'], tp: ['tp communication, exposed', 'comm_tp'],
  pp: ['pp communication, exposed', 'comm_pp'], bubble: ['pipeline bubble', 'bubble'],
  dp: ['dp communication, exposed', 'comm_dp'], wait: ['waiting for late ranks', 'wait'],
};
function drawWaterfall() {
  const parts = report.explain;
  const left = 230, width = 1100, line = 22;
  if (report.predicted) byId('peak-text').textContent = `Arithmetic at the peak of ${report.predicted.cluster} is what must be done; all else is lost.`;
  else byId('peak-text').remove();
  const svg = chart(width, parts.length * line + 4, 'The mean step, part by part');
  const scale = (width - left - 170) / report.step_s;
  let at = 0;
  parts.forEach(({part, s}, i) => {
    const [words, kind] = part === 'kernels' && !report.predicted ? [kWords.compute, 'compute'] : kParts[part] || [kWords[part], part];
    write(svg, left - 8, i * line + 15, words, {'text-anchor': 'end'});
    rect(svg, left + at * scale, i * line + 3, Math.max(s * scale, 1), line - 6, kind);
    write(svg, left + (at + s) * scale + 8, i * line + 15, `${seconds(s)}  ${percent(s, report.step_s)}`, {class: 'soft'});
    at += s;
  });
  byId('waterfall').append(svg);
}

function showPlans() {
  const planner = report.planner;
  if (!planner) {
    byId('plans-section').remove();
    return;
  }
  const or = (value, digits) => (value === null || value === undefined ? '-' : value.toFixed(digits));
  const columns = [['tp', (p) => p.tp], ['pp', (p) => p.pp], ['dp', (p) => p.dp], ['vpp', (p) => p.vpp],
    ['micro-batch', (p) => p.micro_batch], ['schedule', (p) => p.schedule, 'word'], ['recompute', (p) => p.recompute, 'word'],
    ['zero', (p) => p.zero], ['step', (p) => seconds(p.step_s)], ['slower', (p) => (100 * p.slower).toFixed(1) + ' %'],
    ['MFU', (p) => (100 * p.mfu).toFixed(1) + ' %'], ['exposed', (p) => (100 * p.exposed_share).toFixed(1) + ' %'],
    ['GiB', (p) => (p.memory_bytes / 2 ** 30).toFixed(1)], ['days', (p) => or(p.days, p.days < 10 ? 2 : 1)],
    ['USD', (p) => usd(p.usd)]];
  const left = Object.entries(planner.left_out).map(([why, count]) => `${count}: ${why}`).join('; ');
  byId('plans-text').textContent = `${planner.global_batch} sequences of ${planner.seq} tokens a step. ${planner.searched} layouts ` +
    `looked at, ${planner.simulated} simulated; ${left}.`;
  table('plans', planner.plans, columns);
  table('pareto', planner.pareto, columns);
  byId('sensitivity').textContent = planner.sensitivity
    .map((s) => `${s.choice} ${s.value}: +${(100 * s.slower).toFixed(1)} %`).join(', ') || 'nothing else was close';
  byId('command').textContent = planner.plans[0].command;
}

// The step over the bandwidth of links, both axes logarithmic.
function curveOf(curve) {
  const width = 1100, height = 230, left = 76, bottom = 190;
  const points = curve.points, first = points[0], last = points[points.length - 1];
  const svg = chart(width, height, `Seconds of a step over the bandwidth of links ${curve.links}`);
  const longest = Math.max(...points.map((p) => p.step_s)) * 1.05;
  const least = Math.min(...points.map((p) => p.step_s)) / 1.1;
  const log = (value, from, to) => Math.log(value / from) / Math.log(to / from);
  const x = (gb) => left + (width - left - 40) * log(gb, first.gb_per_s, last.gb_per_s);
  const y = (s) => bottom - (bottom - 20) * log(s, least, longest);
  curve.markers.concat([{name: 'now', gb_per_s: curve.now_gb_per_s}]).sort((a, b) => a.gb_per_s - b.gb_per_s).forEach((marker, i) => {
    if (marker.gb_per_s < first.gb_per_s * 0.999 || marker.gb_per_s > last.gb_per_s * 1.001) return;
    const at = x(marker.gb_per_s);
    svg.append(element('path', {d: `M${at} 20V${bottom}`, style: `stroke: var(--soft); stroke-width: ${marker.name === 'now' ? 2 : 1}; stroke-dasharray: 3 3`}));
    write(svg, at + 3, 30 + 13 * (i % 4), `${marker.name} ${Number(marker.gb_per_s.toPrecision(3))}`, {class: 'soft'});
  });
  if (curve.enough_gb_per_s !== null && curve.enough_gb_per_s > first.gb_per_s) {
    const from = x(curve.enough_gb_per_s);
    const band = element('rect', {x: from, y: 20, width: x(last.gb_per_s) - from, height: bottom - 20, style: 'fill: var(--compute); opacity: 0.12'});
    band.append(element('title', {}, 'more gains less than 2 %'));
    svg.append(band);
    write(svg, x(last.gb_per_s), 14, `enough from ${Number(curve.enough_gb_per_s.toPrecision(2))} on: more gains less than 2 %`, {'text-anchor': 'end', class: 'soft'});
  }
  svg.append(element('path', {d: points.map((p, i) => `${i ? 'L' : 'M'}${x(p.gb_per_s)} ${y(p.step_s)}`).join(''),
    style: 'fill: none; stroke: var(--comm_tp); stroke-width: 2'}));
  for (const p of points) {
    rect(svg, x(p.gb_per_s) - 2.5, y(p.step_s) - 2.5, 5, 5, 'comm_tp', `${p.gb_per_s.toPrecision(3)} GB/s: ${seconds(p.step_s)}`);
    write(svg, x(p.gb_per_s), bottom + 15, p.gb_per_s.toPrecision(3), {'text-anchor': 'middle', class: 'soft'});
  }
  write(svg, left - 8, y(first.step_s) + 4, seconds(first.step_s), {'text-anchor': 'end', class: 'soft'});
  if (y(last.step_s) - y(first.step_s) > 14) write(svg, left - 8, y(last.step_s) + 4, seconds(last.step_s), {'text-anchor': 'end', class: 'soft'});
  write(svg, left, height - 8, `GB/s of ${curve.unit}`, {class: 'soft'});
  return svg;
}
const usd = (value) => (value === null ? '-' : value.toLocaleString('en-US', {maximumFractionDigits: Math.abs(value) < 100 ? 2 : 0}));
const signed = (value) => (value < 0 ? '' : '+') + value.toFixed(1);
function showPredicted() {
  const p = report.predicted;
  if (!p) {
    byId('predicted').remove();
    return;
  }
  const change = 100 * (report.step_s / p.step_s - 1);
  const against = Math.abs(change) < 0.005 ? 'which is this page\'s step' : `this trace ${signed(change)} %`;
  byId('predicted-text').textContent = `The plan simulated on ${p.cluster} takes ${seconds(p.step_s)} a step ` +
    `(${seconds(p.certainty.low_s)} to ${seconds(p.certainty.high_s)}), ${against}. ${p.answer.join(' ')} ` +
    'Each change was simulated anew. Extra USD: what the hosts of the run then cost more than the present ones, all new. USD/token: hosts and change written off over 3 years, and power, against now.';
  table('what-if', p.what_if, [['gain', (w) => seconds(w.gain_s)], ['of the step', (w) => percent(w.gain_s, p.step_s)],
    ['step', (w) => seconds(w.step_s)],
    ...(p.what_if.some((w) => w.days_saved !== null) ?
      [['days saved', (w) => w.days_saved.toPrecision(3)], ['USD saved', (w) => usd(w.usd_saved)]] : []),
    ['extra USD', (w) => (w.usd !== null ? usd(w.usd) : w.kind === 'cluster' ? 'not known' : 'not sold')],
    ['USD/token', (w) => (w.token_cost_change === null ? '-' : signed(100 * w.token_cost_change) + ' %')],
    ['change', (w) => w.change, 'word'], ['price', (w) => w.price_source, 'word']]);
  for (const sentence of p.link_sentences) byId('link-sentences').append(element('li', {}, sentence));
  for (const curve of p.link_curves)
    byId('curves').append(element('h3', {}, `links ${curve.links}: the step over their bandwidth`), element('div', {class: 'chart'}, curveOf(curve)));
}

// The mean of each rank over steps.
function rankMeans() {
  return report.ranks.map((rank) => {
    const own = report.steps.flatMap((step) => step.ranks.filter((of) => of.rank === rank));
    const mean = {rank, step_s: 0};
    for (const of of own)
      for (const [key, value] of Object.entries(of))
        if (key.endsWith('_s')) mean[key] = (mean[key] || 0) + value / own.length;
    Object.assign(mean, {pp: own[0].pp, dp: own[0].dp, tp: own[0].tp, host: own[0].host});
    return mean;
  });
}

function drawBars() {
  const ranks = rankMeans();
  const line = ranks.length > 40 ? 9 : 20, left = 150, width = 1100;
  const longest = Math.max(...ranks.map((rank) => rank.step_s));
  const svg = chart(width, ranks.length * line + 4, 'Where the time of each rank goes, mean over steps');
  ranks.forEach((rank, i) => {
    if (line > 10 || i % 4 === 0)
      write(svg, left - 8, i * line + Math.min(line, 15), `rank ${rank.rank} (${rank.pp}, ${rank.dp}, ${rank.tp})`,
        {'text-anchor': 'end', class: 'soft'});
    let at = left;
    for (const kind of kOrder) {
      const part = rank[kind + '_s'] * (width - left) / longest;
      if (part > 0)
        rect(svg, at, i * line + 2, part, line - 3, kind,
          `rank ${rank.rank} (pp ${rank.pp}, dp ${rank.dp}, tp ${rank.tp}) on ${rank.host}: ${kWords[kind]} ` +
          `${seconds(rank[kind + '_s'])}, ${percent(rank[kind + '_s'], rank.step_s)}`);
      at += part;
    }
  });
  byId('bars').append(svg);
}

// The timeline: rows of lanes, a view [from, to) in ticks.
const view = {step: null, from: 0, to: 1, rows: [], boxes: []};
const kRowHeight = 11, kRankGap = 5, kLeft = 92;

function unpack(numbers) {
  const list = [];
  let at = 0;
  for (let i = 0; i < numbers.length; i += 5) {
    at += numbers[i];
    list.push({t0: at, t1: at + numbers[i + 1], lane: numbers[i + 2] >> 4, kind: numbers[i + 2] & 15, node: numbers[i + 3],
      microbatch: numbers[i + 4]});
  }
  return list;
}

function chooseStep(number) {
  const step = events.steps.find((of) => of.step === number);
  view.step = step;
  view.rows = [];
  view.rankTop = [];
  let top = 4;
  step.ranks.forEach((numbers, index) => {
    const all = unpack(numbers);
    view.rankTop.push(top);
    const lanes = [...new Set(all.map((event) => event.lane))].sort();
    for (const lane of lanes) {
      const own = all.filter((event) => event.lane === lane);
      let longest = 0;
      for (const event of own) longest = Math.max(longest, event.t1 - event.t0);
      view.rows.push({index, lane, top, longest, events: own});
      top += kRowHeight;
    }
    top += kRankGap;
  });
  view.height = top;
  showAll();
}
function showAll() {
  view.from = 0;
  view.to = view.step.length;
  drawTimeline();
}

// Index of the first event that may reach behind `tick`: rows are sorted by begin.
function firstFrom(row, tick) {
  let low = 0, high = row.events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (row.events[middle].t0 + row.longest < tick) low = middle + 1; else high = middle;
  }
  return low;
}

function drawTimeline() {
  const canvas = byId('timeline'), ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.style.height = view.height + 18 + 'px';
  canvas.width = width * ratio;
  canvas.height = (view.height + 18) * ratio;
  const draw = canvas.getContext('2d');
  draw.scale(ratio, ratio);
  const scale = (width - kLeft) / (view.to - view.from);
  const x = (tick) => kLeft + (tick - view.from) * scale;
  const colors = kinds.map(color), soft = color('soft');
  draw.font = '10px system-ui, sans-serif';
  for (const row of view.rows) {
    draw.fillStyle = soft;
    draw.fillText(`${report.ranks[row.index]} ${events.lanes[row.lane]}`, 4, row.top + 9);
    let drawnTo = -1;
    for (let i = firstFrom(row, view.from); i < row.events.length; ++i) {
      const event = row.events[i];
      if (event.t0 > view.to) break;
      if (event.t1 < view.from) continue;
      const left = Math.max(x(event.t0), kLeft), right = Math.min(x(event.t1), width);
      if (right < drawnTo + 0.3) continue;  // of those inside one pixel one is enough
      draw.fillStyle = colors[event.kind];
      draw.fillRect(left, row.top, Math.max(right - left, 0.6), kRowHeight - 1);
      drawnTo = right;
    }
  }
  if (byId('arrows').checked) drawArrows(draw, x, width);
  draw.fillStyle = soft;
  for (let i = 0; i <= 6; ++i) {
    const tick = view.from + i * (view.to - view.from) / 6;
    draw.textAlign = i === 6 ? 'right' : 'left';
    draw.fillText(seconds(tick * events.tick_s), Math.min(x(tick), width - 2), view.height + 12);
  }
  draw.textAlign = 'left';
}

function drawArrows(draw, x, width) {
  const arrows = view.step.arrows;
  let seen = 0;
  for (let i = 0; i < arrows.length; i += 4) seen += arrows[i + 1] < view.to && arrows[i + 3] > view.from;
  if (seen > 1500) return;  // zoom in to see them
  draw.strokeStyle = color('text');
  draw.globalAlpha = seen > 200 ? 0.25 : 0.6;
  for (let i = 0; i < arrows.length; i += 4) {
    const [from, sent, to, arrived] = arrows.slice(i, i + 4);
    if (sent > view.to || arrived < view.from) continue;
    draw.beginPath();
    draw.moveTo(Math.max(x(sent), kLeft), view.rankTop[from] + kRowHeight / 2);
    draw.lineTo(Math.min(x(arrived), width), view.rankTop[to] + kRowHeight / 2);
    draw.stroke();
  }
  draw.globalAlpha = 1;
}

function zoom(factor, center) {
  const length = view.step.length;
  const size = Math.min(Math.max((view.to - view.from) * factor, 20), length);
  const share = center === undefined ? 0.5 : (center - view.from) / (view.to - view.from);
  const middle = center === undefined ? (view.from + view.to) / 2 : center;
  view.from = Math.min(Math.max(middle - size * share, 0), length - size);
  view.to = view.from + size;
  drawTimeline();
}
function move(share) {
  const size = view.to - view.from;
  view.from = Math.min(Math.max(view.from + share * size, 0), view.step.length - size);
  view.to = view.from + size;
  drawTimeline();
}
function tickAt(canvas, clientX) {
  const box = canvas.getBoundingClientRect();
  return view.from + (clientX - box.left - kLeft) * (view.to - view.from) / (box.width - kLeft);
}
function sayEvent(canvas, mouse) {
  const tick = tickAt(canvas, mouse.clientX), y = mouse.clientY - canvas.getBoundingClientRect().top;
  const row = view.rows.find((of) => y >= of.top && y < of.top + kRowHeight);
  const slack = 2 * (view.to - view.from) / canvas.clientWidth;
  let found = null;
  for (let i = row ? firstFrom(row, tick) : 0; row && i < row.events.length && row.events[i].t0 <= tick + slack; ++i)
    if (row.events[i].t1 + slack >= tick) found = row.events[i];
  if (!found) return;
  const rank = report.ranks[row.index];
  const label = (events.nodes[events.stages[row.index]] || [])[found.node] || ['', '', ''];
  byId('hover').textContent = `rank ${rank}, ${events.lanes[row.lane]}: ${label[0]} ${label[1]} — ` +
    `${kWords[kinds[found.kind]]}, ${seconds((found.t1 - found.t0) * events.tick_s)} from ` +
    `${seconds(found.t0 * events.tick_s)}${found.microbatch >= 0 ? ', microbatch ' + found.microbatch : ''}`;
}

function setUpTimeline() {
  const canvas = byId('timeline'), select = byId('step');
  for (const step of events.steps) select.append(element('option', {value: step.step}, String(step.step)));
  select.value = report.typical_step;
  select.addEventListener('change', () => chooseStep(Number(select.value)));
  byId('in').addEventListener('click', () => zoom(0.5));
  byId('out').addEventListener('click', () => zoom(2));
  byId('all').addEventListener('click', showAll);
  byId('arrows').addEventListener('change', drawTimeline);
  canvas.addEventListener('wheel', (wheel) => {
    wheel.preventDefault();
    zoom(wheel.deltaY > 0 ? 1.25 : 0.8, tickAt(canvas, wheel.clientX));
  }, {passive: false});
  let dragged = null;
  canvas.addEventListener('pointerdown', (pointer) => { dragged = pointer.clientX; });
  window.addEventListener('pointerup', () => { dragged = null; });
  canvas.addEventListener('pointermove', (pointer) => {
    if (dragged !== null) {
      move((dragged - pointer.clientX) / (canvas.clientWidth - kLeft));
      dragged = pointer.clientX;
    } else {
      sayEvent(canvas, pointer);
    }
  });
  canvas.addEventListener('keydown', (key) => {
    const act = {'+': () => zoom(0.7), '=': () => zoom(0.7), '-': () => zoom(1.4), ArrowLeft: () => move(-0.2),
      ArrowRight: () => move(0.2), '0': showAll}[key.key];
    if (!act) return;
    key.preventDefault();
    act();
  });
  window.addEventListener('resize', drawTimeline);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawTimeline);
  if (events.left_out > 0)
    byId('left-out').textContent = `${events.left_out} events shorter than ${seconds(events.shortest_s)} are left out, so ` +
      'that the page stays small. trace_report --merge writes all of them for Perfetto.';
  chooseStep(report.typical_step);
}

const kActionColors = {F: 'compute', B: 'optimizer', I: 'optimizer', W: 'data'};
// The pipeline ranks' actions: [{action, t0_s, t1_s}] each.
function drawPipeline(into, ranks, end, label) {
  const left = 60, width = 1100, line = 26;
  const svg = chart(width, ranks.length * line + 4, label);
  const scale = (width - left) / end;
  ranks.forEach((actions, i) => {
    write(svg, left - 8, i * line + 17, `pp ${i}`, {'text-anchor': 'end', class: 'soft'});
    rect(svg, left, i * line + 2, width - left, line - 4, 'idle');
    for (const action of actions) {
      const kind = action.action.match(/[A-Z]/)[0], microbatch = action.action.split(kind)[1];
      const size = (action.t1_s - action.t0_s) * scale;
      rect(svg, left + action.t0_s * scale, i * line + 2, Math.max(size - 0.6, 0.4), line - 4, kActionColors[kind],
        `${action.action}: ${seconds(action.t1_s - action.t0_s)}`);
      if (size > 16) write(svg, left + action.t0_s * scale + size / 2, i * line + 17, microbatch, {'text-anchor': 'middle', style: 'fill: #fff'});
    }
  });
  byId(into).append(svg);
}
// The same order with equal stages: an action begins when its rank is free and what it needs has come.
function planned(ran, stages) {
  const lengths = {};
  for (const action of ran.flat()) {
    const kind = action.action.match(/[A-Z]/)[0];
    lengths[kind] = lengths[kind] || [];
    lengths[kind].push(action.t1_s - action.t0_s);
  }
  for (const kind of Object.keys(lengths)) lengths[kind] = lengths[kind].reduce((a, b) => a + b, 0) / lengths[kind].length;
  const ends = {}, free = ran.map(() => 0), next = ran.map(() => 0), plan = ran.map(() => []);
  for (let moved = true; moved;) {
    moved = false;
    ran.forEach((actions, rank) => {
      while (next[rank] < actions.length) {
        const name = actions[next[rank]].action, [, stage, kind, microbatch] = name.match(/(\d+)([A-Z])(\d+)/);
        const s = Number(stage);
        const needs = kind === 'F' ? (s > 0 ? [`${s - 1}F${microbatch}`] : [])
          : kind === 'W' ? [`${s}I${microbatch}`]
          : [`${s}F${microbatch}`].concat(s + 1 < stages ? [`${s + 1}${kind}${microbatch}`] : []);
        if (needs.some((need) => !(need in ends))) break;
        const t0 = Math.max(free[rank], ...needs.map((need) => ends[need])), t1 = t0 + lengths[kind];
        plan[rank].push({action: name, t0_s: t0, t1_s: t1});
        ends[name] = free[rank] = t1;
        ++next[rank];
        moved = true;
      }
    });
  }
  return plan;
}
function showPipeline() {
  const pipeline = report.pipeline;
  if (pipeline.pp < 2 || !pipeline.ran.length) {
    byId('pipeline').remove();
    return;
  }
  byId('pipeline-text').textContent = `${pipeline.pp * pipeline.vpp} stages, ${pipeline.microbatches} microbatches` +
    `${pipeline.schedule ? ', schedule ' + pipeline.schedule : ''}: the bubble is ${seconds(pipeline.bubble_s)} ` +
    `(${percent(pipeline.bubble_s, report.step_s)} of the step)` +
    (pipeline.ideal_share === null ? '.' : `; the schedule itself leaves ${percent(pipeline.ideal_share, 1)} of the pipeline's time empty.`);
  const ran = pipeline.ran, all = ran.flat();
  if (all.length > 6000) {
    byId('ran').textContent = 'Too many actions for a picture.';
    return;
  }
  const begin = Math.min(...all.map((action) => action.t0_s));
  const moved = ran.map((actions) => actions.map((action) => ({...action, t0_s: action.t0_s - begin, t1_s: action.t1_s - begin})));
  const plan = planned(ran, pipeline.pp * pipeline.vpp);
  const end = Math.max(...moved.flat().map((action) => action.t1_s), ...plan.flat().map((action) => action.t1_s));
  drawPipeline('ran', moved, end, 'The pipeline as it ran');
  if (ran.every((actions) => actions.length > 0)) drawPipeline('planned', plan, end, 'The pipeline as planned');
}

function showWaits() {
  const most = Math.max(0, ...report.waits.flat());
  if (most === 0 || report.ranks.length > 64) {
    byId('waits-section').remove();
    return;
  }
  const head = element('tr', {}, element('th', {}, ''), ...report.ranks.map((rank) => element('th', {scope: 'col'}, String(rank))));
  const rows = report.waits.map((row, i) => element('tr', {}, element('th', {scope: 'row'}, String(report.ranks[i])),
    ...row.map((s) => element('td', {
      style: `background: color-mix(in srgb, var(--comm_tp) ${Math.round(85 * s / most)}%, var(--panel))`,
    }, s > 0 ? seconds(s) : ''))));
  byId('waits').append(element('table', {class: 'heat'}, element('thead', {}, head), element('tbody', {}, ...rows)));
}

function showTables() {
  table('links', report.links, [['axis', (l) => l.axis, 'word'], ['operation', (l) => l.op, 'word'],
    ['count', (l) => l.count.toFixed(0)], ['bytes', (l) => bytes(l.bytes)], ['GB/s', (l) => l.gb_per_s.toPrecision(3)],
    ['exposed', (l) => seconds(l.exposed_s)], ['hidden', (l) => seconds(l.hidden_s)], ['waiting', (l) => seconds(l.wait_s)]]);
  if (report.stragglers.length === 0) byId('stragglers-section').remove();
  else
    table('stragglers', report.stragglers, [['rank', (r) => r.rank], ['late', (r) => seconds(r.late_s)],
      ['of the step', (r) => percent(r.late_s, report.step_s)], ['cause', (r) => r.cause, 'word'],
      ['', (r) => (r.steady ? 'steady' : 'in bursts'), 'word']]);
  table('path', report.critical_path, [['part', (p) => p.kind, 'word'], ['time', (p) => seconds(p.s)],
    ['of the step', (p) => percent(p.s, report.step_s)]]);
  table('ops', report.ops.slice(0, 25), [['operation', (o) => o.op, 'word'], ['count', (o) => o.count.toFixed(0)],
    ['time', (o) => seconds(o.s)], ['of the step', (o) => percent(o.s, report.step_s)],
    ['of the roof', (o) => (100 * o.roof_share).toFixed(0) + ' %']]);
}

function drawSteps() {
  const steps = report.steps;
  if (steps.length < 2) {
    byId('steps-section').remove();
    return;
  }
  const width = 1100, height = 200, left = 76;
  const longest = Math.max(...steps.map((step) => step.step_s)), column = (width - left) / steps.length;
  const svg = chart(width, height + 20, 'Seconds of each step by category');
  steps.forEach((step, i) => {
    let y = height;
    for (const kind of kOrder) {
      const part = step.mean[kind + '_s'] * (height - 10) / longest;
      y -= part;
      if (part > 0)
        rect(svg, left + i * column, y, Math.max(column - 1, 0.5), part, kind,
          `step ${step.step}: ${kWords[kind]} ${seconds(step.mean[kind + '_s'])} of ${seconds(step.step_s)}`);
    }
    if (i % Math.ceil(steps.length / 12) === 0) write(svg, left + i * column, height + 14, String(step.step), {class: 'soft'});
  });
  write(svg, left - 8, 16, seconds(longest), {'text-anchor': 'end', class: 'soft'});
  byId('steps').append(svg);
  const losses = report.losses;
  if (losses.length < 2) return;
  const values = losses.map((of) => of[1]), low = Math.min(...values), high = Math.max(...values);
  const curve = chart(width, 140, 'Loss by step');
  const x = (step) => left + (step - losses[0][0]) * (width - left - 10) / (losses[losses.length - 1][0] - losses[0][0]);
  const y = (loss) => 110 - 95 * (loss - low) / (high - low || 1);
  curve.append(element('path', {d: losses.map(([step, loss], i) => `${i ? 'L' : 'M'}${x(step)} ${y(loss)}`).join(''),
    style: 'fill: none; stroke: var(--compute); stroke-width: 2'}));
  write(curve, left - 8, 20, high.toFixed(3), {'text-anchor': 'end', class: 'soft'});
  write(curve, left - 8, 112, low.toFixed(3), {'text-anchor': 'end', class: 'soft'});
  write(curve, left, 134, `loss, step ${losses[0][0]} to ${losses[losses.length - 1][0]}`, {class: 'soft'});
  byId('losses').append(curve);
}

showAnswer();
showPlans();
drawWaterfall();
showPredicted();
drawBars();
setUpTimeline();
showPipeline();
showWaits();
showTables();
drawSteps();
