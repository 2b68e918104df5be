// The outline of a mask as an SVG path.

const outlines = new WeakMap();

// `width` and `height` are those of the canvas, whatever the mask's own.
function outline(mask, width, height) {
  if (!outlines.has(mask)) outlines.set(mask, traced(mask, width, height));
  return outlines.get(mask);
}
function traced(mask, width, height) {
  const [rows, columns] = mask.size;
  const step = Math.max(1, Math.ceil(Math.max(rows, columns) / 720)); // of large masks every step-th
  const grid = coarse(mask, step);
  const loops = boundaries(grid).sort((a, b) => b.length - a.length);
  const scale = [(step * width) / columns, (step * height) / rows];
  return loops
    .filter((loop, k) => k === 0 || loop.length > 8)
    .map((loop) => rounded(loop, grid.width + 1, scale))
    .join("");
}
// The mask's pixels with a border of one that is empty.
function coarse(mask, step) {
  const [rows, columns] = mask.size;
  const width = Math.ceil(columns / step) + 2,
    height = Math.ceil(rows / step) + 2;
  const inside = new Uint8Array(width * height);
  eachPixel(mask, (p) => {
    const x = p % columns,
      y = (p - x) / columns;
    if (x % step === 0 && y % step === 0) inside[(y / step + 1) * width + x / step + 1] = 1;
  });
  return { inside, width, height };
}
// Closed ways along the sides of pixels, the mask always on the right; corners as numbers.
function boundaries({ inside, width, height }) {
  const next = new Map();
  const side = (from, to) => next.set(from, [...(next.get(from) || []), to]);
  const row = width + 1;
  for (let y = 1; y < height - 1; y++)
    for (let x = 1; x < width - 1; x++) {
      const at = y * width + x,
        corner = y * row + x;
      if (!inside[at]) continue;
      if (!inside[at - width]) side(corner, corner + 1);
      if (!inside[at + 1]) side(corner + 1, corner + row + 1);
      if (!inside[at + width]) side(corner + row + 1, corner + row);
      if (!inside[at - 1]) side(corner + row, corner);
    }
  const loops = [];
  while (next.size) {
    const [start] = next.keys();
    const loop = [];
    let at = start;
    do {
      loop.push(at);
      const ways = next.get(at);
      const to = ways.pop();
      if (!ways.length) next.delete(at);
      at = to;
    } while (at !== start);
    loops.push(loop);
  }
  return loops;
}
// Rounds the stairs of pixels off: each corner becomes the mean of its neighbourhood.
function rounded(loop, row, [sx, sy]) {
  const reach = Math.min(2, Math.floor(loop.length / 8));
  const mean = (k, part) => {
    let sum = 0;
    for (let d = -reach; d <= reach; d++) sum += part(loop[(k + d + loop.length) % loop.length]);
    return sum / (2 * reach + 1) - 1;
  };
  const points = [];
  for (let k = 0; k < loop.length; k += reach ? 2 : 1) {
    const x = mean(k, (c) => c % row) * sx,
      y = mean(k, (c) => Math.floor(c / row)) * sy;
    points.push(`${x.toFixed(1)} ${y.toFixed(1)}`);
  }
  return `M${points.join("L")}Z`;
}
