// Unpacks the data, then makes the parts and connects them.
async function read() {
  const names = ["x", "y", "row", "picks", "group", "nearest", "gains", "explained", "margins", "ties", "other"];
  const arrays = await Promise.all(names.map((name) => unpack(page[name])));
  const data = Object.fromEntries(names.map((name, i) => [name, arrays[i]]));
  const steps = await unpack(page.cosine);
  data.cosine = Float32Array.from(steps, (step) => (step / 65535) * 2 - 1);
  data.scores = await Promise.all(page.scores.map(async ({ name, values }) => ({ name, values: await unpack(values) })));
  data.text = null;
  if (page.text) {
    const [bytes, ends, cut] = await Promise.all([unpack(page.text.data), unpack(page.text.ends), unpack(page.text.cut)]);
    data.text = { data: bytes, ends, cut };
  }
  data.decoder = new TextDecoder();
  // Rank of each row among the picks, -1 for the others; rows by their nearest pick.
  const p = data.x.length, k = data.picks.length;
  data.rank = new Int32Array(p).fill(-1);
  data.picks.forEach((place, rank) => (data.rank[place] = rank));
  const starts = new Uint32Array(k + 1);
  for (let i = 0; i < p; i++) if (data.rank[i] < 0) starts[data.nearest[i] + 1]++;
  data.serves = starts.slice(1);
  for (let i = 1; i <= k; i++) starts[i] += starts[i - 1];
  const next = starts.slice(), near = new Uint32Array(starts[k]);
  for (let i = 0; i < p; i++) if (data.rank[i] < 0) near[next[data.nearest[i]]++] = i;
  data.served = (rank, most) => near.subarray(starts[rank], Math.min(starts[rank + 1], starts[rank] + most));
  data.chosen = -1;
  return data;
}

function legendOf(map) {
  const made = $("legend");
  made.replaceChildren();
  const keyed = (hue, name) => {
    const mark = el("span", { class: "key" });
    mark.style.background = hue;
    made.append(el("span", {}, mark, el("bdi", {}, name)));
  };
  if (map.mode === 0) page.groups.forEach((name, i) => keyed(map.palette[i], name || "(empty)"));
  else {
    const bar = el("span", { class: "ramp" });
    bar.style.background = `linear-gradient(to right, ${map.palette.slice(0, STEPS).join(",")})`;
    const ends = map.range ? map.range.map(short) : ["first pick", "last pick"];
    made.append(ends[0], bar, ends[1]);
  }
}

function connect(data) {
  const detail = $("detail");
  let table = null;
  const show = (i, scroll = false) => {
    data.chosen = i;
    map.choose(i, table !== null);
    detail.replaceChildren(...describe(data, i, show));
    detail.scrollTop = 0;
    for (const line of $("rows").children) line.classList.toggle("on", Number(line.dataset.rank) === data.rank[i]);
    if (scroll) $("map").scrollIntoView();
  };
  const map = new PoolMap(data, show);
  $("busy").hidden = true;
  show(data.picks[0]);
  table = new PickTable(data, show);
  tools(data, map, show);
  gestures(data, map, show);
}

function tools(data, map, show) {
  $("colour").append(...map.modes().map((name, i) => el("option", { value: i }, name)));
  $("colour").addEventListener("change", () => {
    map.paintBy(Number($("colour").value));
    map.draw();
    legendOf(map);
  });
  legendOf(map);
  onTheme(() => legendOf(map));
  const first = $("first");
  const set = (count) => {
    map.first = count;
    first.value = count;
    $("count").textContent = whole(count);
    map.draw();
  };
  first.addEventListener("input", () => set(Number(first.value)));
  let playing = 0;
  const play = (on) => {
    clearInterval(playing);
    playing = 0;
    $("play").setAttribute("aria-pressed", String(on));
    $("play").textContent = on ? "Pause" : "Play";
    if (!on) return;
    if (map.first >= map.k) set(0);
    // Ten seconds for all, slower at first.
    playing = setInterval(() => {
      set(Math.min(map.k, map.first + Math.max(1, Math.round(map.first / 40))));
      if (map.first >= map.k) play(false);
    }, 60);
  };
  $("play").addEventListener("click", () => play(!playing));
  $("in").addEventListener("click", () => map.zoomBy(1.6));
  $("out").addEventListener("click", () => map.zoomBy(1 / 1.6));
  $("all").addEventListener("click", () => map.reset());
  $("go").addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = Number($("go-row").value);
    const place = $("go-row").value === "" ? -1 : data.row.indexOf(wanted);
    if (place >= 0) show(place);
    else $("detail").replaceChildren(el("p", {}, `Row ${$("go-row").value} is not among the rows shown.`));
  });
  if ($("copy"))
    $("copy").addEventListener("click", async () => {
      const text = $("command").textContent;
      try {
        await navigator.clipboard.writeText(text);
        $("copy").textContent = "Copied";
      } catch {
        getSelection().selectAllChildren($("command"));
        $("copy").textContent = "Selected";
      }
    });
}

