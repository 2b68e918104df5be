// The contact sheet: a card for each picture; masks of what the pointer is on, or of what was
// clicked last. The place "#2.o3" keeps object 3 of picture 2 in sight, "#2.l5" its line 5.

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");

// Which object each pixel shows, 0 for none, decoded when first needed.
function objectsOf(picture) {
  if (picture.pixels) return picture.pixels;
  const [height, width] = picture.size;
  picture.pixels = new Uint8Array(height * width);
  picture.masks.forEach((counts, k) => {
    eachPixel({ size: picture.size, counts }, (p) => {
      picture.pixels[p] = k + 1;
    });
  });
  return picture.pixels;
}
function paint(surface, picture, shown) {
  const [height, width] = picture.size;
  const context = surface.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (shown === null) return;
  const pixels = objectsOf(picture);
  const image = context.createImageData(width, height);
  const wanted = new Set(shown.map((k) => k + 1));
  for (let p = 0; p < pixels.length; p++) {
    const inside = wanted.has(pixels[p]);
    const edge = inside && (pixels[p] !== pixels[p - 1] || pixels[p] !== pixels[p + 1] ||
      pixels[p] !== pixels[p - width] || pixels[p] !== pixels[p + width]);
    image.data.set(edge ? [255, 176, 32, 255] : inside ? [0, 0, 0, 0] : [16, 20, 30, 140], 4 * p);
  }
  context.putImageData(image, 0, 0);
}

function card(picture, number) {
  const [height, width] = picture.size;
  const surface = element("canvas", { width, height });
  const told = element("b", {}, `${picture.labels.length} objects`);
  const buttons = [];
  let kept = null;
  const show = (choice) => {
    const now = choice || kept;
    paint(surface, picture, now ? now.objects : null);
    told.textContent = now ? now.words : `${picture.labels.length} objects`;
  };
  const keep = (choice) => {
    kept = kept && choice && kept.button === choice.button ? null : choice;
    for (const button of buttons)
      button.setAttribute("aria-pressed", String(Boolean(kept) && kept.button === button));
    show(null);
  };
  const chooser = (objects, words, ...children) => {
    const choice = { objects, words };
    choice.button = element(
      "button",
      {
        "aria-pressed": "false",
        onmouseenter: () => show(choice),
        onmouseleave: () => show(null),
        onclick: () => keep(choice),
      },
      ...children,
    );
    choice.button.keep = () => keep(choice);
    buttons.push(choice.button);
    return choice.button;
  };
  const pointed = (event) => {
    const box = surface.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * height);
    return (objectsOf(picture)[y * width + x] || 0) - 1;
  };
  const things = picture.labels.map((label, k) => chooser([k], label, label));
  const frame = element(
    "div",
    {
      class: "frame",
      onmousemove: (event) => {
        const k = pointed(event);
        show(k < 0 ? null : { objects: [k], words: picture.labels[k] });
      },
      onmouseleave: () => show(null),
      onclick: (event) => {
        const k = pointed(event);
        if (k >= 0) things[k].keep();
      },
    },
    element("img", { src: picture.image, alt: picture.title, width, height }),
    surface,
  );
  const lines = picture.lines.map((line) => sentence(line, chooser));
  const root = element(
    "article",
    { class: "card", id: "picture-" + number },
    frame,
    element("div", { class: "caption" }, element("span", {}, picture.title), told),
    element("ul", { class: "things" }, ...things.map((button) => element("li", {}, button))),
    lines.length ? element("ul", { class: "lines" }, ...lines) : null,
  );
  root.keep = (kind, k) => {
    const button = kind === "o" ? things[k] : lines[k] && lines[k].querySelector("button");
    if (button) button.keep();
  };
  return root;
}
function sentence(line, chooser) {
  if (!line.objects)
    return element("li", {}, element("span", {}, line.text), element("b", {}, line.answer));
  const count = line.objects.length;
  const words = count === 0 ? "nothing" : count === 1 ? "1 object" : `${count} objects`;
  const total = element("b", { class: count ? null : "nothing" }, words);
  return element("li", {}, chooser(line.objects, words, element("span", {}, line.text), total));
}

function header() {
  const figures = data.figures.map(([label, value]) =>
    element("div", {}, element("dt", {}, label), element("dd", {}, value)),
  );
  return element(
    "header",
    {},
    element("div", {}, element("h1", {}, data.title), element("p", {}, data.lead)),
    element("dl", { class: "figures" }, ...figures),
  );
}
const cards = data.pictures.map(card);
page.replaceChildren(header(), element("div", { class: "sheet" }, ...cards));
const [, picture, kind, item] = /^#(\d+)\.([ol])(\d+)$/.exec(location.hash) || [];
if (picture && cards[picture]) cards[picture].keep(kind, Number(item));
