// Elements are built here and nowhere else: strings become text nodes, never markup.

export function el(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style")
      for (const [name, text] of Object.entries(value)) node.style.setProperty(name, text);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function section(id, title, note, ...children) {
  return el(
    "section",
    { id },
    el("header", {}, el("h2", {}, title), note ? el("p.note", {}, note) : null),
    ...children,
  );
}

// Lines of [text, value] pairs, or plain strings, beside the pointer.
export function showTooltip(title, lines, event) {
  const box = document.getElementById("tooltip");
  box.replaceChildren(
    el("strong", {}, title),
    ...lines.map((line) =>
      Array.isArray(line)
        ? el("div.pair", {}, el("span", {}, line[0]), el("span.number", {}, line[1]))
        : el("div", {}, line),
    ),
  );
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const right = event.clientX + 16 + width < innerWidth;
  const below = event.clientY + 18 + height < innerHeight;
  box.style.left = `${Math.max(4, right ? event.clientX + 14 : event.clientX - width - 12)}px`;
  box.style.top = `${Math.max(4, below ? event.clientY + 16 : event.clientY - height - 12)}px`;
}

export function hideTooltip() {
  document.getElementById("tooltip").hidden = true;
}

export function withTooltip(node, title, lines) {
  node.addEventListener("pointermove", (event) => showTooltip(title, lines, event));
  node.addEventListener("pointerleave", hideTooltip);
  return node;
}

export function onThemeChange(callback) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
}

export function cssColour(variable) {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}
