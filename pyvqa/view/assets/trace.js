// The page: a list of answers, one of them with its steps.

const data = JSON.parse(document.getElementById("data").textContent);
const state = { question: 0, step: 0, result: "all", category: "all", text: "", timer: null };
const page = document.getElementById("page");
const list = element("ul", { class: "list" });
const stage = element("section", { class: "card stage" });
const found = element("span", { class: "found" });

const fits = {
  all: () => true,
  right: (a) => a.right === true,
  wrong: (a) => a.right === false,
  warned: (a) => (a.warnings || []).length > 0,
};
// The answers that the filters let through, wrong ones first.
const visible = () =>
  data.answers
    .map((a, i) => [a, i])
    .filter(
      ([a]) =>
        (state.category === "all" || a.category === state.category) &&
        fits[state.result](a) &&
        (a.question || "").toLowerCase().includes(state.text),
    )
    .sort(([a], [b]) => (b.right === false) - (a.right === false));
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
const bar = (share) =>
  shape(
    "svg",
    { class: "bar", viewBox: "0 0 100 5", preserveAspectRatio: "none", "aria-hidden": "true" },
    shape("rect", { width: 100, height: 5 }),
    shape("rect", { width: 100 * Math.max(0, Math.min(1, share)), height: 5 }),
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
      element("b", {}, percent(share)),
      bar(share),
    ),
  );
  return [
    element(
      "header",
      {},
      element(
        "div",
        {},
        element("h1", {}, data.title),
        data.lead ? element("p", {}, data.lead) : null,
      ),
      figures.length ? element("dl", { class: "figures" }, ...figures) : null,
    ),
    rates.length ? element("ul", { class: "rates" }, ...rates) : null,
  ].filter(Boolean);
}
function choice(label, options, key) {
  const update = (event) => {
    state[key] = event.target.value;
    refilter();
  };
  return element(
    "select",
    { "aria-label": label, onchange: update },
    ...options.map(([value, text]) => element("option", { value }, text)),
  );
}
function refilter() {
  drawList();
  show(visible().length ? visible()[0][1] : -1);
}
function filters() {
  const categories = [...new Set(data.answers.map((a) => a.category).filter(Boolean))].sort();
  const search = (event) => {
    state.text = event.target.value.toLowerCase();
    refilter();
  };
  const count = (kind) => data.answers.filter(fits[kind]).length;
  const results = [
    ["wrong", "Wrong"],
    ["right", "Right"],
    ["warned", "With warnings"],
  ].filter(([kind]) => count(kind) > 0);
  const fields = [
    element("input", {
      type: "search",
      placeholder: "Search the questions",
      "aria-label": "Search the questions",
      oninput: search,
    }),
    choice(
      "Result",
      [["all", "All results"], ...results.map(([k, text]) => [k, `${text} (${count(k)})`])],
      "result",
    ),
    choice("Type", [["all", "All types"], ...categories.map((c) => [c, readable(c)])], "category"),
    found,
  ];
  return element("div", { class: "filters" }, ...fields);
}
// Scrolls the list alone: the browser's own way would move the page as well.
function keepInView(button) {
  const top = button.offsetTop;
  const bottom = top + button.offsetHeight;
  if (top < list.scrollTop) list.scrollTop = top;
  if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight + 6;
}
// Draws the list for the filters of now; `markCurrent` says which answer is shown.
function drawList() {
  const shown = visible();
  found.textContent = `${shown.length} of ${data.answers.length} questions`;
  const entry = ([answer, i]) =>
    element(
      "button",
      { "data-answer": i, onclick: () => show(i) },
      mark(answer),
      element("span", { class: "text" }, answer.question || "question " + (i + 1)),
      element("small", {}, [answer.text, readable(answer.category)].filter(Boolean).join(" · ")),
    );
  list.replaceChildren(...shown.map((pair) => element("li", {}, entry(pair))));
}
function markCurrent() {
  for (const button of list.querySelectorAll("button")) {
    const current = button.dataset.answer === String(state.question);
    if (current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (current) keepInView(button);
  }
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
  const preview = (i) => {
    if (!state.timer) drawn.step(i);
  };
  const buttons = steps.map((step, i) =>
    element(
      "button",
      {
        title: step.name || "",
        onclick: () => goTo(i),
        onpointerenter: () => preview(i),
        onpointerleave: () => preview(state.step),
        onfocus: () => preview(i),
        onblur: () => preview(state.step),
      },
      rail(rows[i], width),
      element("span", { class: "words" }, step.words),
      element("span", { class: "value " + (step.kind || "") }, step.value || ""),
    ),
  );
  return {
    root: element("ol", { class: "steps" }, ...buttons.map((b) => element("li", {}, b))),
    show: (index) =>
      buttons.forEach((button, i) => {
        if (i === index) button.setAttribute("aria-current", "step");
        else button.removeAttribute("aria-current");
        button.classList.toggle("ahead", i > index);
      }),
  };
}
function verdict(answer) {
  const doubtful = answer.score === undefined && (answer.warnings || []).length > 0;
  const parts = [
    mark(answer),
    element("span", { class: "answer" + (doubtful ? " doubtful" : "") }, answer.text),
  ];
  if (answer.right === false)
    parts.push(element("span", { class: "note" }, "expected: " + answer.expected));
  if (answer.score !== undefined)
    parts.push(element("span", { class: "note" }, `probability ${percent(answer.score)}`));
  if (answer.category) parts.push(element("span", { class: "note" }, readable(answer.category)));
  return element("p", { class: "verdict" }, ...parts);
}
function alternatives(answer) {
  if (!answer.alternatives) return null;
  const rows = answer.alternatives.map((other) =>
    element(
      "li",
      {},
      element("span", {}, other.text),
      bar(other.score),
      element("b", {}, percent(other.score)),
    ),
  );
  const title = answer.score === undefined ? "Perhaps" : "Other answers";
  return element(
    "div",
    { class: "others" },
    element("h3", {}, title),
    element("ul", {}, ...rows),
  );
}
function controls() {
  const button = (label, title, action) =>
    element("button", { title, "aria-label": title, onclick: action }, label);
  const toggle = button("Play", "Play the steps", play);
  const place = element("span", { "aria-live": "polite" });
  return {
    root: element(
      "div",
      { class: "controls" },
      button("◀", "Step back", () => goTo(state.step - 1)),
      toggle,
      button("▶", "Step on", () => goTo(state.step + 1)),
      place,
    ),
    show: (steps) => {
      toggle.textContent = state.timer ? "Pause" : "Play";
      place.textContent = `step ${state.step + 1} of ${steps.length}`;
    },
  };
}
function program(steps) {
  const names = steps.map((s) => s.name).filter(Boolean);
  if (!names.length) return null;
  return element(
    "details",
    {},
    element("summary", {}, "The program"),
    element("code", {}, names.join(" → ")),
  );
}
// Draws an answer once and returns what changes with the step.
function drawStage() {
  const answer = data.answers[state.question];
  if (!answer) {
    stage.replaceChildren(element("p", { class: "empty" }, "No question fits the filter."));
    return { step: () => {} };
  }
  const steps = answer.steps || [];
  const canvas = answer.canvas === undefined ? null : data.canvases[answer.canvas];
  const parts = canvas ? drawFigure(canvas) : null;
  const list = steps.length ? stepList(steps) : null;
  const buttons = steps.length ? controls() : null;
  const side = [buttons && buttons.root, list && list.root, program(steps), alternatives(answer)];
  stage.replaceChildren(
    element("h2", {}, answer.question || ""),
    verdict(answer),
    ...(answer.warnings || []).map((w) => element("p", { class: "warning" }, w)),
    element(
      "div",
      { class: "split" + (canvas ? "" : " bare") },
      ...(parts ? [parts.figure, parts.table.root] : []),
      element("div", { class: "side-column" }, ...side.filter(Boolean)),
    ),
  );
  return {
    step: (index) => {
      if (parts) parts.show(steps, index);
      if (list) list.show(index);
      if (buttons) buttons.show(steps);
    },
  };
}
function drawFigure(canvas) {
  const card = objectCard(canvas);
  const point = (item) => [picture, table, card].forEach((part) => part.point(item));
  const picture = drawing(canvas, point);
  const table = objectTable(canvas, point);
  const note = canvas.kind === "plan" ? "seen from above" : `${canvas.width} × ${canvas.height}`;
  const caption = element(
    "figcaption",
    {},
    element("span", {}, canvas.title || ""),
    element("span", {}, note),
  );
  return {
    figure: element(
      "figure",
      {},
      element("div", { class: "canvas" }, picture.root, card.root),
      caption,
    ),
    table,
    show: (steps, index) => {
      picture.show(steps, index);
      table.show(steps[index] ? subjects(steps, index) : null);
    },
  };
}
function goTo(step) {
  const steps = (data.answers[state.question] || {}).steps || [];
  state.step = Math.max(0, Math.min(steps.length - 1, step));
  history.replaceState(null, "", `#${state.question + 1}.${state.step + 1}`);
  drawn.step(state.step);
}
function show(question, step) {
  stop();
  state.question = question;
  markCurrent();
  drawn = drawStage();
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
    return drawn.step(state.step);
  }
  const steps = data.answers[state.question].steps || [];
  state.timer = setInterval(() => {
    if (state.step >= steps.length - 1) {
      stop();
      return drawn.step(state.step);
    }
    return goTo(state.step + 1);
  }, 1100);
  return goTo(state.step >= steps.length - 1 ? 0 : state.step);
}
function keys(event) {
  const at = event.target.tagName;
  if (["INPUT", "SELECT"].includes(at) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && ["BUTTON", "SUMMARY"].includes(at)) return;
  const shown = visible().map(([, i]) => i);
  const place = shown.indexOf(state.question);
  const moves = {
    ArrowRight: () => goTo(state.step + 1),
    ArrowLeft: () => goTo(state.step - 1),
    " ": play,
  };
  if (data.answers.length > 1) {
    moves.ArrowDown = () => show(shown[Math.min(shown.length - 1, place + 1)]);
    moves.ArrowUp = () => show(shown[Math.max(0, place - 1)]);
  }
  if (shown.length && moves[event.key]) {
    event.preventDefault();
    moves[event.key]();
  }
}

let drawn = { step: () => {} };
const aside = element("aside", { class: "card", "aria-label": "Answers" }, filters(), list);
const single = data.answers.length === 1;
page.replaceChildren(
  ...header(),
  element("div", { class: "work" + (single ? " single" : "") }, single ? null : aside, stage),
);
document.addEventListener("keydown", keys);
drawList();
const [question, step] = location.hash
  .slice(1)
  .split(".")
  .map((n) => parseInt(n, 10) - 1);
const first = visible().length ? visible()[0][1] : -1;
show(
  question >= 0 && question < data.answers.length ? question : first,
  step >= 0 ? step : undefined,
);
