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
const frame = ([x0, y0, x1, y1]) => ({
  x: x0,
  y: y0,
  width: Math.max(0, x1 - x0),
  height: Math.max(0, y1 - y0),
});

let drawings = 0;
// Draws a canvas once. `show` marks what a step looks at, `point` one object; `onpoint` is called
// with an object's number, or null, when the reader points at one or leaves it.
function drawing(canvas, onpoint) {
  const regions = canvas.regions || [];
  const unit = canvas.width / 480; // of everything that is not a part of the canvas
  const name = `d${++drawings}`;
  const plan = canvas.kind === "plan";
  const defs = shape("defs", {}, tip(`${name}tip`));
  const under = shape("g", {}),
    over = shape("g", { class: "over" });
  const parts = regions.map((region, i) =>
    listening(plan ? thing(defs, region) : picturePart(canvas, region), region, i, onpoint),
  );
  const order = regions.map((_, i) => i).filter((i) => parts[i]);
  order.sort((a, b) => regions[a].box[3] - regions[b].box[3]);
  const root = shape(
    "svg",
    {
      class: canvas.kind,
      viewBox: `0 0 ${canvas.width} ${canvas.height}`,
      role: "group",
      "aria-label": canvas.title || "canvas",
    },
    defs,
    ...(plan ? floor(canvas) : []),
    canvas.image
      ? shape("image", { href: canvas.image, width: canvas.width, height: canvas.height })
      : null,
    under,
    ...order.map((i) => parts[i]),
    over,
  );

  function show(steps, index) {
    const step = steps[index];
    const alive = step ? subjects(steps, index) : regions.map((_, i) => i);
    const linked = step ? (step.links || []).flatMap((l) => [l.i, l.j]) : [];
    const later = step ? waiting(steps, index) : [];
    const chosen = step ? picked(step, alive, plan || regions.some((r) => r.mask)) : [];
    parts.forEach((part, i) => {
      if (!part) return;
      part.classList.toggle("faded", !alive.includes(i) && !linked.includes(i));
      part.classList.toggle("alive", Boolean(step) && alive.includes(i));
      part.classList.toggle("chosen", chosen.includes(i));
      part.classList.toggle("later", later.includes(i) && !alive.includes(i));
      weigh(part, regions[i], step, i);
    });
    const masked = !plan && regions.some((r) => r.mask);
    const everything = regions.every((_, i) => alive.includes(i));
    const lit = [...new Set([...alive, ...linked])];
    under.replaceChildren(
      ...(step && masked && !everything ? veil(canvas, lit, `${name}veil`) : []),
      ...extras(canvas, step),
    );
    over.replaceChildren(...(step ? marks(canvas, steps, index, { alive, chosen, later }) : []));
  }
  function marks(canvas, steps, index, { alive, chosen, later }) {
    const step = steps[index];
    const ring = (i, kind, gap) => {
      const [x, y, r] = centre(regions[i]);
      return shape("circle", { class: kind, cx: x, cy: y, r: r + gap * unit });
    };
    const bare = (list) => [...new Set(list)].filter((i) => regions[i].box && !regions[i].mask);
    return [
      ...bare(later).map((i) => ring(i, "waiting", 9)),
      ...(step.links || []).map((link) => arrow(regions, link, unit, `${name}tip`)),
      ...bare(chosen).map((i) => ring(i, "ring", 6)),
      ...(step.kind === "object"
        ? items(step)
            .filter((i) => regions[i].box)
            .map((i) => tag(canvas, regions[i], unit))
        : []),
      ...(step.kind === "number" && (step.inputs || []).length === 1
        ? alive.filter((i) => regions[i].box).map((i, k) => badge(regions[i], k + 1, unit))
        : []),
    ].filter(Boolean);
  }
  function point(item) {
    parts.forEach((part, i) => part && part.classList.toggle("pointed", i === item));
  }
  return { root, show, point };
}
// Objects that a step singles out.
function picked(step, alive, marked) {
  const anchors = (step.links || []).slice(0, 1).map((l) => l.i);
  const chosen = step.kind === "object" ? items(step) : marked ? anchors : [];
  return ["word", "truth"].includes(step.kind) ? [...chosen, ...alive] : chosen;
}
function listening(part, region, i, onpoint) {
  if (!part || !onpoint) return part;
  part.setAttribute("tabindex", "0");
  part.setAttribute("role", "img");
  part.setAttribute("aria-label", region.label || `region ${i + 1}`);
  for (const name of ["pointerenter", "focus", "click"])
    part.addEventListener(name, () => onpoint(i));
  for (const name of ["pointerleave", "blur"]) part.addEventListener(name, () => onpoint(null));
  return part;
}
function tip(id) {
  return shape(
    "marker",
    {
      id,
      viewBox: "0 0 8 8",
      refX: 7,
      refY: 4,
      markerWidth: 6,
      markerHeight: 6,
      orient: "auto",
    },
    shape("path", { class: "tip", d: "M0,0 L8,4 L0,8 Z" }),
  );
}
function picturePart(canvas, region) {
  if (region.mask) {
    const d = outline(region.mask, canvas.width, canvas.height);
    return shape(
      "g",
      { class: "thing" },
      shape("path", { class: "halo", d }),
      shape("path", { class: "edge", d }),
    );
  }
  if (!region.box) return null;
  return shape(
    "g",
    { class: "thing" },
    shape("rect", { class: "fill", ...frame(region.box) }),
    shape("rect", { class: "box", ...frame(region.box) }),
  );
}
// Boxes are drawn as strongly as the step weighs them.
function weigh(part, region, step, i) {
  const [fill, box] = [".fill", ".box"].map((kind) => part.querySelector(kind));
  if (!box || region.mask) return;
  const own = step && (step.regions || []).find((r) => r.item === i);
  const weight = own ? (own.weight ?? 1) : 0;
  fill.setAttribute("fill-opacity", 0.32 * weight);
  box.setAttribute("stroke-opacity", own ? 0.3 + 0.7 * weight : 0.5);
}
// Covers a picture but for some of its regions.
function veil(canvas, lit, id) {
  const edge = 0.01 * canvas.width; // beyond the picture, so that none of it shines through
  const whole = {
    x: -edge,
    y: -edge,
    width: canvas.width + 2 * edge,
    height: canvas.height + 2 * edge,
  };
  const holes = lit.map((i) => canvas.regions[i]).filter((r) => r.mask);
  return [
    shape(
      "mask",
      { id, maskUnits: "userSpaceOnUse", ...whole },
      shape("rect", { fill: "#ffffff", ...whole }),
      ...holes.map((r) =>
        shape("path", { fill: "#000000", d: outline(r.mask, canvas.width, canvas.height) }),
      ),
    ),
    shape("rect", { class: "shade", mask: `url(#${id})`, ...whole }),
  ];
}
// Regions of a step that are none of the canvas's own: boxes and masks as heavy as their weight.
function extras(canvas, step) {
  const found = [];
  for (const region of (step && step.regions) || []) {
    const strength = (region.weight ?? 1) * (canvas.kind === "plan" ? 0.13 : 0.5);
    if (region.box)
      found.push(
        shape(
          "rect",
          { class: "side", "fill-opacity": strength, ...frame(region.box) },
          shape("title", {}, region.label || ""),
        ),
      );
    if (region.mask)
      found.push(
        shape("path", {
          class: "side",
          "fill-opacity": strength,
          "fill-rule": "evenodd",
          d: outline(region.mask, canvas.width, canvas.height),
        }),
      );
  }
  return found;
}
function arrow(regions, link, unit, tipId) {
  if (!regions[link.i].box || !regions[link.j].box) return null;
  const [x0, y0, r0] = centre(regions[link.i]),
    [x1, y1, r1] = centre(regions[link.j]);
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  const [u, v] = [(x1 - x0) / length, (y1 - y0) / length];
  if (length < r0 + r1 + 24 * unit) return null;
  const weight = link.weight ?? 1;
  return shape("line", {
    class: "link",
    x1: x0 + u * (r0 + 5 * unit),
    y1: y0 + v * (r0 + 5 * unit),
    x2: x1 - u * (r1 + 6 * unit),
    y2: y1 - v * (r1 + 6 * unit),
    opacity: 0.25 + 0.55 * weight,
    "stroke-width": 1 + weight,
    "marker-end": `url(#${tipId})`,
  });
}
function badge(region, number, unit) {
  const [x0, y0, x1] = region.box;
  const [x, y] = [x1 - 0.12 * (x1 - x0), Math.max(12 * unit, y0 + 2 * unit)];
  return shape(
    "g",
    {},
    shape("circle", { class: "badge", cx: x, cy: y, r: 10 * unit }),
    shape(
      "text",
      { class: "count", x, y: y + 4.3 * unit, "font-size": 12.5 * unit },
      String(number),
    ),
  );
}
function tag(canvas, region, unit) {
  const [x0, , x1, y1] = region.box;
  const x = Math.max(90 * unit, Math.min(canvas.width - 90 * unit, (x0 + x1) / 2));
  const y = Math.min(y1 + 17 * unit, canvas.height - 8 * unit);
  return shape("text", { class: "tag", x, y, "font-size": 13 * unit }, region.label || "");
}
