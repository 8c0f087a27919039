// Spatial index: points in cells of a uniform grid, so that a search looks at a few cells.
class Grid {
  // x, y: Uint16Array; only: indices of the points to hold, or null for all.
  constructor(x, y, only) {
    const count = only ? only.length : x.length;
    this.side = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(count / 3))));
    this.x = x;
    this.y = y;
    const cells = new Uint32Array(this.side * this.side + 1);
    const cell = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      const point = only ? only[i] : i;
      cell[i] = this.at(y[point]) * this.side + this.at(x[point]);
      cells[cell[i] + 1]++;
    }
    for (let i = 1; i < cells.length; i++) cells[i] += cells[i - 1];
    this.start = cells.slice();
    this.items = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.items[cells[cell[i]]++] = only ? only[i] : i;
  }

  at(value) {
    return Math.min(this.side - 1, Math.floor((value * this.side) / 65536));
  }

  // The nearest point within a radius, or -1; all in units of x and y.
  nearest(x, y, radius) {
    const clip = (value) => Math.min(65535, Math.max(0, value));
    const [left, right] = [this.at(clip(x - radius)), this.at(clip(x + radius))];
    const [top, bottom] = [this.at(clip(y - radius)), this.at(clip(y + radius))];
    let found = -1, best = radius * radius;
    for (let row = top; row <= bottom; row++) {
      const from = this.start[row * this.side + left], to = this.start[row * this.side + right + 1];
      for (let place = from; place < to; place++) {
        const item = this.items[place];
        const distance = (this.x[item] - x) ** 2 + (this.y[item] - y) ** 2;
        if (distance <= best) {
          best = distance;
          found = item;
        }
      }
    }
    return found;
  }
}
