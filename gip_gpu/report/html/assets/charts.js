// Line charts and histograms as SVG in the pixels of their box, drawn again when the box changes.
const LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 26;

function chart(id, draw) {
  const box = typeof id === "string" ? $(id) : id;
  // The page of a method without a certificate has fewer charts.
  if (!box) return;
  const redraw = framed(() => {
    const width = box.clientWidth, height = box.clientHeight;
    if (width < 60 || height < 60) return;
    const svg = el("svg:svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    draw(svg, width, height);
    box.replaceChildren(svg);
  });
  new ResizeObserver(redraw).observe(box);
}

function nice(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step) ticks.push(tick);
  return ticks.map((tick) => (Math.abs(tick) < step * 1e-6 ? 0 : tick));
}

// The first tick at or above the highest value, so that the axis names its end.
function ceiling(low, high, count) {
  const ticks = nice(low, high, count);
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : high - low;
  const last = ticks[ticks.length - 1];
  return last >= high * (1 - 1e-9) ? Math.max(last, high) : last + step;
}

function axes(svg, width, height, x, y, xs, ys, xName = short, yName = short) {
  for (const tick of ys) {
    svg.append(el("svg:line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }));
    svg.append(el("svg:text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, yName(tick)));
  }
  for (const tick of xs) {
    const anchor = x(tick) > width - 26 ? "end" : "middle";
    svg.append(el("svg:text", { x: x(tick), y: height - 6, "text-anchor": anchor }, xName(tick)));
  }
}

// values: a typed array, one a pick. The x axis is logarithmic from 50 picks on: the first picks matter most.
function lineChart(id, values, { log = false, name, tick = short }) {
  const k = values.length;
  const logX = k >= 50;
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (log && value <= 0) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) [low, high] = [log ? 0.1 : 0, 1];
  if (log) low = Math.max(low, high * 1e-12);
  else low = Math.min(0, low);
  if (high <= low) high = log ? low * 10 : low + 1;
  if (!log) high = ceiling(low, high, 4);
  chart(id, (svg, width, height) => {
    const inside = width - LEFT - RIGHT, tall = height - TOP - BOTTOM;
    const along = logX ? (pick) => Math.log(pick) / Math.log(k) : (pick) => (pick - 1) / Math.max(1, k - 1);
    const x = (pick) => LEFT + inside * along(Math.max(1, pick));
    const scaled = log
      ? (value) => Math.log(Math.max(value, low) / low) / Math.log(high / low)
      : (value) => (value - low) / (high - low);
    const y = (value) => TOP + tall * (1 - scaled(value));
    let ys;
    if (log) {
      const from = Math.ceil(Math.log10(low)), to = Math.floor(Math.log10(high));
      const step = Math.max(1, Math.ceil((to - from) / 4));
      ys = [];
      for (let power = from; power <= to; power += step) ys.push(10 ** power);
      if (ys.length < 2) ys = [low, high];
    } else ys = nice(low, high, 4);
    let xs = logX ? [1, 10, 100, 1000, 10000, 100000].filter((pick) => pick <= k) : nice(1, k, 5).filter((pick) => pick >= 1 && pick % 1 === 0);
    if (logX && k / xs[xs.length - 1] > 2) xs = [...xs, k];
    axes(svg, width, height, x, y, xs, ys, whole, tick);
    for (const start of page.rounds.slice(1)) {
      const at = x(start + 0.5);
      svg.append(el("svg:line", { class: "round", x1: at, x2: at, y1: TOP, y2: TOP + tall }));
    }
    // One point a pixel column and end of it is enough; more only cost time.
    let path = "", last = -1, before = -1;
    for (let i = 0; i < k; i++) {
      const column = Math.round(x(i + 1) * 2);
      if (column === last && i < k - 1) continue;
      last = column;
      path += `${before < 0 ? "M" : "L"}${x(i + 1).toFixed(1)} ${y(values[i]).toFixed(1)}`;
      before = i;
    }
    svg.append(el("svg:path", { class: "line", d: path + (k === 1 ? `h${inside}` : "") }));
    const cross = el("svg:line", { class: "cross", y1: TOP, y2: TOP + tall, visibility: "hidden" });
    const say = el("svg:text", { class: "say", y: TOP + 12, visibility: "hidden" });
    svg.append(cross, say);
    svg.addEventListener("pointermove", (event) => {
      const share = (event.clientX - svg.getBoundingClientRect().left - LEFT) / inside;
      const clipped = Math.min(1, Math.max(0, share));
      const pick = Math.round(logX ? k ** clipped : 1 + clipped * (k - 1));
      const at = x(pick);
      cross.setAttribute("x1", at);
      cross.setAttribute("x2", at);
      say.setAttribute("x", at > width / 2 ? at - 6 : at + 6);
      say.setAttribute("text-anchor", at > width / 2 ? "end" : "start");
      say.textContent = `pick ${whole(pick)}: ${name(values[pick - 1])}`;
      for (const mark of [cross, say]) mark.setAttribute("visibility", "visible");
    });
    svg.addEventListener("pointerleave", () => {
      for (const mark of [cross, say]) mark.setAttribute("visibility", "hidden");
    });
  });
}

// A histogram of one or two sets in common bins, as shares of each set.
function histogramChart(id, { edges, whole: single, sets }, { xName = short } = {}) {
  const names = Object.keys(sets);
  const most = ceiling(0, Math.max(...names.flatMap((name) => sets[name].shares), 1e-9), 3);
  const low = edges[0], high = edges[edges.length - 1];
  chart(id, (svg, width, height) => {
    const inside = width - LEFT - RIGHT, tall = height - TOP - BOTTOM;
    const x = (value) => LEFT + (inside * (value - low)) / (high - low);
    const y = (share) => TOP + tall * (1 - share / most);
    const ticks = nice(low, high, Math.max(2, Math.floor(inside / 80))).filter((tick) => !single || tick % 1 === 0);
    axes(svg, width, height, x, y, ticks, nice(0, most, 3), xName, percent);
    const count = edges.length - 1;
    for (let bin = 0; bin < count; bin++) {
      const from = x(edges[bin]), each = x(edges[bin + 1]) - from;
      names.forEach((name, place) => {
        const share = sets[name].shares[bin];
        const thick = Math.max(0.5, (each * 0.86) / names.length);
        const bar = el("svg:rect", {
          class: name, x: from + each * 0.07 + place * thick, width: thick,
          y: y(share), height: TOP + tall - y(share),
        });
        const range = single ? xName((edges[bin] + edges[bin + 1]) / 2) : `${xName(edges[bin])} to ${xName(edges[bin + 1])}`;
        bar.append(el("svg:title", {}, `${range}: ${percent(share)} of ${name}`));
        svg.append(bar);
      });
    }
  });
}

function key(names) {
  const line = el("p", { class: "legend" });
  for (const [kind, text] of names) line.append(el("span", {}, el("span", { class: "key " + kind }), text));
  return line;
}
