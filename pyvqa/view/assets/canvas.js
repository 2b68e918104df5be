// What a step shows, drawn on its canvas (the format of pyvqa/evidence.py).

const items = (step) => (step.regions || []).filter((r) => r.item !== undefined).map((r) => r.item);

// The objects that a step is about: its own, or else those its inputs were about.
function subjects(steps, index) {
  const own = items(steps[index]);
  const inputs = steps[index].inputs || [];
  if (own.length || ["set", "object"].includes(steps[index].kind)) return own;
  return [...new Set(inputs.flatMap((i) => subjects(steps, i)))];
}
// Earlier results that a later step will still use.
function waiting(steps, index) {
  const used = new Set(steps.slice(0, index + 1).flatMap((s) => s.inputs || []));
  return [...Array(index).keys()].filter((i) => !used.has(i)).flatMap((i) => subjects(steps, i));
}
// Column of each step: a step without inputs opens one, a step with several joins them.
function lanes(steps) {
  const open = [];
  return steps.map((step, index) => {
    const from = (step.inputs || []).map((i) => open.indexOf(i)).filter((l) => l >= 0);
    let lane = from.length ? Math.min(...from) : open.indexOf(null);
    if (lane < 0) lane = open.length;
    const before = open.slice();
    from.forEach((l) => {
      open[l] = null;
    });
    open[lane] = index;
    const through = before
      .map((s, l) => (s !== null && !from.includes(l) ? l : -1))
      .filter((l) => l >= 0);
    return { lane, from, through, last: index === steps.length - 1 };
  });
}

