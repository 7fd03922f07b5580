// A modal dialog inside the viewer: it covers the stage until it is answered, and Esc takes the last answer.

class Dialog {
  constructor(parent) {
    this.root = make("div", "dialog", parent, { role: "alertdialog", "aria-modal": "true" });
    this.root.hidden = true;
    this.root.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") this.root.querySelector("button:last-of-type").click();
      if (event.key === "Tab") this.keepFocus(event);
    });
  }

  get open() {
    return !this.root.hidden;
  }

  // answers: [[text, act]], the last one changes nothing: Enter and Esc take it.
  ask(text, answers) {
    const box = make("div", "box", null);
    make("p", "", box).textContent = text;
    for (const [label, act] of answers)
      makeButton("", box, label, label, () => {
        this.close();
        act();
      });
    this.root.setAttribute("aria-label", text);
    this.root.replaceChildren(box);
    this.root.hidden = false;
    box.lastChild.focus();
  }

  close() {
    this.root.hidden = true;
  }

  keepFocus(event) {
    const buttons = [...this.root.querySelectorAll("button")];
    const at = buttons.indexOf(this.root.getRootNode().activeElement);
    event.preventDefault();
    buttons[(at + (event.shiftKey ? buttons.length - 1 : 1)) % buttons.length].focus();
  }
}
