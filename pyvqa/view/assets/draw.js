"use strict";
// Elements, and what the things of a canvas look like. All text goes in as text nodes.

const SVG = "http://www.w3.org/2000/svg";
const COLORS = {
  gray: "#6b6b6b",
  red: "#b8302c",
  blue: "#2f55d4",
  green: "#23792a",
  brown: "#8a5426",
  purple: "#8430c0",
  cyan: "#27c4c9",
  yellow: "#f2d935",
};

function element(name, attributes, ...children) {
  const node = document.createElement(name);
  return fill(node, attributes, children);
}
function shape(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}
function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(key, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}
function mix(color, other, share) {
  const parts = [1, 3, 5].map((at) => {
    const [a, b] = [color, other].map((c) => parseInt(c.slice(at, at + 2), 16));
    return Math.round(a + (b - a) * share)
      .toString(16)
      .padStart(2, "0");
  });
  return "#" + parts.join("");
}

let gradients = 0;
function gradient(defs, kind, geometry, stops) {
  const id = "g" + ++gradients;
  defs.append(
    shape(
      kind,
      { id, ...geometry },
      ...stops.map(([offset, color]) => shape("stop", { offset, "stop-color": color })),
    ),
  );
  return `url(#${id})`;
}
function thing(defs, region) {
  const [x0, y0, x1, y1] = region.box;
  const x = (x0 + x1) / 2,
    y = (y0 + y1) / 2,
    r = (x1 - x0) / 2;
  const look = region.attributes || {};
  const color = COLORS[look.color] || "#999999";
  const metal = look.material === "metal";
  const light = mix(color, "#ffffff", metal ? 0.75 : 0.28),
    dark = mix(color, "#000000", metal ? 0.55 : 0.3);
  const group = shape("g", { class: "thing" }, shape("title", {}, region.label || ""));
  const parts = { cube, cylinder, sphere }[look.shape] || sphere;
  group.append(
    shape("ellipse", {
      class: "shadow",
      cx: x + r * 0.16,
      cy: y + r * 0.72,
      rx: r * 1.02,
      ry: r * 0.42,
    }),
  );
  parts();
  return group;

  function shine(cx, cy, rx, ry) {
    if (metal) group.append(shape("ellipse", { cx, cy, rx, ry, fill: "#ffffff", opacity: 0.75 }));
  }
  function sphere() {
    const paint = gradient(
      defs,
      "radialGradient",
      { cx: 0.36, cy: 0.3, r: 0.78 },
      metal
        ? [
            [0, light],
            [0.35, color],
            [0.72, dark],
            [1, mix(color, "#ffffff", 0.2)],
          ]
        : [
            [0, light],
            [0.55, color],
            [1, dark],
          ],
    );
    group.append(shape("circle", { cx: x, cy: y, r, fill: paint }));
    shine(x - r * 0.34, y - r * 0.42, r * 0.2, r * 0.13);
  }
  function cube() {
    const w = r * 0.93,
      h = r * 0.54,
      top = y - r * 1.05;
    const face = (points, paint) =>
      group.append(
        shape("polygon", {
          points: points.map((p) => p.join(",")).join(" "),
          fill: paint,
          stroke: paint,
          "stroke-width": 0.6,
          "stroke-linejoin": "round",
        }),
      );
    const [a, b, c, d] = [
      [x, top],
      [x + w, top + h],
      [x, top + 2 * h],
      [x - w, top + h],
    ];
    const down = (p) => [p[0], p[1] + r * 1.02];
    face(
      [d, c, down(c), down(d)],
      gradient(defs, "linearGradient", { x1: 0, y1: 0, x2: 1, y2: 1 }, [
        [0, metal ? light : color],
        [metal ? 0.45 : 0.9, color],
        [1, dark],
      ]),
    );
    face(
      [c, b, down(b), down(c)],
      gradient(defs, "linearGradient", { x1: 0, y1: 0, x2: 1, y2: 1 }, [
        [0, dark],
        [1, metal ? mix(color, "#000000", 0.2) : dark],
      ]),
    );
    face(
      [a, b, c, d],
      gradient(
        defs,
        "linearGradient",
        { x1: 0, y1: 0, x2: 1, y2: 0 },
        metal
          ? [
              [0, color],
              [0.5, light],
              [1, color],
            ]
          : [
              [0, light],
              [1, mix(color, "#ffffff", 0.18)],
            ],
      ),
    );
  }
  function cylinder() {
    const w = r * 0.9,
      h = r * 0.36,
      top = y - r * 0.68,
      bottom = y + r * 0.56;
    const body = gradient(
      defs,
      "linearGradient",
      { x1: 0, y1: 0, x2: 1, y2: 0 },
      metal
        ? [
            [0, dark],
            [0.22, light],
            [0.42, color],
            [0.8, dark],
            [1, color],
          ]
        : [
            [0, color],
            [0.3, mix(color, "#ffffff", 0.12)],
            [1, dark],
          ],
    );
    group.append(
      shape("path", {
        d: `M${x - w},${top} L${x - w},${bottom} A${w},${h} 0 0 0 ${x + w},${bottom} L${x + w},${top} Z`,
        fill: body,
      }),
      shape("ellipse", {
        cx: x,
        cy: top,
        rx: w,
        ry: h,
        fill: gradient(
          defs,
          "linearGradient",
          { x1: 0, y1: 0, x2: 1, y2: 0 },
          metal
            ? [
                [0, color],
                [0.5, light],
                [1, color],
              ]
            : [
                [0, light],
                [1, mix(color, "#ffffff", 0.15)],
              ],
        ),
      }),
    );
  }
}
function floor(canvas) {
  const { width: w, height: h } = canvas;
  const parts = [];
  for (let k = 1; k < 10; k++) {
    parts.push(shape("line", { class: "grid", x1: (w * k) / 10, x2: (w * k) / 10, y1: 0, y2: h }));
    parts.push(shape("line", { class: "grid", x1: 0, x2: w, y1: (h * k) / 10, y2: (h * k) / 10 }));
  }
  const word = (x, y, text, turn) =>
    shape(
      "text",
      { class: "axis", x, y, transform: turn ? `rotate(${turn} ${x} ${y})` : null },
      text,
    );
  parts.push(
    word(w / 2, 17, "behind"),
    word(w / 2, h - 8, "front"),
    word(14, h / 2, "left", -90),
    word(w - 14, h / 2, "right", 90),
  );
  return parts;
}

// Calls `visit` with the row-major place of every pixel of a mask (COCO's compressed counts).
function eachPixel(mask, visit) {
  const [height, width] = mask.size;
  const runs = [];
  for (let at = 0; at < mask.counts.length;) {
    let value = 0,
      shift = 0,
      code;
    do {
      code = mask.counts.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
    } while (code & 32 && at < mask.counts.length);
    if (code & 16 && shift < 32) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  let place = 0;
  runs.forEach((run, k) => {
    for (let p = place; k % 2 && p < place + run && p < width * height; p++)
      visit((p % height) * width + Math.floor(p / height));
    place += run;
  });
}