function centre(region) {
  const [x0, y0, x1, y1] = region.box;
  return [(x0 + x1) / 2, (y0 + y1) / 2, Math.max(x1 - x0, y1 - y0) / 2];
}
function drawCanvas(canvas, steps, index) {
  const step = steps[index];
  const regions = canvas.regions || [];
  const defs = shape(
    "defs",
    {},
    shape(
      "marker",
      {
        id: "tip",
        viewBox: "0 0 8 8",
        refX: 7,
        refY: 4,
        markerWidth: 6,
        markerHeight: 6,
        orient: "auto",
      },
      shape("path", { class: "tip", d: "M0,0 L8,4 L0,8 Z" }),
    ),
  );
  const root = shape(
    "svg",
    {
      class: canvas.kind,
      viewBox: `0 0 ${canvas.width} ${canvas.height}`,
      role: "img",
      "aria-label": canvas.title || "canvas",
    },
    defs,
  );
  const plan = canvas.kind === "plan";
  if (plan) root.append(...floor(canvas));
  else if (canvas.image)
    root.append(shape("image", { href: canvas.image, width: canvas.width, height: canvas.height }));
  const alive = step ? subjects(steps, index) : regions.map((_, i) => i);
  if (step && regions.some((r) => r.mask)) root.append(spotlight(canvas, alive));
  drawExtras(root, step);
  const linked = step ? (step.links || []).flatMap((l) => [l.i, l.j]) : [];
  const order = regions.map((_, i) => i).sort((a, b) => regions[a].box[3] - regions[b].box[3]);
  for (const i of order) {
    const node = plan ? thing(defs, regions[i]) : picturePart(regions[i], step, i);
    if (!alive.includes(i) && !linked.includes(i)) node.classList.add("faded");
    root.append(node);
  }
  if (step) drawMarks(root, canvas, steps, index, alive);
  return root;
}
// Darkens a picture but for the masks of some of its regions.
function spotlight(canvas, alive) {
  const { width, height } = canvas;
  const surface = element("canvas", { width, height });
  const context = surface.getContext("2d");
  const image = context.createImageData(width, height);
  for (let p = 3; p < image.data.length; p += 4) image.data[p] = 150;
  for (const i of alive)
    eachPixel(canvas.regions[i].mask, (p) => {
      image.data[4 * p + 3] = 0;
    });
  context.putImageData(image, 0, 0);
  return shape("image", { class: "shade", href: surface.toDataURL(), width, height });
}
function picturePart(region, step, i) {
  const [x0, y0, x1, y1] = region.box;
  if (region.mask)
    return shape(
      "g",
      { class: "thing" },
      shape("title", {}, region.label || ""),
      shape("rect", { class: "hit", x: x0, y: y0, width: x1 - x0, height: y1 - y0 }),
    );
  const own = step && (step.regions || []).find((r) => r.item === i);
  const weight = own ? (own.weight ?? 1) : 0;
  return shape(
    "g",
    { class: "thing" },
    shape("title", {}, region.label || ""),
    shape("rect", {
      class: "box",
      x: x0,
      y: y0,
      width: x1 - x0,
      height: y1 - y0,
      "stroke-opacity": own ? 0.3 + 0.7 * weight : 0.5,
    }),
    own
      ? shape("rect", {
          class: "badge",
          x: x0,
          y: y0,
          width: x1 - x0,
          height: y1 - y0,
          opacity: 0.32 * weight,
        })
      : null,
  );
}
function drawExtras(root, step) {
  for (const region of (step && step.regions) || []) {
    if (region.box) {
      const [x0, y0, x1, y1] = region.box;
      root.append(
        shape(
          "rect",
          { class: "side", x: x0, y: y0, width: x1 - x0, height: y1 - y0 },
          shape("title", {}, region.label || ""),
        ),
      );
    }
    if (region.mask)
      root.append(
        shape("image", {
          href: maskPicture(region.mask),
          width: region.mask.size[1],
          height: region.mask.size[0],
          opacity: region.weight ?? 1,
        }),
      );
  }
}
function drawMarks(root, canvas, steps, index, alive) {
  const step = steps[index];
  const regions = canvas.regions || [];
  for (const i of new Set(waiting(steps, index))) {
    const [x, y, r] = centre(regions[i]);
    root.append(shape("circle", { class: "waiting", cx: x, cy: y, r: r + 9 }));
  }
  for (const link of step.links || []) {
    const [x0, y0, r0] = centre(regions[link.i]),
      [x1, y1, r1] = centre(regions[link.j]);
    const length = Math.hypot(x1 - x0, y1 - y0) || 1;
    const [u, v] = [(x1 - x0) / length, (y1 - y0) / length];
    if (length < r0 + r1 + 24) continue;
    const weight = link.weight ?? 1;
    root.append(
      shape("line", {
        class: "link",
        x1: x0 + u * (r0 + 5),
        y1: y0 + v * (r0 + 5),
        x2: x1 - u * (r1 + 6),
        y2: y1 - v * (r1 + 6),
        opacity: 0.25 + 0.55 * weight,
        "stroke-width": 1 + weight,
        "marker-end": "url(#tip)",
      }),
    );
  }
  const anchors = (step.links || []).slice(0, 1).map((l) => l.i);
  const marked = canvas.kind === "plan" || regions.some((r) => r.mask);
  const chosen = step.kind === "object" ? items(step) : marked ? anchors : [];
  if (["word", "truth"].includes(step.kind)) chosen.push(...alive);
  for (const i of chosen) {
    const [x, y, r] = centre(regions[i]);
    root.append(shape("circle", { class: "ring", cx: x, cy: y, r: r + 6 }));
    if (step.kind === "object") root.append(tag(canvas, x, y + r + 24, regions[i].label));
  }
  if (step.kind === "number" && (step.inputs || []).length === 1) {
    alive.forEach((i, k) => {
      const [x, y, r] = centre(regions[i]);
      root.append(
        shape("circle", { class: "badge", cx: x + r * 0.8, cy: y - r * 0.9, r: 11 }),
        shape("text", { class: "count", x: x + r * 0.8, y: y - r * 0.9 + 4.5 }, String(k + 1)),
      );
    });
  }
}
function tag(canvas, x, y, text) {
  const clear = Math.max(90, Math.min(canvas.width - 90, x));
  return shape("text", { class: "tag", x: clear, y: Math.min(y, canvas.height - 22) }, text || "");
}
