// The objects of a canvas as a table, and a card about the one that is pointed at.

// Rounded down, so that only 1 reads as 100 %.
const percent = (share) => `${(Math.floor(1000 * share + 1e-9) / 10).toFixed(1)} %`;

// What the regions of a canvas say about themselves: names of attributes, in their order.
function attributeNames(regions) {
  return [...new Set(regions.flatMap((r) => Object.keys(r.attributes || {})))];
}
function swatch(region) {
  const color = COLORS[(region.attributes || {}).color];
  return color
    ? shape(
        "svg",
        { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" },
        shape("circle", { cx: 5, cy: 5, r: 4.5, fill: color }),
      )
    : null;
}
// `show` takes the numbers of the objects that are alive, `point` the one pointed at.
function objectTable(canvas, onpoint) {
  const regions = canvas.regions || [];
  const names = attributeNames(regions);
  const weighed = regions.some((r) => r.weight !== undefined);
  const heads = ["", ...(names.length ? names : ["region"]), ...(weighed ? ["sure"] : [])];
  const rows = regions.map((region, i) => {
    const look = region.attributes || {};
    const cells = names.length ? names.map((n) => look[n] || "") : [region.label || ""];
    return element(
      "tr",
      {
        tabindex: "0",
        onpointerenter: () => onpoint(i),
        onpointerleave: () => onpoint(null),
        onfocus: () => onpoint(i),
        onblur: () => onpoint(null),
      },
      element("td", { class: "number" }, swatch(region), String(i + 1)),
      ...cells.map((text) => element("td", {}, text)),
      weighed ? element("td", { class: "sure" }, percent(region.weight ?? 1)) : null,
    );
  });
  const count = regions.length === 1 ? "1 object" : `${regions.length} objects`;
  const root = element(
    "div",
    { class: "objects" },
    element("h3", {}, canvas.kind === "plan" ? count : `Seen: ${count}`),
    regions.length
      ? element(
          "div",
          { class: "scroll" },
          element(
            "table",
            {},
            element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", {}, h)))),
            element("tbody", {}, ...rows),
          ),
        )
      : null,
  );
  return {
    root,
    show: (alive) =>
      rows.forEach((row, i) => row.classList.toggle("faded", alive !== null && !alive.includes(i))),
    point: (item) => rows.forEach((row, i) => row.classList.toggle("pointed", i === item)),
  };
}
// A card that lies on the figure, beside the object.
function objectCard(canvas) {
  const regions = canvas.regions || [];
  const root = element("div", { class: "about", hidden: "" });
  function point(item) {
    const region = item === null ? undefined : regions[item];
    root.hidden = !region || !region.box;
    if (root.hidden) return;
    const pairs = Object.entries(region.attributes || {});
    if (region.weight !== undefined) pairs.push(["sure", percent(region.weight)]);
    root.replaceChildren(
      element("b", {}, region.label || `region ${item + 1}`),
      element(
        "dl",
        {},
        ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
      ),
    );
    place(region.box);
  }
  // To the right of the object where there is room, else to its left.
  function place([x0, y0, x1]) {
    const left = x1 < 0.62 * canvas.width;
    root.style.left = left ? `${(100 * x1) / canvas.width}%` : "auto";
    root.style.right = left ? "auto" : `${100 - (100 * x0) / canvas.width}%`;
    root.style.top = `${Math.max(0, Math.min(55, (100 * y0) / canvas.height))}%`;
  }
  return { root, point };
}
