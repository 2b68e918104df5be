"use strict";
// Draws answers with their reasons (the format of pyvqa/evidence.py). All text goes in as text nodes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const COLORS = {
    gray: "#6b6b6b", red: "#b8302c", blue: "#2f55d4", green: "#23792a",
    brown: "#8a5426", purple: "#8430c0", cyan: "#27c4c9", yellow: "#f2d935",
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
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
    }
    node.append(...children.filter((c) => c !== null && c !== undefined));
    return node;
  }
  function mix(color, other, share) {
    const parts = [1, 3, 5].map((at) => {
      const [a, b] = [color, other].map((c) => parseInt(c.slice(at, at + 2), 16));
      return Math.round(a + (b - a) * share).toString(16).padStart(2, "0");
    });
    return "#" + parts.join("");
  }

  // ---- what a step shows -------------------------------------------------------------------------
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
      from.forEach((l) => { open[l] = null; });
      open[lane] = index;
      const through = before.map((s, l) => (s !== null && !from.includes(l) ? l : -1)).filter((l) => l >= 0);
      return { lane, from, through, last: index === steps.length - 1 };
    });
  }

  // ---- things of a plan --------------------------------------------------------------------------
  let gradients = 0;
  function gradient(defs, kind, geometry, stops) {
    const id = "g" + ++gradients;
    defs.append(shape(kind, { id, ...geometry },
      ...stops.map(([offset, color]) => shape("stop", { offset, "stop-color": color }))));
    return `url(#${id})`;
  }
  function thing(defs, region) {
    const [x0, y0, x1, y1] = region.box;
    const x = (x0 + x1) / 2, y = (y0 + y1) / 2, r = (x1 - x0) / 2;
    const look = region.attributes || {};
    const color = COLORS[look.color] || "#999999";
    const metal = look.material === "metal";
    const light = mix(color, "#ffffff", metal ? 0.75 : 0.28), dark = mix(color, "#000000", metal ? 0.55 : 0.3);
    const group = shape("g", { class: "thing" }, shape("title", {}, region.label || ""));
    const parts = { cube, cylinder, sphere }[look.shape] || sphere;
    group.append(shape("ellipse", { class: "shadow", cx: x + r * 0.16, cy: y + r * 0.72, rx: r * 1.02, ry: r * 0.42 }));
    parts();
    return group;

    function shine(cx, cy, rx, ry) {
      if (metal) group.append(shape("ellipse", { cx, cy, rx, ry, fill: "#ffffff", opacity: 0.75 }));
    }
    function sphere() {
      const paint = gradient(defs, "radialGradient", { cx: 0.36, cy: 0.3, r: 0.78 },
        metal ? [[0, light], [0.35, color], [0.72, dark], [1, mix(color, "#ffffff", 0.2)]] : [[0, light], [0.55, color], [1, dark]]);
      group.append(shape("circle", { cx: x, cy: y, r, fill: paint }));
      shine(x - r * 0.34, y - r * 0.42, r * 0.2, r * 0.13);
    }
    function cube() {
      const w = r * 0.93, h = r * 0.54, top = y - r * 1.05;
      const face = (points, paint) => group.append(shape("polygon", { points: points.map((p) => p.join(",")).join(" "), fill: paint, stroke: paint, "stroke-width": 0.6, "stroke-linejoin": "round" }));
      const [a, b, c, d] = [[x, top], [x + w, top + h], [x, top + 2 * h], [x - w, top + h]];
      const down = (p) => [p[0], p[1] + r * 1.02];
      face([d, c, down(c), down(d)], gradient(defs, "linearGradient", { x1: 0, y1: 0, x2: 1, y2: 1 }, [[0, metal ? light : color], [metal ? 0.45 : 0.9, color], [1, dark]]));
      face([c, b, down(b), down(c)], gradient(defs, "linearGradient", { x1: 0, y1: 0, x2: 1, y2: 1 }, [[0, dark], [1, metal ? mix(color, "#000000", 0.2) : dark]]));
      face([a, b, c, d], gradient(defs, "linearGradient", { x1: 0, y1: 0, x2: 1, y2: 0 }, metal ? [[0, color], [0.5, light], [1, color]] : [[0, light], [1, mix(color, "#ffffff", 0.18)]]));
    }
    function cylinder() {
      const w = r * 0.9, h = r * 0.36, top = y - r * 0.68, bottom = y + r * 0.56;
      const body = gradient(defs, "linearGradient", { x1: 0, y1: 0, x2: 1, y2: 0 },
        metal ? [[0, dark], [0.22, light], [0.42, color], [0.8, dark], [1, color]] : [[0, color], [0.3, mix(color, "#ffffff", 0.12)], [1, dark]]);
      group.append(
        shape("path", { d: `M${x - w},${top} L${x - w},${bottom} A${w},${h} 0 0 0 ${x + w},${bottom} L${x + w},${top} Z`, fill: body }),
        shape("ellipse", { cx: x, cy: top, rx: w, ry: h, fill: gradient(defs, "linearGradient", { x1: 0, y1: 0, x2: 1, y2: 0 }, metal ? [[0, color], [0.5, light], [1, color]] : [[0, light], [1, mix(color, "#ffffff", 0.15)]]) }));
    }
  }
  function floor(canvas) {
    const { width: w, height: h } = canvas;
    const parts = [];
    for (let k = 1; k < 10; k++) {
      parts.push(shape("line", { class: "grid", x1: (w * k) / 10, x2: (w * k) / 10, y1: 0, y2: h }));
      parts.push(shape("line", { class: "grid", x1: 0, x2: w, y1: (h * k) / 10, y2: (h * k) / 10 }));
    }
    const word = (x, y, text, turn) => shape("text", { class: "axis", x, y, transform: turn ? `rotate(${turn} ${x} ${y})` : null }, text);
    parts.push(word(w / 2, 17, "behind"), word(w / 2, h - 8, "front"), word(14, h / 2, "left", -90), word(w - 14, h / 2, "right", 90));
    return parts;
  }

  // ---- masks: COCO's compressed run lengths, column-major ----------------------------------------
  function maskPicture(mask) {
    const [height, width] = mask.size;
    const surface = element("canvas", { width, height });
    const context = surface.getContext("2d");
    const pixels = context.createImageData(width, height);
    const runs = [];
    for (let at = 0; at < mask.counts.length;) {
      let value = 0, shift = 0, code;
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
      for (let p = place; k % 2 && p < place + run && p < width * height; p++) {
        pixels.data.set([47, 91, 215, 150], 4 * ((p % height) * width + Math.floor(p / height)));
      }
      place += run;
    });
    context.putImageData(pixels, 0, 0);
    return surface.toDataURL();
  }

  // ---- the canvas of one step --------------------------------------------------------------------
  function centre(region) {
    const [x0, y0, x1, y1] = region.box;
    return [(x0 + x1) / 2, (y0 + y1) / 2, Math.max(x1 - x0, y1 - y0) / 2];
  }
  function drawCanvas(canvas, steps, index) {
    const step = steps[index];
    const regions = canvas.regions || [];
    const defs = shape("defs", {}, shape("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" }, shape("path", { class: "tip", d: "M0,0 L8,4 L0,8 Z" })));
    const root = shape("svg", { viewBox: `0 0 ${canvas.width} ${canvas.height}`, role: "img", "aria-label": canvas.title || "canvas" }, defs);
    const plan = canvas.kind === "plan";
    if (plan) root.append(...floor(canvas));
    else if (canvas.image) root.append(shape("image", { href: canvas.image, width: canvas.width, height: canvas.height }));
    const alive = step ? subjects(steps, index) : regions.map((_, i) => i);
    drawExtras(root, step);
    const anchors = step ? (step.links || []).map((l) => l.i) : [];
    const order = regions.map((_, i) => i).sort((a, b) => regions[a].box[3] - regions[b].box[3]);
    for (const i of order) {
      const node = plan ? thing(defs, regions[i]) : picturePart(regions[i], step, i);
      if (!alive.includes(i) && !anchors.includes(i)) node.classList.add("faded");
      root.append(node);
    }
    if (step) drawMarks(root, regions, steps, index, alive, plan);
    return root;
  }
  function picturePart(region, step, i) {
    const [x0, y0, x1, y1] = region.box;
    const own = step && (step.regions || []).find((r) => r.item === i);
    const weight = own ? own.weight ?? 1 : 0;
    return shape("g", { class: "thing" }, shape("title", {}, region.label || ""),
      shape("rect", { class: "box", x: x0, y: y0, width: x1 - x0, height: y1 - y0, "stroke-opacity": own ? 0.3 + 0.7 * weight : 0.5 }),
      own ? shape("rect", { class: "badge", x: x0, y: y0, width: x1 - x0, height: y1 - y0, opacity: 0.32 * weight }) : null);
  }
  function drawExtras(root, step) {
    for (const region of (step && step.regions) || []) {
      if (region.box) {
        const [x0, y0, x1, y1] = region.box;
        root.append(shape("rect", { class: "side", x: x0, y: y0, width: x1 - x0, height: y1 - y0 }, shape("title", {}, region.label || "")));
      }
      if (region.mask) root.append(shape("image", { href: maskPicture(region.mask), width: region.mask.size[1], height: region.mask.size[0], opacity: region.weight ?? 1 }));
    }
  }
  function drawMarks(root, regions, steps, index, alive, plan) {
    const step = steps[index];
    for (const i of new Set(waiting(steps, index))) {
      const [x, y, r] = centre(regions[i]);
      root.append(shape("circle", { class: "waiting", cx: x, cy: y, r: r + 9 }));
    }
    for (const link of step.links || []) {
      const [x0, y0, r0] = centre(regions[link.i]), [x1, y1, r1] = centre(regions[link.j]);
      const length = Math.hypot(x1 - x0, y1 - y0) || 1;
      const [u, v] = [(x1 - x0) / length, (y1 - y0) / length];
      if (length < r0 + r1 + 24) continue;
      const weight = link.weight ?? 1;
      root.append(shape("line", { class: "link", x1: x0 + u * (r0 + 5), y1: y0 + v * (r0 + 5), x2: x1 - u * (r1 + 6), y2: y1 - v * (r1 + 6), opacity: 0.25 + 0.55 * weight, "stroke-width": 1 + weight, "marker-end": "url(#tip)" }));
    }
    const anchors = (step.links || []).slice(0, 1).map((l) => l.i);
    const chosen = step.kind === "object" ? items(step) : plan ? anchors : [];
    if (["word", "truth"].includes(step.kind)) chosen.push(...alive);
    for (const i of chosen) {
      const [x, y, r] = centre(regions[i]);
      root.append(shape("circle", { class: "ring", cx: x, cy: y, r: r + 6 }));
      if (step.kind === "object") root.append(tag(x, y + r + 24, regions[i].label));
    }
    if (step.kind === "number" && (step.inputs || []).length === 1) {
      alive.forEach((i, k) => {
        const [x, y, r] = centre(regions[i]);
        root.append(shape("circle", { class: "badge", cx: x + r * 0.8, cy: y - r * 0.9, r: 11 }), shape("text", { class: "count", x: x + r * 0.8, y: y - r * 0.9 + 4.5 }, String(k + 1)));
      });
    }
  }
  function tag(x, y, text) {
    const clear = Math.max(90, Math.min(390, x));
    return shape("text", { class: "tag", x: clear, y: Math.min(y, 458) }, text || "");
  }

  // ---- the page ----------------------------------------------------------------------------------
  const state = { question: 0, step: 0, result: "all", category: "all", text: "", timer: null };
  const page = document.getElementById("page");
  const list = element("ul", { class: "list" });
  const stage = element("section", { class: "card stage" });
  const found = element("span", { class: "found" });

  const visible = () => data.answers.map((a, i) => [a, i]).filter(([a]) =>
    (state.category === "all" || a.category === state.category) &&
    (state.result === "all" || (a.right !== undefined && a.right === (state.result === "right"))) &&
    (a.question || "").toLowerCase().includes(state.text));
  const mark = (answer) => answer.right === undefined
    ? element("span", { class: "mark" }, "·")
    : element("span", { class: "mark " + (answer.right ? "right" : "wrong"), title: answer.right ? "right" : "wrong" }, answer.right ? "✓" : "✗");
  const readable = (name) => (name || "").replaceAll("_", " ");

  function header() {
    const figures = data.figures.map(([label, value]) => element("div", {}, element("dt", {}, label), element("dd", {}, value)));
    const rates = data.rates.map(([label, share, total]) => element("li", {}, element("span", {}, `${readable(label)} (${total})`), element("b", {}, (100 * share).toFixed(1) + " %"),
      shape("svg", { viewBox: "0 0 100 5", preserveAspectRatio: "none", "aria-hidden": "true" }, shape("rect", { width: 100, height: 5 }), shape("rect", { width: 100 * share, height: 5 }))));
    return [
      element("header", {}, element("div", {}, element("h1", {}, data.title), element("p", {}, data.lead)), element("dl", { class: "figures" }, ...figures)),
      rates.length ? element("ul", { class: "rates" }, ...rates) : null,
    ].filter(Boolean);
  }
  function choice(label, options, key) {
    const update = (event) => { state[key] = event.target.value; show(visible().length ? visible()[0][1] : -1); };
    return element("select", { "aria-label": label, onchange: update }, ...options.map(([value, text]) => element("option", { value }, text)));
  }
  function filters() {
    const categories = [...new Set(data.answers.map((a) => a.category).filter(Boolean))].sort();
    const search = (event) => { state.text = event.target.value.toLowerCase(); show(visible().length ? visible()[0][1] : -1); };
    return element("div", { class: "filters" },
      element("input", { type: "search", placeholder: "Search the questions", "aria-label": "Search the questions", oninput: search }),
      choice("Result", [["all", "All results"], ["right", "Right"], ["wrong", "Wrong"]], "result"),
      choice("Type", [["all", "All types"], ...categories.map((c) => [c, readable(c)])], "category"), found);
  }
  function drawList() {
    const shown = visible();
    found.textContent = `${shown.length} of ${data.answers.length} questions`;
    list.replaceChildren(...shown.map(([answer, i]) => element("li", {}, element("button", { "aria-current": i === state.question ? "true" : null, onclick: () => show(i) },
      mark(answer), element("span", { class: "text" }, answer.question || "question " + (i + 1)), element("small", {}, [answer.text, readable(answer.category)].filter(Boolean).join(" · "))))));
    const current = list.querySelector("[aria-current]");
    if (current) current.scrollIntoView({ block: "nearest" });
  }
  function rail(row, width) {
    const x = (lane) => 11 + 15 * lane;
    const root = shape("svg", { width, "aria-hidden": "true" });
    const line = (x1, y1, x2, y2) => root.append(shape("line", { class: "rail", x1, y1, x2, y2 }));
    for (const lane of row.through) line(x(lane), 0, x(lane), "100%");
    for (const lane of row.from) line(x(lane), 0, x(row.lane), "50%");
    if (!row.last) line(x(row.lane), "50%", x(row.lane), "100%");
    root.append(shape("circle", { class: "stop", cx: x(row.lane), cy: "50%", r: 5.5 }));
    return root;
  }
  function stepList(steps) {
    const rows = lanes(steps);
    const width = 24 + 15 * Math.max(0, ...rows.map((r) => r.lane));
    return element("ol", { class: "steps" }, ...steps.map((step, i) => element("li", {}, element("button", {
      "aria-current": i === state.step ? "true" : null, class: i > state.step ? "ahead" : null, title: step.name || "",
      onclick: () => goTo(i), onmouseenter: () => { if (!state.timer) preview(i); }, onmouseleave: () => { if (!state.timer) preview(state.step); },
    }, rail(rows[i], width), element("span", { class: "words" }, step.words), element("span", { class: "value " + (step.kind || "") }, step.value || "")))));
  }
  function preview(i) {
    const answer = data.answers[state.question];
    const figure = stage.querySelector("figure svg");
    if (figure && answer.canvas !== undefined) figure.replaceWith(drawCanvas(data.canvases[answer.canvas], answer.steps || [], i));
  }
  function verdict(answer) {
    const parts = [mark(answer), element("span", { class: "answer" }, answer.text)];
    if (answer.right === false) parts.push(element("span", { class: "note" }, "expected: " + answer.expected));
    if (answer.score !== undefined) parts.push(element("span", { class: "note" }, `probability ${(100 * answer.score).toFixed(1)} %`));
    if (answer.category) parts.push(element("span", { class: "note" }, readable(answer.category)));
    return element("p", { class: "verdict" }, ...parts);
  }
  function controls(steps) {
    const button = (label, title, action) => element("button", { title, "aria-label": title, onclick: action }, label);
    return element("div", { class: "controls" },
      button("◀", "Step back", () => goTo(state.step - 1)), button(state.timer ? "Pause" : "Play", "Play the steps", play), button("▶", "Step on", () => goTo(state.step + 1)),
      element("span", {}, `step ${state.step + 1} of ${steps.length}`));
  }
  function drawStage() {
    const answer = data.answers[state.question];
    if (!answer) return stage.replaceChildren(element("p", { class: "empty" }, "No question fits the filter."));
    const steps = answer.steps || [];
    const canvas = answer.canvas === undefined ? null : data.canvases[answer.canvas];
    const caption = canvas && element("figcaption", {}, element("span", {}, canvas.title || ""),
      element("span", {}, canvas.kind === "plan" ? "seen from above" : ""));
    const right = [];
    if (steps.length) right.push(controls(steps), stepList(steps));
    const names = steps.map((s) => s.name).filter(Boolean);
    if (names.length) right.push(element("details", {}, element("summary", {}, "The program"), element("code", {}, names.join(" → "))));
    if (answer.alternatives) right.push(element("ul", { class: "others" }, ...answer.alternatives.map((o) => element("li", {}, `${o.text}: ${(100 * o.score).toFixed(1)} %`))));
    return stage.replaceChildren(element("h2", {}, answer.question || ""), verdict(answer),
      ...(answer.warnings || []).map((w) => element("p", { class: "warning" }, w)),
      element("div", { class: "split" }, canvas ? element("figure", {}, drawCanvas(canvas, steps, state.step), caption) : null, element("div", {}, ...right)));
  }
  function goTo(step) {
    const steps = (data.answers[state.question] || {}).steps || [];
    state.step = Math.max(0, Math.min(steps.length - 1, step));
    history.replaceState(null, "", `#${state.question + 1}.${state.step + 1}`);
    drawStage();
  }
  function show(question, step) {
    stop();
    state.question = question;
    drawList();
    const steps = (data.answers[question] || {}).steps || [];
    goTo(step === undefined ? steps.length - 1 : step);
  }
  function stop() {
    clearInterval(state.timer);
    state.timer = null;
  }
  function play() {
    if (state.timer) { stop(); return drawStage(); }
    const steps = data.answers[state.question].steps || [];
    state.timer = setInterval(() => {
      if (state.step >= steps.length - 1) { stop(); return drawStage(); }
      return goTo(state.step + 1);
    }, 1100);
    return goTo(state.step >= steps.length - 1 ? 0 : state.step);
  }
  function keys(event) {
    if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
    const shown = visible().map(([, i]) => i);
    const at = shown.indexOf(state.question);
    const moves = {
      ArrowRight: () => goTo(state.step + 1), ArrowLeft: () => goTo(state.step - 1), " ": play,
      ArrowDown: () => show(shown[Math.min(shown.length - 1, at + 1)]), ArrowUp: () => show(shown[Math.max(0, at - 1)]),
    };
    if (shown.length && moves[event.key]) { event.preventDefault(); moves[event.key](); }
  }

  page.replaceChildren(...header(), element("div", { class: "work" }, element("aside", { class: "card" }, filters(), list), stage));
  document.addEventListener("keydown", keys);
  const [question, step] = location.hash.slice(1).split(".").map((n) => parseInt(n, 10) - 1);
  show(question >= 0 && question < data.answers.length ? question : 0, step >= 0 ? step : undefined);
})();
