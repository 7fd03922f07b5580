// What floats over the stage: the tools, the help, the reviewed area's chip, notices, the red pill, refused changes.

const NOTICE_MS = 8000;

class Tools {
  // act: { zoom(factor), fit(), ruler(), display(), help() -> rows, layout(name), focus() }, and for a reviewer also { area(),
  //   wholeField(), look(), menu(), onward(), retry(), download(), discard() }
  constructor(parent, act) {
    this.act = act;
    const tools = this.catchPointer(make("div", "tools", parent));
    const add = (text, title, press, className = "") => makeButton(className, tools, text, title, press);
    add("+", "Zoom in (+)", () => act.zoom(1.5));
    add("−", "Zoom out (−)", () => act.zoom(1 / 1.5));
    add("⤢", "Whole field (0)", act.fit);
    this.ruler = add("⟷", "Ruler: drag, or tap twice", act.ruler);
    add("◐", "Brightness and contrast; hide the marks", act.display);
    this.look = add("◎", "Look only: nothing can be changed", act.look, "edit");
    this.area = add("⬚", "Draw the reviewed area: only this part of the field counts as reviewed", act.area, "edit");
    this.ask = add("?", "Keys", () => this.showHelp(this.help.hidden));
    this.help = this.catchPointer(make("div", "float help", parent));
    this.help.hidden = true;
    this.looking = make("div", "looking-chip", parent, { role: "status" });
    this.looking.hidden = true;
    this.takeFocus = this.catchPointer(makeButton("take-focus", parent, "Click here to use the keys", "Click here to use the keys", act.focus));
    this.onward = make("div", "onward", null, { role: "status" }); // in the panel: over the field it would hide cells
    this.onward.hidden = true;
    this.chip = this.catchPointer(make("div", "chip", parent));
    this.chip.hidden = true;
    const notices = make("div", "notices", parent);
    this.pill = make("div", "pill", notices, { role: "alert" });
    this.pill.hidden = true;
    this.refused = this.catchPointer(make("div", "refused", notices, { role: "alert" }));
    this.refused.hidden = true;
    this.message = make("div", "message", parent);
    this.message.hidden = true;
  }

  // The stage would take the click for its own.
  catchPointer(element) {
    for (const type of ["pointerdown", "pointerup", "dblclick"])
      element.addEventListener(type, (event) => event.stopPropagation());
    return element;
  }

  showHelp(visible) {
    this.help.hidden = !visible;
    this.ask.setAttribute("aria-expanded", visible);
    this.help.replaceChildren();
    if (!visible) return;
    this.makeLayoutChoice();
    const list = make("dl", "", this.help);
    for (const [keys, meaning] of this.act.help()) {
      make("dt", "", list).textContent = keys;
      make("dd", "", list).textContent = meaning;
    }
  }

  makeLayoutChoice() {
    const head = make("label", "row", this.help);
    head.append("Keys for ");
    const choice = make("select", "", head, { "aria-label": "Layout of the keys" });
    for (const name of LAYOUTS) make("option", "", choice, { value: name }).textContent = name === "standard" ? "both hands" : `the ${name}`;
    choice.value = this.layout;
    choice.addEventListener("change", () => (this.act.layout(choice.value), this.showHelp(true)));
  }

  // sentence: why nothing can be changed, "" when it can.
  showLooking(sentence, on = Boolean(sentence)) {
    this.look.setAttribute("aria-pressed", on);
    this.looking.hidden = !sentence;
    this.looking.textContent = sentence;
  }

  // All cells of the field are decided: where it goes on. key: of that button.
  showOnward(visible, key) {
    if (visible === !this.onward.hidden) return;
    this.onward.hidden = !visible;
    this.onward.replaceChildren();
    if (!visible) return;
    make("span", "", this.onward).textContent = "All cells of this field are decided.";
    makeButton("", this.onward, `Next undecided (${key})`, "To the next undecided cell, in another field", this.act.onward);
  }

  showArea(drawing, area) {
    this.area.setAttribute("aria-pressed", drawing);
    this.chip.hidden = !drawing && !area;
    this.chip.replaceChildren(drawing ? "Drag a rectangle round the tissue you review" : "Only the rectangle is reviewed");
    if (!drawing) makeButton("link", this.chip, "whole field", "The whole field is reviewed", this.act.wholeField);
  }

  showTrouble(waiting, sentence) {
    this.pill.hidden = !sentence;
    if (!sentence) return this.pill.replaceChildren();
    const text = `NOT SAVED (${waiting})`;
    if (this.pill.firstChild?.textContent === text && this.pill.title === sentence) return;
    this.pill.title = sentence;
    this.pill.replaceChildren();
    make("b", "", this.pill).textContent = text;
    make("span", "", this.pill).textContent = `${sentence} Kept in this browser and sent again by itself.`;
  }

  showRefused(refused) {
    const many = refused.length > 1;
    const whys = new Set(refused.map(({ why, name }) => (name ? `${name}: ${why}` : why)));
    const text = refused.length ? `${many ? `${refused.length} changes were` : "One change was"} not saved: ${[...whys].slice(-3).join(" ")}` : "";
    this.refused.hidden = !text;
    if (this.refused.firstChild?.textContent === text) return;
    this.refused.replaceChildren();
    make("span", "", this.refused).textContent = text;
    const add = (label, title, press) => makeButton("link", this.refused, label, title, press);
    add("Try again", "Send what was not saved again", this.act.retry);
    add("Download", "Download what was not saved as a file", this.act.download);
    add("Discard", "Discard what was not saved", this.act.discard);
  }

  // A notice goes by itself; a failure stays until say("").
  say(text, lasting = false) {
    clearTimeout(this.fading);
    this.message.hidden = !text;
    this.message.textContent = text;
    this.message.classList.toggle("bad", lasting);
    if (text && !lasting) this.fading = setTimeout(() => this.say(""), NOTICE_MS);
  }
}
