// The map: rows and picks on a canvas, marks of hover and selection on a second one above it.
const HUES = ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#3aa6a0", "#b07aa1", "#a9745a", "#d0a920", "#e377a8", "#6b8e23", "#7768c9", "#2f9bd8"];
const STEPS = 24;

// A sequence of colours from the first to the last pick, or from low to high values.
function ramp(share) {
  const stops = dark()
    ? [[255, 224, 102], [79, 209, 165], [58, 134, 196], [92, 88, 160]]
    : [[176, 58, 20], [222, 137, 35], [60, 150, 140], [45, 82, 150]];
  const place = Math.min(0.9999, Math.max(0, share)) * (stops.length - 1);
  const [a, b] = [stops[Math.floor(place)], stops[Math.floor(place) + 1]];
  const part = place % 1;
  return `rgb(${a.map((one, i) => Math.round(one + (b[i] - one) * part)).join(",")})`;
}

class PoolMap {
  constructor(data, select) {
    this.data = data;
    this.p = data.x.length;
    this.k = data.picks.length;
    this.first = this.k;
    this.select = select;
    this.canvas = $("points");
    this.marks = $("marks");
    this.tip = $("tip");
    this.all = new Grid(data.x, data.y, null);
    this.picked = new Grid(data.x, data.y, data.picks);
    this.hover = this.chosen = -1;
    this.draw = framed(() => this.paint());
    this.drawMarks = framed(() => this.paintMarks());
    this.paintBy(0);
    new ResizeObserver(() => this.resize()).observe(this.canvas.parentElement);
    onTheme(() => {
      this.paintBy(this.mode);
      this.draw();
    });
    this.resize();
  }

  // The ways to colour the rows: by group, by order of choice, by nearness to a pick, by each score.
  modes() {
    const scores = this.data.scores.map(({ name }) => name);
    return [page.groups.length > 1 ? "group" : "nothing", "order of choice", "cosine to the nearest pick", ...scores];
  }

  // Sorts the rows by colour once, so that a frame sets each colour once.
  paintBy(mode) {
    this.mode = mode;
    const { data, p } = this;
    const of = new Uint16Array(p);
    let count = STEPS + 1;
    this.range = null;
    if (mode === 0) {
      of.set(data.group);
      count = page.groups.length;
      this.palette = Array.from({ length: count }, (_, i) => (count > 1 ? HUES[i % HUES.length] : colour("dot")));
    } else if (mode === 1) {
      this.palette = [...Array.from({ length: STEPS }, (_, i) => ramp(i / (STEPS - 1))), colour("dot")];
      of.fill(STEPS);
      data.picks.forEach((place, rank) => (of[place] = Math.floor((rank / Math.max(1, this.k)) * STEPS)));
    } else {
      const values = mode === 2 ? data.cosine : data.scores[mode - 3].values;
      let low = Infinity, high = -Infinity;
      for (let i = 0; i < p; i++) {
        if (!Number.isFinite(values[i])) continue;
        if (values[i] < low) low = values[i];
        if (values[i] > high) high = values[i];
      }
      this.range = [low, high];
      this.palette = [...Array.from({ length: STEPS }, (_, i) => ramp(1 - i / (STEPS - 1))), colour("dot")];
      for (let i = 0; i < p; i++) {
        const share = (values[i] - low) / (high - low || 1);
        of[i] = Number.isFinite(share) ? Math.min(STEPS - 1, Math.floor(share * STEPS)) : STEPS;
      }
    }
    this.of = of;
    this.starts = new Uint32Array(count + 1);
    for (let i = 0; i < p; i++) this.starts[of[i] + 1]++;
    for (let i = 1; i <= count; i++) this.starts[i] += this.starts[i - 1];
    const next = this.starts.slice();
    this.order = new Uint32Array(p);
    for (let i = 0; i < p; i++) this.order[next[of[i]]++] = i;
  }

  resize() {
    const box = this.canvas.parentElement;
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    [this.width, this.height] = [box.clientWidth, box.clientHeight];
    for (const canvas of [this.canvas, this.marks]) {
      canvas.width = Math.round(this.width * this.ratio);
      canvas.height = Math.round(this.height * this.ratio);
    }
    // All rows fit, each axis by itself: the spread along it, not its units, is what a map shows.
    if (!this.zoom) this.reset();
    // At once, as a canvas of a new size is empty.
    this.paint();
    this.paintMarks();
  }

  reset() {
    const { x, y } = this.data;
    let [left, right, top, bottom] = [65535, 0, 65535, 0];
    for (let i = 0; i < this.p; i++) {
      if (x[i] < left) left = x[i];
      if (x[i] > right) right = x[i];
      if (y[i] < top) top = y[i];
      if (y[i] > bottom) bottom = y[i];
    }
    this.whole = [Math.max(1, right - left), Math.max(1, bottom - top)];
    [this.cx, this.cy, this.zoom] = [(left + right) / 2, (top + bottom) / 2, 1];
    this.draw();
    this.drawMarks();
  }

  get scaleX() {
    return (this.zoom * (this.width - 36)) / this.whole[0];
  }

  get scaleY() {
    return (this.zoom * (this.height - 36)) / this.whole[1];
  }

