// The strip: the fields of the case as small pictures over the stage, each with a mark of how far its review is.

const STATE_SIGNS = { unseen: "", in_review: "◐", complete: "✓", excluded: "⊘" };

class Strip {
  // act(field): a picture was clicked
  constructor(parent, act) {
    this.root = make("nav", "strip", parent, { "aria-label": "Fields of this case" });
    this.act = act;
    this.pictures = new Map(); // field -> button
    this.root.hidden = true;
  }

  // fields: [{ id, name, url, state, mitoses }]
  show(fields, current) {
    this.root.hidden = !fields || fields.length < 2;
    if (this.root.hidden) return;
    const wanted = fields.map((one) => one.id).join();
    if (wanted !== this.shown) {
      this.shown = wanted;
      this.pictures = new Map(fields.map((one) => [one.id, this.makePicture(one)]));
      this.root.replaceChildren(...this.pictures.values());
    }
    for (const one of fields) this.setState(one.id, one.state, one.mitoses);
    this.setCurrent(current);
  }

  makePicture({ id, url, name }) {
    const button = makeButton("thumbnail", null, "", name, () => this.act(id));
    const image = make("img", "", button, { alt: "", loading: "lazy", fetchpriority: "low", draggable: "false" });
    image.src = new URL(url, document.baseURI).href;
    make("b", "", button, { "aria-hidden": "true" });
    make("span", "", button);
    button.name_ = name;
    return button;
  }

  setState(id, state, mitoses) {
    const button = this.pictures.get(id);
    if (!button) return;
    const known = state === "complete_empty" ? "complete" : state;
    button.dataset.state = known;
    button.querySelector("b").textContent = STATE_SIGNS[known] ?? "";
    button.querySelector("span").textContent = known === "unseen" ? "" : mitoses;
    const count = known === "unseen" ? "not seen" : `${known.replace("_", " ")}, ${mitoses} ${mitoses === 1 ? "mitosis" : "mitoses"}`;
    button.title = `${button.name_}: ${count}`;
    button.setAttribute("aria-label", button.title);
  }

  setCurrent(id) {
    for (const [one, button] of this.pictures) button.setAttribute("aria-current", one === id);
    const here = this.pictures.get(id);
    if (here) this.root.scrollLeft = here.offsetLeft - (this.root.clientWidth - here.offsetWidth) / 2;
  }
}