function gestures(data, map, show) {
  const canvas = map.marks;
  const held = new Map();
  let moved = 0, spread = 0;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const hover = (i, x, y) => {
    if (map.hover !== i) {
      map.hover = i;
      map.drawMarks();
      map.tip.hidden = i < 0;
      if (i >= 0) map.tip.replaceChildren(...tipOf(data, i));
    }
    if (i < 0) return;
    const [wide, tall] = [map.tip.offsetWidth, map.tip.offsetHeight];
    map.tip.style.left = `${Math.max(4, Math.min(map.width - wide - 4, x + 14 > map.width - wide ? x - wide - 14 : x + 14))}px`;
    map.tip.style.top = `${Math.max(4, Math.min(map.height - tall - 4, y + 14))}px`;
  };
  canvas.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, place(event));
    moved = 0;
    if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const before = held.get(event.pointerId);
    if (!before) return hover(map.under(x, y), x, y);
    held.set(event.pointerId, [x, y]);
    if (held.size === 2) {
      const [[ax, ay], [bx, by]] = [...held.values()];
      const now = Math.hypot(ax - bx, ay - by);
      if (spread) map.zoomBy(now / spread, (ax + bx) / 2, (ay + by) / 2);
      spread = now;
      moved = 99;
      return undefined;
    }
    moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
    if (moved > 4) {
      canvas.classList.add("drag");
      hover(-1);
      map.moveBy(x - before[0], y - before[1]);
    }
    return undefined;
  });
  const release = (event) => {
    const known = held.delete(event.pointerId);
    spread = 0;
    canvas.classList.remove("drag");
    if (!known || moved > 4 || event.type === "pointercancel") return;
    const found = map.under(...place(event));
    if (found >= 0) show(found);
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("dblclick", (event) => map.zoomBy(2, ...place(event)));
  canvas.addEventListener(
    "wheel",
    (event) => {
      // The page scrolls over the map, unless the map was clicked.
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      map.zoomBy(Math.exp(-event.deltaY / 300), ...place(event));
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const rank = data.chosen >= 0 ? data.rank[data.chosen] : -1;
    const step = (by) => show(data.picks[Math.min(map.k - 1, Math.max(0, rank + by))]);
    const actions = {
      ArrowLeft: () => map.moveBy(60, 0), ArrowRight: () => map.moveBy(-60, 0),
      ArrowUp: () => map.moveBy(0, 60), ArrowDown: () => map.moveBy(0, -60),
      "+": () => map.zoomBy(1.4), "=": () => map.zoomBy(1.4), "-": () => map.zoomBy(1 / 1.4),
      0: () => map.reset(), n: () => step(1), b: () => step(-1),
    };
    const action = event.ctrlKey || event.metaKey || event.altKey ? null : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function charts(data) {
  lineChart("gain-chart", data.gains, { log: true, name: short });
  histogramChart("reach-chart", page.reach);
  $("reach-chart").after(key([["picks", "nearest pick"], ["random", "nearest of a random choice"]]));
  histogramChart("lead-chart", page.lead, { xName: (power) => (power <= -12.5 ? "tie" : power === 0 ? "1" : `1e${short(power)}`) });
  for (const { name, histogram } of page.scores) {
    const box = el("div", { class: "chart", role: "img", "aria-label": `Histogram of ${name}: mean of the pool ${short(histogram.sets.pool.mean ?? NaN)}, of the picks ${short(histogram.sets.picks.mean ?? NaN)}` });
    $("score-charts").append(el("figure", {}, el("figcaption", { dir: "auto" }, name), box, key([["pool", "pool"], ["picks", "picks"]])));
    histogramChart(box, histogram);
  }
  if (!$("explained-chart")) return;
  // Where nearly all is explained, only a logarithmic axis shows the difference.
  const most = data.explained.reduce((a, b) => Math.max(a, b), 0);
  if (most > 0.9) {
    const left = data.explained.map((share) => Math.max(1 - share, 1e-7));
    $("explained-name").textContent = "Share left unexplained after each pick";
    lineChart("explained-chart", left, { log: true, name: (share) => percent(share) + " left", tick: percent });
  } else lineChart("explained-chart", data.explained, { name: percent, tick: percent });
}

showTheme();
const began = performance.now();
read().then((data) => {
  connect(data);
  charts(data);
  // Two frames later all is painted.
  requestAnimationFrame(() => requestAnimationFrame(() => (root.dataset.ready = Math.round(performance.now() - began))));
}).catch((error) => {
  $("failed").textContent = `The data of this page cannot be shown: ${error.message}. A browser of 2023 or later is needed.`;
  $("failed").hidden = false;
  $("busy").hidden = true;
  throw error;
});