  px(i) {
    return (this.data.x[i] - this.cx) * this.scaleX + this.width / 2;
  }

  py(i) {
    return (this.data.y[i] - this.cy) * this.scaleY + this.height / 2;
  }

  dotSize() {
    return Math.min(7, Math.max(1.7, 4.6 - Math.log10(Math.max(10, this.p)) * 0.6) * this.zoom ** 0.3);
  }

  paint() {
    const { data, width, height, ratio } = this;
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const size = this.dotSize(), half = size / 2;
    const [sx, sy] = [this.scaleX, this.scaleY];
    const [ox, oy] = [width / 2 - this.cx * sx - half, height / 2 - this.cy * sy - half];
    context.globalAlpha = this.p > 5000 ? (dark() ? 0.5 : 0.42) : 0.7;
    for (let hue = 0; hue < this.palette.length; hue++) {
      context.fillStyle = this.palette[hue];
      for (let place = this.starts[hue]; place < this.starts[hue + 1]; place++) {
        const i = this.order[place];
        const x = data.x[i] * sx + ox, y = data.y[i] * sy + oy;
        if (x > -size && y > -size && x < width && y < height) context.fillRect(x, y, size, size);
      }
    }
    context.globalAlpha = 1;
    context.lineWidth = this.k > 2000 ? 0.6 : 1.1;
    context.strokeStyle = colour("ring");
    const radius = this.pickRadius();
    for (let rank = this.first - 1; rank >= 0; rank--) {
      const i = data.picks[rank];
      const x = this.px(i), y = this.py(i);
      if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
      context.fillStyle = this.palette[this.of[i]];
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
      context.stroke();
    }
  }

  pickRadius() {
    return Math.min(8, Math.max(2.1, 5.2 - Math.log10(Math.max(10, this.k)) * 0.75) * this.zoom ** 0.2);
  }

  paintMarks() {
    const { data, width, height, ratio, chosen, hover } = this;
    const context = this.marks.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const ink = colour("ring"), accent = colour("accent");
    if (chosen >= 0) {
      const rank = data.rank[chosen];
      context.strokeStyle = accent;
      context.lineWidth = rank < 0 ? 2 : 1;
      context.beginPath();
      // A pick: lines to the rows it is nearest to. Another row: a line to its nearest pick.
      const ends = rank < 0 ? [data.picks[data.nearest[chosen]]] : this.lines ? data.served(rank, 1500) : [];
      context.globalAlpha = rank < 0 ? 1 : Math.min(0.6, Math.max(0.12, 40 / ends.length));
      for (const end of ends) {
        context.moveTo(this.px(chosen), this.py(chosen));
        context.lineTo(this.px(end), this.py(end));
      }
      context.stroke();
      context.globalAlpha = 1;
      this.ring(context, chosen, 9, accent, 3);
      if (rank < 0) this.ring(context, ends[0], 8, ink, 2);
    }
    if (hover >= 0 && hover !== chosen) this.ring(context, hover, 8, ink, 2);
  }

  ring(context, i, radius, ink, thick) {
    context.strokeStyle = ink;
    context.lineWidth = thick;
    context.beginPath();
    context.arc(this.px(i), this.py(i), radius, 0, 7);
    context.stroke();
  }

  // The row under a place of the canvas, picks first; -1 for none.
  under(x, y) {
    // Cells are square in the units of the data, pixels are not: search the wider circle, then measure in pixels.
    const [ux, uy] = [(x - this.width / 2) / this.scaleX + this.cx, (y - this.height / 2) / this.scaleY + this.cy];
    for (const [grid, reach] of [[this.picked, this.pickRadius() + 4], [this.all, 9]]) {
      const i = grid.nearest(ux, uy, reach / Math.min(this.scaleX, this.scaleY));
      if (i < 0) continue;
      if (grid === this.picked && this.data.rank[i] >= this.first) continue;
      if (Math.hypot(this.px(i) - x, this.py(i) - y) <= reach + 3) return i;
    }
    return -1;
  }

  zoomBy(factor, x = this.width / 2, y = this.height / 2) {
    const zoom = Math.min(400, Math.max(1, this.zoom * factor));
    const [dx, dy] = [x - this.width / 2, y - this.height / 2];
    this.cx += dx / this.scaleX;
    this.cy += dy / this.scaleY;
    this.zoom = zoom;
    this.cx -= dx / this.scaleX;
    this.cy -= dy / this.scaleY;
    if (zoom === 1) this.reset();
    this.draw();
    this.drawMarks();
  }

  moveBy(dx, dy) {
    this.cx = Math.min(65535, Math.max(0, this.cx - dx / this.scaleX));
    this.cy = Math.min(65535, Math.max(0, this.cy - dy / this.scaleY));
    this.draw();
    this.drawMarks();
  }

  // Marks a row, and moves the map if it is out of sight.
  choose(i, lines) {
    this.chosen = i;
    this.lines = lines;
    if (i >= 0) {
      const [x, y] = [this.px(i), this.py(i)];
      if (x < 0 || y < 0 || x > this.width || y > this.height) this.moveBy(this.width / 2 - x, this.height / 2 - y);
    }
    this.drawMarks();
  }
}
