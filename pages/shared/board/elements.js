// Small helpers to make elements.

function element(tag, className, parent, attributes = {}) {
  const one = document.createElement(tag);
  if (className) one.className = className;
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  if (parent) parent.append(one);
  return one;
}

function button(className, parent, text, act, title = "") {
  const one = element("button", className, parent, { type: "button" });
  one.textContent = text;
  if (title) one.title = title;
  one.addEventListener("click", act);
  return one;
}

function plural(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
