// The document. Words from people and from the server only ever become text and values, never markup.

export const $ = (id) => document.getElementById(id);

/** Set only what differs, so that a caret stays where it is. */
export function set(element, values) {
  for (const [name, value] of Object.entries(values)) {
    if (element[name] !== value) element[name] = value;
  }
}

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Make `parent` hold one child an item, keeping those that are there. */
export function list(parent, items, make, update) {
  while (parent.children.length > items.length) parent.lastChild.remove();
  items.forEach((item, i) => update(parent.children[i] ?? parent.appendChild(make()), item, i));
}

export const makeButton = () => element("button", { type: "button" });

/** Make `select` offer [value, text] pairs, and choose one. */
export function offer(select, choices, chosen) {
  const make = () => element("option", { value: "" }); // or its text would be its value
  list(select, choices, make, (option, [value, text]) => set(option, { value, textContent: text }));
  if (chosen != null) set(select, { value: chosen });
}

/** Show the picture at `url`; without one, no image at all. */
export function show(image, url, alt = "") {
  if (url && image.getAttribute("src") !== url) image.src = url;
  if (!url) image.removeAttribute("src");
  image.hidden = !url;
  set(image, { alt });
}
