// The page: a list of answers, one of them with its steps.

const data = JSON.parse(document.getElementById("data").textContent);
const state = { question: 0, step: 0, result: "all", category: "all", text: "", timer: null };
const page = document.getElementById("page");
const list = element("ul", { class: "list" });
const stage = element("section", { class: "card stage" });
const found = element("span", { class: "found" });

const visible = () =>
  data.answers
    .map((a, i) => [a, i])
    .filter(
      ([a]) =>
        (state.category === "all" || a.category === state.category) &&
        (state.result === "all" ||
          (a.right !== undefined && a.right === (state.result === "right"))) &&
        (a.question || "").toLowerCase().includes(state.text),
    );
const mark = (answer) =>
  answer.right === undefined
    ? element("span", { class: "mark" }, "·")
    : element(
        "span",
        {
          class: "mark " + (answer.right ? "right" : "wrong"),
          title: answer.right ? "right" : "wrong",
        },
        answer.right ? "✓" : "✗",
      );
const readable = (name) => (name || "").replaceAll("_", " ");

function header() {
  const figures = data.figures.map(([label, value]) =>
    element("div", {}, element("dt", {}, label), element("dd", {}, value)),
  );
  const rates = data.rates.map(([label, share, total]) =>
    element(
      "li",
      {},
      element("span", {}, `${readable(label)} (${total})`),
      element("b", {}, (100 * share).toFixed(1) + " %"),
      shape(
        "svg",
        { viewBox: "0 0 100 5", preserveAspectRatio: "none", "aria-hidden": "true" },
        shape("rect", { width: 100, height: 5 }),
        shape("rect", { width: 100 * share, height: 5 }),
      ),
    ),
  );
  return [
    element(
      "header",
      {},
      element("div", {}, element("h1", {}, data.title), element("p", {}, data.lead)),
      element("dl", { class: "figures" }, ...figures),
    ),
    rates.length ? element("ul", { class: "rates" }, ...rates) : null,
  ].filter(Boolean);
}
function choice(label, options, key) {
  const update = (event) => {
    state[key] = event.target.value;
    show(visible().length ? visible()[0][1] : -1);
  };
  return element(
    "select",
    { "aria-label": label, onchange: update },
    ...options.map(([value, text]) => element("option", { value }, text)),
  );
}
function filters() {
  const categories = [...new Set(data.answers.map((a) => a.category).filter(Boolean))].sort();
  const search = (event) => {
    state.text = event.target.value.toLowerCase();
    show(visible().length ? visible()[0][1] : -1);
  };
  return element(
    "div",
    { class: "filters" },
    element("input", {
      type: "search",
      placeholder: "Search the questions",
      "aria-label": "Search the questions",
      oninput: search,
    }),
    choice(
      "Result",
      [
        ["all", "All results"],
        ["right", "Right"],
        ["wrong", "Wrong"],
      ],
      "result",
    ),
    choice("Type", [["all", "All types"], ...categories.map((c) => [c, readable(c)])], "category"),
    found,
  );
}
// Scrolls the list alone: the browser's own way would move the page as well.
function keepInView(button) {
  const top = button.offsetTop;
  const bottom = top + button.offsetHeight;
  if (top < list.scrollTop) list.scrollTop = top;
  if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight + 6;
}
function drawList() {
  const shown = visible();
  found.textContent = `${shown.length} of ${data.answers.length} questions`;
  list.replaceChildren(
    ...shown.map(([answer, i]) =>
      element(
        "li",
        {},
        element(
          "button",
          { "aria-current": i === state.question ? "true" : null, onclick: () => show(i) },
          mark(answer),
          element("span", { class: "text" }, answer.question || "question " + (i + 1)),
          element(
            "small",
            {},
            [answer.text, readable(answer.category)].filter(Boolean).join(" · "),
          ),
        ),
      ),
    ),
  );
  const current = list.querySelector("[aria-current]");
  if (current) keepInView(current);
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
  return element(
    "ol",
    { class: "steps" },
    ...steps.map((step, i) =>
      element(
        "li",
        {},
        element(
          "button",
          {
            "aria-current": i === state.step ? "true" : null,
            class: i > state.step ? "ahead" : null,
            title: step.name || "",
            onclick: () => goTo(i),
            onmouseenter: () => {
              if (!state.timer) preview(i);
            },
            onmouseleave: () => {
              if (!state.timer) preview(state.step);
            },
          },
          rail(rows[i], width),
          element("span", { class: "words" }, step.words),
          element("span", { class: "value " + (step.kind || "") }, step.value || ""),
        ),
      ),
    ),
  );
}
function preview(i) {
  const answer = data.answers[state.question];
  const figure = stage.querySelector("figure svg");
  if (figure && answer.canvas !== undefined)
    figure.replaceWith(drawCanvas(data.canvases[answer.canvas], answer.steps || [], i));
}
function verdict(answer) {
  const parts = [mark(answer), element("span", { class: "answer" }, answer.text)];
  if (answer.right === false)
    parts.push(element("span", { class: "note" }, "expected: " + answer.expected));
  if (answer.score !== undefined)
    parts.push(
      element("span", { class: "note" }, `probability ${(100 * answer.score).toFixed(1)} %`),
    );
  if (answer.category) parts.push(element("span", { class: "note" }, readable(answer.category)));
  return element("p", { class: "verdict" }, ...parts);
}
function controls(steps) {
  const button = (label, title, action) =>
    element("button", { title, "aria-label": title, onclick: action }, label);
  return element(
    "div",
    { class: "controls" },
    button("◀", "Step back", () => goTo(state.step - 1)),
    button(state.timer ? "Pause" : "Play", "Play the steps", play),
    button("▶", "Step on", () => goTo(state.step + 1)),
    element("span", {}, `step ${state.step + 1} of ${steps.length}`),
  );
}
function drawStage() {
  const answer = data.answers[state.question];
  if (!answer)
    return stage.replaceChildren(element("p", { class: "empty" }, "No question fits the filter."));
  const steps = answer.steps || [];
  const canvas = answer.canvas === undefined ? null : data.canvases[answer.canvas];
  const caption =
    canvas &&
    element(
      "figcaption",
      {},
      element("span", {}, canvas.title || ""),
      element("span", {}, canvas.kind === "plan" ? "seen from above" : ""),
    );
  const right = [];
  if (steps.length) right.push(controls(steps), stepList(steps));
  const names = steps.map((s) => s.name).filter(Boolean);
  if (names.length)
    right.push(
      element(
        "details",
        {},
        element("summary", {}, "The program"),
        element("code", {}, names.join(" → ")),
      ),
    );
  if (answer.alternatives)
    right.push(
      element(
        "ul",
        { class: "others" },
        ...answer.alternatives.map((o) =>
          element("li", {}, `${o.text}: ${(100 * o.score).toFixed(1)} %`),
        ),
      ),
    );
  return stage.replaceChildren(
    element("h2", {}, answer.question || ""),
    verdict(answer),
    ...(answer.warnings || []).map((w) => element("p", { class: "warning" }, w)),
    element(
      "div",
      { class: "split" },
      canvas ? element("figure", {}, drawCanvas(canvas, steps, state.step), caption) : null,
      element("div", {}, ...right),
    ),
  );
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
  if (state.timer) {
    stop();
    return drawStage();
  }
  const steps = data.answers[state.question].steps || [];
  state.timer = setInterval(() => {
    if (state.step >= steps.length - 1) {
      stop();
      return drawStage();
    }
    return goTo(state.step + 1);
  }, 1100);
  return goTo(state.step >= steps.length - 1 ? 0 : state.step);
}
function keys(event) {
  if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
  const shown = visible().map(([, i]) => i);
  const at = shown.indexOf(state.question);
  const moves = {
    ArrowRight: () => goTo(state.step + 1),
    ArrowLeft: () => goTo(state.step - 1),
    " ": play,
    ArrowDown: () => show(shown[Math.min(shown.length - 1, at + 1)]),
    ArrowUp: () => show(shown[Math.max(0, at - 1)]),
  };
  if (shown.length && moves[event.key]) {
    event.preventDefault();
    moves[event.key]();
  }
}

page.replaceChildren(
  ...header(),
  element("div", { class: "work" }, element("aside", { class: "card" }, filters(), list), stage),
);
document.addEventListener("keydown", keys);
const [question, step] = location.hash
  .slice(1)
  .split(".")
  .map((n) => parseInt(n, 10) - 1);
show(question >= 0 && question < data.answers.length ? question : 0, step >= 0 ? step : undefined);
