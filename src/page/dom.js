// Elements, made and changed without markup in strings: nothing that comes from a file name can become HTML.

export const $ = (selector, within = document) => within.querySelector(selector);

/// Makes an element. `on…` functions become listeners, `style` custom properties, `true` an empty attribute; null, undefined
/// and false are left out, of attributes and of children.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name === "style") {
      for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    } else if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (name === "value" || name === "muted") {
      // As attributes these would only be the value at the start.
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...present(children));
  return element;
}

/// Replaces what an element contains.
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child != null && child !== false);
}

/// A button with an icon and, where `text` is given, words beside it.
export function button(icon, label, onclick, { text, ...attributes } = {}) {
  const named = text ? {} : { "aria-label": label, title: label };
  const kind = text ? "button" : "icon-button";
  return h("button", { type: "button", class: kind, onclick, ...named, ...attributes }, icon && drawing(icon), text);
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Strokes in a square of 24.
const DRAWINGS = {
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  like: "M4 9.5c2.7-3.3 5.3-3.3 8 0s5.3 3.3 8 0M4 16c2.7-3.3 5.3-3.3 8 0s5.3 3.3 8 0",
  save: "M12 4v11M7.5 11l4.5 4.5 4.5-4.5M5 19.5h14",
  link: "M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1",
  copy: "M9 9h10.5v10.5H9zM15 5H4.5v10.5",
  terminal: "M5 7l5 5-5 5M12.5 17.5H19",
  close: "M6 6l12 12M18 6L6 18",
  add: "M12 5v14M5 12h14",
  back: "M14.5 5.5L8 12l6.5 6.5",
  on: "M9.5 5.5L16 12l-6.5 6.5",
  pause: "M8.5 6v12M15.5 6v12",
  play: "M8 5.5v13l10.5-6.5z",
  remove: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5",
  again: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3M19.5 4v4h-4",
  camera: "M3.5 7.5h11.5v9H3.5zM15 11l5.5-3v8L15 13",
  folder: "M3.5 6.5h6l2 2.5h9v9.5h-17z",
  done: "M5 12.5l4.5 4.5L19 7.5",
};

export function drawing(name) {
  const path = svg("path", { d: DRAWINGS[name] });
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, path);
}

/// Calls `action` once, `wait` milliseconds after the last call.
export function settled(action, wait) {
  let timer;
  const later = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), wait);
  };
  later.now = (...given) => {
    clearTimeout(timer);
    action(...given);
  };
  later.forget = () => clearTimeout(timer);
  return later;
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
